package driver_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// faultKernel names the kernel that the process of a test is to fail with.
const faultKernel = "GOXL_TEST_FAULT"

// TestRealFault lets kernels fail on hardware, each in a process of its own: that one loses the device, this one, which computes meanwhile, keeps it.
func TestRealFault(t *testing.T) {
	d, err := driver.Open()
	if err != nil {
		require.Lacks(t, "cuda", err)
	}
	v := must(d.Device(0))(t)
	if kernel := os.Getenv(faultKernel); kernel != "" {
		lose(t, v, kernel)
		return
	}
	program := must(os.Executable())(t)
	c := must(v.NewContext(driver.Block))(t)
	r := newReal(t, v, c)
	for _, kernel := range []string{"fault", "stray"} {
		child := exec.Command(program, "-test.run=^TestRealFault$", "-test.v")
		child.Env = append(os.Environ(), faultKernel+"="+kernel)
		out, err := child.CombinedOutput()
		t.Logf("%s: %v\n%s", kernel, err, out)
		if err != nil || !strings.Contains(string(out), "--- PASS: TestRealFault") {
			t.Errorf("%s: the process failed", kernel)
		}
		r.sums(t, realCount, func() error { return r.stream.Launch(r.add) })
	}
	r.close(t)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// lose lets a kernel fail: the context must be lost, close, and leave the process without the device.
func lose(t *testing.T, v *driver.Device, kernel string) {
	c := must(v.NewContext(driver.Block))(t)
	r := newReal(t, v, c)
	var args []any
	if kernel == "stray" {
		args = append(args, driver.Ptr(64))
	}
	one := driver.Dim{X: 1, Y: 1, Z: 1}
	l := must(must(r.module.Function(kernel))(t).Prepare(driver.Config{Grid: one, Block: one}, args...))(t)
	if err := r.stream.Launch(l); err != nil {
		t.Fatal(err)
	}
	err := r.stream.Synchronize()
	t.Log(err)
	if !driver.IsLost(err) || c.Lost() != err || kernel == "stray" && !errors.Is(err, driver.IllegalAddress) {
		t.Errorf("error is %v, want one that ends the context", err)
	}
	r.close(t)
	if err := c.Close(); err != nil {
		t.Errorf("closing a lost context: %v", err)
	}
	// What the package says of hardware. A driver that can do better is welcome, but then doc.go is wrong.
	c, err = v.NewContext(driver.Block)
	t.Log("a new context:", err)
	if !driver.IsLost(err) {
		t.Errorf("a new context after a fault: error is %v, want the fault again", err)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
}
