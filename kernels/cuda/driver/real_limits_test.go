package driver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

func (r *real) sharedMemory(t *testing.T) {
	f := must(r.module.Function("large"))(t)
	c := realShape
	c.Grid.X, c.DynamicShared = 1, r.device.SharedPerBlock
	if _, err := f.Prepare(c); err == nil || !strings.Contains(err.Error(), "SetMaxDynamicShared") {
		t.Errorf("error is %v", err)
	}
	if err := f.SetMaxDynamicShared(c.DynamicShared); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.stream.Launch(must(f.Prepare(c))(t)), r.stream.Synchronize()); err != nil {
		t.Error(err)
	}
}

// capability9 encodes a tensor map.
func (r *real) capability9(t *testing.T) {
	v := r.device
	if !v.Capability.AtLeast(9, 0) {
		t.Skipf("capability is %v", v.Capability)
	}
	m, err := r.context.EncodeTiled(driver.Tiled{Type: driver.Float16, Address: r.a, Size: []int64{64, 100}, Stride: []int64{128},
		Box: []uint32{64, 64}, Swizzle: driver.Swizzle128, Promotion: driver.Promotion256})
	if err != nil || m == (driver.TensorMap{}) {
		t.Errorf("map is %x, error %v", m, err)
	}
}

func (r *real) compilerLog(t *testing.T) {
	_, err := r.context.LoadModule([]byte(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry f() { nonsense; }\n"))
	var e *driver.Error
	if !errors.As(err, &e) || e.Detail == "" {
		t.Errorf("error is %v", err)
	}
	t.Log(err)
	if _, err := r.module.Function("absent"); !errors.Is(err, driver.NotFound) {
		t.Errorf("error is %v", err)
	}
}

func (r *real) outOfMemory(t *testing.T) {
	_, err := r.context.Alloc(1 << 44)
	var e *driver.OutOfMemoryError
	if !errors.As(err, &e) || e.Total <= 0 || e.Free > e.Total {
		t.Errorf("error is %v", err)
	}
	t.Log(err)
	r.sums(t, realCount, func() error { return r.stream.Launch(r.add) })
}
