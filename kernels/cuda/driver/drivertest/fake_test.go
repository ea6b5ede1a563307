package drivertest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// TestProblems makes the mistakes that the fake is there to notice.
func TestProblems(t *testing.T) {
	for want, mistake := range map[string]func(*Fake, *driver.Context, driver.Ptr) error{
		"cuMemFree_v2: argument 0 is 0x1, want a memory": func(_ *Fake, c *driver.Context, _ driver.Ptr) error { return c.Free(1) },
		"cuMemcpyHtoDAsync_v2: 9 bytes at 0x7f0000000000 are in no allocation": func(_ *Fake, c *driver.Context, p driver.Ptr) error {
			return copies(c, func(s *driver.Stream, h *driver.HostMemory) error { return s.CopyToDevice(p, h, 0, 9) })
		},
		"cuMemcpyDtoHAsync_v2: 1 bytes at 0x7f0000000008 are in no allocation": func(_ *Fake, c *driver.Context, p driver.Ptr) error {
			return copies(c, func(s *driver.Stream, h *driver.HostMemory) error { return s.CopyToHost(h, 0, p+8, 1) })
		},
		"cuMemFree_v2: argument 0 is a memory of another context": func(f *Fake, _ *driver.Context, p driver.Ptr) error {
			d, err := driver.New(f)
			if err != nil {
				return err
			}
			v, err := d.Device(0)
			if err != nil {
				return err
			}
			other, err := v.NewContext(driver.Auto)
			if err != nil {
				return err
			}
			return errors.Join(other.Free(p), other.Close())
		},
		"cuStreamSynchronize: the stream is capturing": func(_ *Fake, c *driver.Context, _ driver.Ptr) error {
			s, err := c.NewStream(0)
			if err != nil {
				return err
			}
			_, err = s.Capture(s.Synchronize)
			return errors.Join(err, s.Close())
		},
		"cuCtxSynchronize: no context is current": func(f *Fake, _ *driver.Context, _ driver.Ptr) error {
			fn, _ := f.Lookup("cuCtxSynchronize")
			done := make(chan driver.Result)
			go func() {
				set, _ := f.Lookup("cuCtxSetCurrent")
				f.Call(set, []uintptr{0})
				done <- f.Call(fn, nil)
			}()
			return <-done
		},
		"cuInit: 0 arguments, want 1": func(f *Fake, _ *driver.Context, _ driver.Ptr) error {
			fn, _ := f.Lookup("cuInit")
			return f.Call(fn, nil)
		},
	} {
		f := New(H100)
		c, p := contextWithMemory(t, f)
		if err := mistake(f, c, p); err == nil {
			t.Errorf("%s: no error", want)
		}
		if got := f.Problems(); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("problems are %q, want %q", got, want)
		}
	}
}

// copies runs use with a stream and 16 bytes of host memory.
func copies(c *driver.Context, use func(*driver.Stream, *driver.HostMemory) error) error {
	s, err := c.NewStream(0)
	if err != nil {
		return err
	}
	h, err := c.AllocHost(16, false)
	if err != nil {
		return err
	}
	return errors.Join(use(s, h), h.Close(), s.Close())
}

func contextWithMemory(t *testing.T, f *Fake) (*driver.Context, driver.Ptr) {
	t.Helper()
	d, err := driver.New(f)
	if err != nil {
		t.Fatal(err)
	}
	v, err := d.Device(0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.NewContext(driver.Auto)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func TestLive(t *testing.T) {
	f := New(H100)
	c, p := contextWithMemory(t, f)
	if _, err := c.NewStream(0); err != nil {
		t.Fatal(err)
	}
	if got := f.Live(); !slices.Equal(got, []string{"1 context", "1 memory", "1 stream"}) {
		t.Errorf("live are %q", got)
	}
	if err := c.Free(p); err != nil {
		t.Fatal(err)
	}
	if got := f.Live(); !slices.Equal(got, []string{"1 context", "1 stream"}) {
		t.Errorf("live are %q", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.Live(); len(got) > 0 {
		t.Errorf("live are %q", got)
	}
}

// TestFault: a fault strikes at the call it was meant for, and a code that ends a context stays until the context is destroyed.
func TestFault(t *testing.T) {
	f := New(H100)
	c, _ := contextWithMemory(t, f)
	f.Fail("cuMemGetInfo_v2", 2, driver.InvalidValue)
	for i, want := range []error{nil, driver.InvalidValue, nil} {
		if _, _, err := c.MemInfo(); !errors.Is(err, want) {
			t.Errorf("call %d: error is %v, want %v", i, err, want)
		}
	}
	f.Fail("cuMemGetInfo_v2", 1, driver.IllegalAddress)
	if _, _, err := c.MemInfo(); !driver.IsLost(err) {
		t.Errorf("error is %v", err)
	}
	fn, _ := f.Lookup("cuCtxSynchronize")
	if r := f.Call(fn, nil); r != driver.IllegalAddress && r != driver.InvalidContext {
		t.Errorf("the next call gives %v", r)
	}
	if f.Count("cuMemGetInfo_v2") != 4 {
		t.Errorf("%d calls were recorded, want 4", f.Count("cuMemGetInfo_v2"))
	}
}
