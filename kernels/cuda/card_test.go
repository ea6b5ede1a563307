package cuda

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// inChild marks the child process of TestFault.
const inChild = "GOXL_TEST_FAULT"

// TestFault lets a kernel trap on the card, in a child process: the job fails with an error that says what happened,
// everything closes, and the child has lost the card. This process still has it.
func TestFault(t *testing.T) {
	if os.Getenv(inChild) != "" {
		loseCard(t)
		return
	}
	d := card(t, Options{}) // or skip
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program, "-test.run=^TestFault$", "-test.v")
	child.Env = append(os.Environ(), inChild+"=1")
	out, err := child.CombinedOutput()
	t.Logf("%v\n%s", err, out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFault") {
		t.Error("the process failed")
	}
	checkPrograms(t, d)
}

func loseCard(t *testing.T) {
	d, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, w := compileChain(t, d)
	ctx := context.Background()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Fault(ctx); !driver.IsLost(err) || d.Lost() == nil {
		t.Errorf("the fault says %v, want an error that driver.IsLost knows", err)
	}
	if err := p.Read(ctx, 6, make([]byte, 320)); !driver.IsLost(err) {
		t.Errorf("read after a trap says %v, want an error that driver.IsLost knows", err)
	} else {
		t.Logf("as it should: %v", err)
	}
	if err := p.Run(ctx); !driver.IsLost(err) {
		t.Errorf("run after a trap says %v, want an error that driver.IsLost knows", err)
	}
	if err := errors.Join(p.Close(), w.Close(), d.Close()); err != nil {
		t.Errorf("close after a trap: %v", err)
	}
	if _, err := Open(Options{}); !driver.IsLost(err) {
		t.Errorf("opening the card again says %v, want the fault", err)
	}
}

// TestUnusable lists why a card cannot be used, and checks that each error says what to do.
func TestUnusable(t *testing.T) {
	old := drivertest.Device{Name: "Fake T4", Capability: driver.Capability{Major: 7, Minor: 5}, Memory: 16 << 30, Multiprocessors: 40, SharedPerBlock: 65536}
	for _, c := range []struct {
		options Options
		change  func(*drivertest.Fake)
		says    string
	}{
		{Options{}, func(f *drivertest.Fake) { f.Version = 10020 }, "cuda: the NVIDIA driver supports CUDA 10.2, at least 11.0 is needed: update the driver"},
		{Options{}, func(f *drivertest.Fake) { f.Devices = nil }, "cuda: the NVIDIA driver (CUDA 13.0) sees no device: see nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set"},
		{Options{}, func(f *drivertest.Fake) { f.Devices[0] = old }, "cuda: device 0 (Fake T4) has compute capability 7.5, at least 8.0 is needed"},
		{Options{Device: 2}, nil, "cuda: device is 2, the driver sees devices 0 to 1"},
		{Options{Variant: "sm_90a"}, nil, `cuda: variant "sm_90a": device 0 (Fake RTX 3060) runs sm_80`},
		{Options{Device: 1, Variant: "sm_90a"}, func(f *drivertest.Fake) { f.Version = 11080 }, `cuda: variant "sm_90a": device 1 (Fake H100) runs sm_80`},
		{Options{Precision: kernels.F32}, nil, "cuda: precision fp32: this device computes in fp16 or bf16"},
		{Options{Memory: -1}, nil, "cuda: memory is -1 bytes, want 0 (all) or more"},
		{Options{}, func(f *drivertest.Fake) { f.Fail("cuCtxCreate_v2", 1, driver.OutOfMemory) }, "cuda: cuCtxCreate_v2: out of memory: end other programs on the device, or choose a smaller size or batch"},
		{Options{}, func(f *drivertest.Fake) { f.Fail("cuInit", 1, driver.DriverMismatch) },
			"cuda: cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803): libcuda and the kernel module are of different versions: reboot, or reinstall the driver"},
	} {
		f := drivertest.New(drivertest.RTX3060, drivertest.H100)
		if c.change != nil {
			c.change(f)
		}
		drv, err := driver.New(f)
		if err == nil {
			_, err = open(drv, c.options)
		}
		if err == nil || err.Error() != c.says {
			t.Errorf("%v, want %q", err, c.says)
		}
		if live := f.Live(); len(live) > 0 {
			t.Errorf("%s: left behind: %v", c.says, live)
		}
	}
}

// TestCards describes every card without taking its memory.
func TestCards(t *testing.T) {
	old := drivertest.RTX3060
	old.Capability = driver.Capability{Major: 7, Minor: 5}
	f := drivertest.New(drivertest.H100, drivertest.RTX3060, old)
	drv, err := driver.New(f)
	if err != nil {
		t.Fatal(err)
	}
	all := []kernels.DType{kernels.F16, kernels.BF16}
	want := []kernels.Info{
		{Name: "cuda:0", Detail: "Fake H100, compute capability 9.0, driver for CUDA 13.0", Precisions: all, Memory: 1 << 30, Variant: "sm_90a", Variants: []string{"sm_90a", "sm_80"}},
		{Name: "cuda:1", Detail: "Fake RTX 3060, compute capability 8.6, driver for CUDA 13.0", Precisions: all, Memory: 1 << 30, Variant: "sm_80", Variants: []string{"sm_80"}},
		{Name: "cuda:2", Detail: "cuda: device 2 (Fake RTX 3060) has compute capability 7.5, at least 8.0 is needed"},
	}
	if got := cards(drv); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := f.Count("cuCtxCreate_v2"); n > 0 {
		t.Errorf("%d contexts were made", n)
	}
}

// TestMemoryTexts checks the errors where memory ends, by the card and by the limit: what is needed, what is free, what
// to do.
func TestMemoryTexts(t *testing.T) {
	for want, o := range map[string]Options{
		"cuda: cuMemAlloc_v2: out of memory: 2048.0 MiB needed: 1024.0 MiB of 1024.0 MiB free: end other programs on the device, or choose a smaller size or batch": {},
		"cuda: out of memory: 2048.0 MiB needed, 100.0 MiB free of the 100.0 MiB that the device may take: choose a smaller size or batch, or raise the limit":      {Memory: 100 << 20},
	} {
		d, _ := fakeDevice(t, o, 1<<30)
		_, err := d.memory.alloc(2 << 30)
		if err == nil || err.Error() != want || !errors.Is(err, kernels.ErrMemory) {
			t.Errorf("2 GiB: %v, want %q", err, want)
		}
	}
}
