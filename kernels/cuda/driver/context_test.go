package driver_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// TestEveryCallIsChecked makes each function fail in turn: the error must name it and its code, and a code that ends the context
// must end it.
func TestEveryCallIsChecked(t *testing.T) {
	tested := map[string]bool{}
	for _, code := range []driver.Result{driver.InvalidValue, driver.IllegalAddress, driver.Result(4711)} {
		for name, use := range uses() {
			tested[name] = true
			f := drivertest.New(drivertest.H100)
			p := newParts(t, f)
			f.Fail(name, 1, code)
			err := use(p)
			var e *driver.Error
			if !errors.As(err, &e) || e.Call != name || e.Code != code || !errors.Is(err, code) {
				t.Errorf("%s fails with %v: error is %v", name, code, err)
			}
			if lost := code == driver.IllegalAddress; driver.IsLost(err) != lost || (p.context.Lost() != nil) != lost {
				t.Errorf("%s fails with %v: lost is %v, the context's %v", name, code, driver.IsLost(err), p.context.Lost())
			}
			if err := p.context.Close(); err != nil {
				t.Errorf("%s failed with %v: closing: %v", name, code, err)
			}
		}
	}
	// Those that Open and Device call have tests of their own; the rest must be in the table.
	for _, name := range append(driver.RequiredNames(), driver.OptionalNames()...) {
		if !tested[name] && !strings.HasPrefix(name, "cuDevice") && !strings.HasPrefix(name, "cuDriver") &&
			name != "cuInit" && name != "cuCtxCreate_v2" && name != "cuCtxDestroy_v2" {
			t.Errorf("%s is not tested", name)
		}
	}
}

func TestUnknownResult(t *testing.T) {
	if got := driver.Result(4711).String(); got != "CUresult 4711" {
		t.Errorf("name is %q", got)
	}
	if got := driver.IllegalAddress.String(); got != "CUDA_ERROR_ILLEGAL_ADDRESS" {
		t.Errorf("name is %q", got)
	}
}

// TestLostContext goes through a fault as an engine does: all calls fail with the first error and without the driver, everything
// closes, and a new context is refused.
func TestLostContext(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	v := open(t, f)
	c := must(v.NewContext(driver.Block))(t)
	s := must(c.NewStream(0))(t)
	p := must(c.Alloc(1 << 10))(t)
	f.Fail("cuStreamSynchronize", 1, driver.LaunchFailed)
	first := s.Synchronize()
	if !driver.IsLost(first) {
		t.Fatalf("error is %v", first)
	}
	before := len(f.Calls())
	if _, err := c.Alloc(1); err != first || c.Lost() != first {
		t.Errorf("the next call's error is %v, Lost is %v, want %v", err, c.Lost(), first)
	}
	if err := errors.Join(s.Close(), c.Free(p), s.Close()); err != nil {
		t.Errorf("closing what a lost context had: %v", err)
	}
	if n := len(f.Calls()); n != before {
		t.Errorf("a lost context was given %d calls", n-before)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := c.Alloc(1); err != driver.ErrClosed {
		t.Errorf("a closed context: error is %v", err)
	}
	if err := c.Free(p); err != nil {
		t.Error("freeing what went with its context:", err)
	}
	const want = "cuda: cuCtxCreate_v2: CUDA_ERROR_LAUNCH_FAILED (719): reported by this call, caused by earlier work; this process can use the device no more, another can"
	if _, err := v.NewContext(driver.Block); !driver.IsLost(err) || err.Error() != want {
		t.Errorf("a new context: error is %v", err)
	}
}

func TestOutOfMemory(t *testing.T) {
	_, c := newContext(t, drivertest.New(drivertest.RTX3060))
	p := must(c.Alloc(256 << 20))(t)
	_, err := c.Alloc(900 << 20)
	var e *driver.OutOfMemoryError
	if !errors.As(err, &e) || e.Need != 900<<20 || e.Free != 768<<20 || e.Total != 1<<30 || !errors.Is(err, driver.OutOfMemory) {
		t.Fatalf("error is %+v", err)
	}
	const want = "cuda: cuMemAlloc_v2: out of memory: 900.0 MiB needed: 768.0 MiB of 1024.0 MiB free: " +
		"end other programs on the device, or choose a smaller size or batch"
	if err.Error() != want {
		t.Errorf("message is %q, want %q", err, want)
	}
	if driver.IsLost(err) || c.Lost() != nil {
		t.Error("a full device ended the context")
	}
	if err := c.Free(p); err != nil {
		t.Error(err)
	}
	for _, n := range []int64{0, -1} {
		if _, err := c.Alloc(n); err == nil {
			t.Errorf("%d bytes were allocated", n)
		}
		if _, err := c.AllocHost(n, false); err == nil {
			t.Errorf("%d bytes of host memory were allocated", n)
		}
	}
}

// Page-locked memory is the host's: what the card has says nothing of it.
func TestOutOfHostMemory(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	_, c := newContext(t, f)
	f.Fail("cuMemHostAlloc", 1, driver.OutOfMemory)
	_, err := c.AllocHost(64<<20, true)
	const want = "cuda: cuMemHostAlloc: out of memory: 64.0 MiB of page-locked host memory needed: end other programs, or give the process or container more memory"
	if err == nil || err.Error() != want || !errors.Is(err, driver.OutOfMemory) {
		t.Errorf("error is %v, want %q", err, want)
	}
}

func TestContextCreation(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	v := open(t, f)
	f.Fail("cuCtxCreate_v2", 1, driver.OutOfMemory)
	_, err := v.NewContext(driver.Auto)
	var e *driver.OutOfMemoryError
	if !errors.As(err, &e) {
		t.Errorf("error is %v", err)
	}
	f.Fail("cuCtxCreate_v2", 1, driver.DeviceUnavailable)
	if _, err = v.NewContext(driver.Auto); !driver.IsLost(err) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error is %v", err)
	}
}

