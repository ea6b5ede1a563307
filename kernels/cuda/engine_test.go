package cuda

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
	"github.com/goxl/goxl/kernels/engine"
)

func kernelCount(f *drivertest.Fake, kernel string) int {
	n := 0
	for _, l := range f.Launches() {
		if l.Kernel == kernel {
			n++
		}
	}
	return n
}

// TestRunsHoistedNodesOncePerRequest counts GEMMs: one in each run, one more after the request was written.
func TestRunsHoistedNodesOncePerRequest(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	products := func() int { return kernelCount(f, "skinny") }
	for i, want := range []int{2, 3, 4, 6, 7} {
		if i == 3 {
			if err := prog.Write(0, make([]byte, 4*48)); err != nil {
				t.Fatal(err)
			}
		}
		if err := prog.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := products(); got != want {
			t.Errorf("%d products after run %d, want %d", got, i+1, want)
		}
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestWeightsComeBack evicts weights: the next run packs them again and captures its launches again.
func TestWeightsComeBack(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	run := func() {
		t.Helper()
		if err := prog.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	run()
	packs, graphs, bytes := kernelCount(f, "pack"), f.Count("cuGraphInstantiate_v2"), w.Bytes()
	run()
	if kernelCount(f, "pack") != packs || f.Count("cuGraphInstantiate_v2") != graphs {
		t.Error("the second run packed or recorded again")
	}
	if err := w.SetResident(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	if w.Bytes() != 0 {
		t.Errorf("%d bytes of weights are still there", w.Bytes())
	}
	run()
	if kernelCount(f, "pack") != 2*packs || f.Count("cuGraphInstantiate_v2") != 2*graphs || w.Bytes() != bytes {
		t.Errorf("after the weights came back: %d packs, %d graphs, %d bytes; want %d, %d, %d",
			kernelCount(f, "pack"), f.Count("cuGraphInstantiate_v2"), w.Bytes(), 2*packs, 2*graphs, bytes)
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestLostDevice lets a kernel fault: the run's error says so, and everything closes.
func TestLostDevice(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	f.Fail("cuGraphLaunch", 1, driver.IllegalAddress)
	if err := prog.Run(context.Background()); !driver.IsLost(err) {
		t.Errorf("run says %v, want an error that driver.IsLost knows", err)
	}
	if !driver.IsLost(d.Lost()) {
		t.Errorf("Lost says %v", d.Lost())
	}
	if err := prog.Read(context.Background(), 6, make([]byte, 320)); !driver.IsLost(err) {
		t.Errorf("read says %v, want the same error", err)
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Errorf("close after a fault: %v", err)
	}
}

// TestRefusedModule lets the driver refuse a module once: the run's error says so, the next one works, and everything
// closes.
func TestRefusedModule(t *testing.T) {
	for _, again := range []bool{true, false} {
		d, f := fakeDevice(t, Options{}, 1<<30)
		prog, w := compileChain(t, d)
		f.Fail("cuModuleLoadDataEx", 1, driver.InvalidImage)
		if err := prog.Run(context.Background()); !errors.Is(err, driver.InvalidImage) {
			t.Errorf("run says %v, want CUDA_ERROR_INVALID_IMAGE", err)
		}
		if again {
			if err := prog.Run(context.Background()); err != nil {
				t.Errorf("the second run: %v", err)
			}
		}
		if err := errors.Join(prog.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestMemoryLimit needs more memory than the limit: the error says how much, and nothing is left behind.
func TestMemoryLimit(t *testing.T) {
	ctx := context.Background()
	d, _ := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	if err := prog.Run(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := d.Memory()
	if err := errors.Join(err, prog.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if m.Used == 0 || m.Peak != m.Used || m.Arena == 0 || m.Limit < m.Used || m.Limit > 1<<30 {
		t.Errorf("memory is %+v", m)
	}
	limit := m.Peak - alignment
	d, _ = fakeDevice(t, Options{Memory: limit}, 1<<30)
	prog, w = compileChain(t, d)
	for range 2 {
		var refused *LimitError
		if err := prog.Run(ctx); !errors.As(err, &refused) || refused.Limit != limit || !errors.Is(err, kernels.ErrMemory) {
			t.Errorf("run says %v, want a *LimitError", err)
		}
		var sizes *kernels.MemoryError
		if !errors.As(refused, &sizes) || sizes.Allowed != limit || sizes.Needed != refused.Used+refused.Need {
			t.Errorf("the sizes are %+v of %+v", sizes, refused)
		}
	}
	if m, err := d.Memory(); err != nil || m.Limit != limit || m.Used == 0 || m.Peak > limit {
		t.Errorf("memory is %+v, %v", m, err)
	}
	d.memory.limit = m.Peak
	if err := prog.Run(ctx); err != nil {
		t.Errorf("with all that it needs: %v", err)
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestFullCard runs out of memory on the card itself, at every allocation, module, graph and launch, one after another.
func TestFullCard(t *testing.T) {
	for _, call := range []string{"cuMemAlloc_v2", "cuModuleLoadDataEx", "cuGraphInstantiate_v2", "cuGraphLaunch"} {
		t.Run(call, func(t *testing.T) {
			nth := 1
			for fullAt(t, call, nth) {
				nth++
			}
			if nth == 1 {
				t.Error("nothing failed")
			}
		})
	}
}

// fullAt lets one of the calls find no memory, and reports whether there were so many calls.
func fullAt(t *testing.T, call string, nth int) (failed bool) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	f.Fail(call, nth, driver.OutOfMemory)
	p := chain()
	w, err := d.NewWeights(sourceOf(p))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := d.Compile(p, w, kernels.Options{})
	if err == nil {
		err = prog.Run(context.Background())
	}
	failed = err != nil
	if failed && !errors.Is(err, kernels.ErrMemory) {
		t.Errorf("call %d failed: %v, want out of memory", nth, err)
	}
	if prog != nil {
		if failed {
			if err := prog.Run(context.Background()); err != nil {
				t.Errorf("after call %d failed once: %v", nth, err)
			}
		}
		if err := prog.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	return failed
}

func TestCancelled(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	before := len(f.Launches())
	if err := prog.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("run says %v", err)
	}
	if err := prog.Read(ctx, 6, make([]byte, 320)); !errors.Is(err, context.Canceled) {
		t.Errorf("read says %v", err)
	}
	if len(f.Launches()) != before {
		t.Error("a cancelled run launched kernels")
	}
	if err := d.Close(); err == nil {
		t.Error("the device closed under an open program")
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// While the card computes, whoever waits for it is let go at once; the work ends by itself, and the program goes on
// after it.
func TestCancelledUnderWay(t *testing.T) { synctest.Test(t, cancelUnderWay) }

// cancelUnderWay is in a synctest bubble: 2 ms are over before the card was asked 300 times, however slow the machine
// is.
func cancelUnderWay(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	background := context.Background()
	for range 2 {
		if err := prog.Run(background); err != nil {
			t.Fatal(err)
		}
	}
	for what, wait := range map[string]func(ctx context.Context) error{
		"a read":              func(ctx context.Context) error { return prog.Read(ctx, 6, make([]byte, 320)) },
		"a run behind two":    prog.Run,
		"what was not finite": prog.Finite,
	} {
		for range 300 { // one after the other
			f.Fail("cuEventQuery", 1, driver.NotReady)
		}
		ctx, cancel := context.WithCancel(background)
		time.AfterFunc(2*time.Millisecond, cancel)
		if err := wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it was cancelled", what, err)
		}
		if err := wait(background); err != nil {
			t.Errorf("%s, after the work's end: %v", what, err)
		}
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestRefuses sees that the rules of package engine are asked; that they are right is its own test.
func TestRefuses(t *testing.T) {
	d, _ := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	for what, err := range map[string]error{
		"writing a result":  prog.Write(6, make([]byte, 320)),
		"reading too much":  prog.Read(context.Background(), 6, make([]byte, 321)),
		"a foreign program": prog.CopyFrom(0, nil, 0),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if _, err := d.Compile(chain(), nil, kernels.Options{}); err == nil {
		t.Error("a plan with weights compiles without")
	}
	if _, err := d.Compile(chain(), w, kernels.Options{Precision: kernels.F32}); err == nil {
		t.Error("fp32 compiles")
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err := prog.Run(context.Background()); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a closed program runs: %v", err)
	}
}
