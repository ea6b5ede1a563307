package driver_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// open returns the first device of a fake. At the end of the test the program must have made no mistake and left nothing.
func open(t testing.TB, f *drivertest.Fake) *driver.Device {
	t.Helper()
	d, err := driver.New(f)
	if err != nil {
		t.Fatal(err)
	}
	v, err := d.Device(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range f.Problems() {
			t.Error("problem:", p)
		}
		if live := f.Live(); len(live) > 0 {
			t.Error("left over:", live)
		}
	})
	return v
}

// newContext returns the first device of a fake and a context on it, which is closed at the end of the test, when nothing must be left in it.
func newContext(t testing.TB, f *drivertest.Fake) (*driver.Device, *driver.Context) {
	t.Helper()
	v := open(t, f)
	c, err := v.NewContext(driver.Block)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if live := f.Live(); c.Lost() == nil && len(live) > 0 && !slices.Equal(live, []string{"1 context"}) {
			t.Error("left over in the context:", live)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return v, c
}

// must returns v, or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestOpenHere opens the real library: what this machine lacks must come out as an error that says what to do, what it has as a
// usable driver.
func TestOpenHere(t *testing.T) {
	d, err := driver.Open()
	if err == nil {
		t.Logf("CUDA %v, %d devices", d.Version(), d.Devices())
		if d.Version() < driver.MinVersion || d.Devices() < 1 {
			t.Errorf("version %v, %d devices", d.Version(), d.Devices())
		}
		return
	}
	t.Log(err)
	var (
		notFound *driver.NotFoundError
		notBuilt *driver.NotBuiltError
		version  *driver.VersionError
		symbol   *driver.SymbolError
		noDevice *driver.NoDeviceError
		result   *driver.Error
	)
	switch {
	case errors.As(err, &notFound):
		if notFound.Library != "libcuda.so.1" || !strings.Contains(err.Error(), "install the NVIDIA driver") {
			t.Errorf("%#v", notFound)
		}
	case errors.As(err, &notBuilt), errors.As(err, &version), errors.As(err, &symbol), errors.As(err, &noDevice), errors.As(err, &result):
	default:
		t.Errorf("error is %T, want one of those that Open names", err)
	}
}

func TestTooOld(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	f.Version = 10020
	_, err := driver.New(f)
	var e *driver.VersionError
	if !errors.As(err, &e) || e.Have != 10020 || e.Need != 11000 {
		t.Fatalf("error is %v", err)
	}
	if got := err.Error(); !strings.Contains(got, "10.2") || !strings.Contains(got, "11.0") || !strings.Contains(got, "update") {
		t.Errorf("message is %q", got)
	}
	if f.Count("cuInit") > 0 {
		t.Error("an old driver was initialised")
	}
}

func TestMissingFunctions(t *testing.T) {
	for _, name := range driver.RequiredNames() {
		f := drivertest.New(drivertest.H100)
		f.Missing = []string{name}
		_, err := driver.New(f)
		var e *driver.SymbolError
		if !errors.As(err, &e) || e.Name != name {
			t.Errorf("without %s the error is %v", name, err)
		}
	}
	f := drivertest.New(drivertest.H100)
	f.Missing = driver.OptionalNames()
	if _, err := driver.New(f); err != nil {
		t.Errorf("without the optional functions the error is %v", err)
	}
}

func TestNoDevice(t *testing.T) {
	_, err := driver.New(drivertest.New())
	var e *driver.NoDeviceError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "CUDA_VISIBLE_DEVICES") {
		t.Errorf("error is %v", err)
	}
}

func TestInitFails(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	f.Fail("cuInit", 1, driver.DriverMismatch)
	_, err := driver.New(f)
	const want = "cuda: cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803): libcuda and the kernel module are of different versions: " +
		"reboot, or reinstall the driver"
	if err == nil || err.Error() != want || !errors.Is(err, driver.DriverMismatch) {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestDevice(t *testing.T) {
	f := drivertest.New(drivertest.H100, drivertest.RTX3060)
	d := must(driver.New(f))(t)
	for i, want := range f.Devices {
		got := must(d.Device(i))(t)
		if got.Name != want.Name || got.Capability != want.Capability || got.Memory != want.Memory || got.L2 != want.L2 ||
			got.Multiprocessors != want.Multiprocessors || got.SharedPerBlock != want.SharedPerBlock || got.Driver != f.Version || got.Ordinal != i {
			t.Errorf("device %d is %+v, want %+v", i, got, want)
		}
	}
	for _, i := range []int{-1, 2} {
		if _, err := d.Device(i); err == nil || !strings.Contains(err.Error(), "devices 0 to 1") {
			t.Errorf("device %d: error is %v", i, err)
		}
	}
	if c := (driver.Capability{Major: 8, Minor: 6}); !c.AtLeast(8, 0) || !c.AtLeast(8, 6) || c.AtLeast(8, 9) || c.AtLeast(9, 0) {
		t.Error("AtLeast is wrong")
	}
}

// TestLayout holds the structures to what the C compiler makes of cuda.h (CUDA 13.2, the same on amd64 and arm64).
func TestLayout(t *testing.T) {
	want := map[string]uintptr{
		"sizeof CUtensorMap": 128,
	}
	if got := driver.Layout(); !maps.Equal(got, want) {
		t.Errorf("layout is %v, want %v", got, want)
	}
}