// TestCopies checks every direction, at offsets, with lengths of 0 and beyond the end.
func TestCopies(t *testing.T) {
	p := newParts(t, drivertest.New(drivertest.H100))
	s, h, m := p.stream, p.host, p.memory
	copy(h.Bytes()[3:], "stream")
	err := errors.Join(s.CopyToDevice(m+128, h, 3, 6), s.CopyDevice(m+192, m+128, 6), s.CopyToHost(h, 20, m+192, 6),
		s.Fill(m, 0xee, 16), s.Fill(m, 0xab, 2), s.Fill32(m+4, 0x01020304, 1), s.CopyToHost(h, 32, m, 16), s.Synchronize())
	if b := h.Bytes(); err != nil || string(b[20:26]) != "stream" || string(b[32:41]) != "\xab\xab\xee\xee\x04\x03\x02\x01\xee" {
		t.Errorf("%q, %q, %v", b[20:26], b[32:41], err)
	}
	err = errors.Join(s.CopyToDevice(m, h, 0, 0), s.CopyToHost(h, 0, m, 0), s.CopyDevice(m, m, 0), s.Fill(m, 1, 0), s.Fill32(m, 1, 0))
	if err != nil {
		t.Error("nothing to copy:", err)
	}
	size := int64(len(h.Bytes()))
	for _, span := range [][2]int64{{-1, 2}, {0, -1}, {0, size + 1}, {size, 1}, {1 << 62, 1 << 62}} {
		if s.CopyToDevice(m, h, span[0], span[1]) == nil || s.CopyToHost(h, span[0], m, span[1]) == nil {
			t.Errorf("bytes %d+%d of %d were copied", span[0], span[1], size)
		}
	}
	if s.CopyDevice(m, m, -1) == nil || s.Fill(m, 0, -1) == nil || s.Fill32(m, 0, -1) == nil {
		t.Error("negative counts were taken")
	}
}

// TestManyGoroutines uses two contexts from goroutines that change threads; the fake knows which context is current on which.
func TestManyGoroutines(t *testing.T) {
	f := drivertest.New(drivertest.H100, drivertest.RTX3060)
	v := open(t, f)
	var wg sync.WaitGroup
	for range 2 {
		c := must(v.NewContext(driver.Block))(t)
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				h, err := c.AllocHost(6, false)
				if err != nil {
					t.Error(err)
					return
				}
				s, err := c.NewStream(0)
				if err != nil {
					t.Error(err)
					return
				}
				b := h.Bytes()
				copy(b, "abc")
				for range 50 {
					clear(b[3:])
					p, err := c.Alloc(3)
					if err != nil {
						t.Error(err)
						return
					}
					err = errors.Join(s.CopyToDevice(p, h, 0, 3), s.CopyToHost(h, 3, p, 3), s.Synchronize(), c.Free(p))
					if err != nil || !bytes.Equal(b[:3], b[3:]) {
						t.Error(b, err)
					}
				}
				if err := errors.Join(s.Close(), h.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			users.Wait()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestCloseWhileUsed closes a context under its users: they see success or ErrClosed, and never a context that is gone.
func TestCloseWhileUsed(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	c := must(open(t, f).NewContext(driver.Block))(t)
	var wg sync.WaitGroup
	started := make(chan bool, 4)
	for range 4 {
		wg.Go(func() {
			for first := true; ; first = false {
				_, _, err := c.MemInfo()
				if first {
					started <- true
				}
				if err == driver.ErrClosed {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
