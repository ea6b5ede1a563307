package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
)

// fails reports an error that does not say what it must.
func fails(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want %q", what, err, want)
	}
}

// handle stands for a program of a device.
type handle struct{ kernels.Program }

// TestMutex: who waits gives up with the context, and a context that has ended gets no lock.
func TestMutex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMutex()
		m.Lock()
		if m.TryLock() {
			t.Error("a held mutex was locked")
		}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := m.LockContext(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting ends with %v", err)
		}
		m.Unlock()
		if err := m.LockContext(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that has ended: %v", err)
		}
		if err := m.LockContext(t.Context()); err != nil {
			t.Error(err)
		}
		m.Unlock()
		if !m.TryLock() {
			t.Error("a free mutex was not locked")
		}
	})
}

// TestDeviceCounts: a device shares the arena of its neediest program, closes when nothing is open, once, and takes
// nothing after that.
func TestDeviceCounts(t *testing.T) {
	d := NewDevice("cpu", kernels.Info{})
	small, large := &handle{}, &handle{}
	if err := errors.Join(d.AddProgram(small, 10), d.AddProgram(large, 30), d.AddWeights()); err != nil {
		t.Fatal(err)
	}
	if n := d.Arena(); n != 30 {
		t.Errorf("arena of %d bytes, want 30", n)
	}
	d.RemoveProgram(large)
	if n := d.Arena(); n != 10 {
		t.Errorf("arena of %d bytes without the large program, want 10", n)
	}
	_, err := d.Close()
	fails(t, "closing", err, "cpu: closing the device with 1 programs and 1 weights open")
	d.RemoveProgram(small)
	_, err = d.Close()
	fails(t, "closing", err, "0 programs and 1 weights")
	d.RemoveWeights()
	for _, want := range []bool{true, false} {
		if first, err := d.Close(); first != want || err != nil {
			t.Errorf("closing: first %v, %v, want %v", first, err, want)
		}
	}
	const closed = "cpu: the device is closed"
	fails(t, "a program", d.AddProgram(small, 1), closed)
	fails(t, "weights", d.AddWeights(), closed)
	fails(t, "a run", d.Open(), closed)
	_, err = d.Peak(t.Context(), func() (float64, error) { return 1, nil })
	fails(t, "the peak", err, closed)
}

// TestPeak measures once, with the mutex held, and again after an error.
func TestPeak(t *testing.T) {
	d := NewDevice("cpu", kernels.Info{})
	failed := errors.New("failed")
	for i, c := range []struct {
		peak float64
		err  error
		want float64
	}{{0, failed, 0}, {5, nil, 5}, {7, nil, 5}} {
		got, err := d.Peak(t.Context(), func() (float64, error) {
			if d.TryLock() {
				t.Error("measured while a program may run")
			}
			return c.peak, c.err
		})
		if got != c.want || !errors.Is(err, c.err) || d.Info().PeakFLOPS != c.want {
			t.Errorf("measurement %d: %g, %v, want %g, %v", i, got, err, c.want, c.err)
		}
	}
}

func TestPrecision(t *testing.T) {
	d := NewDevice("cuda", kernels.Info{Precisions: []kernels.DType{kernels.F16, kernels.BF16}})
	for asked, want := range map[kernels.DType]kernels.DType{0: kernels.F16, kernels.F16: kernels.F16, kernels.BF16: kernels.BF16} {
		if got, err := d.Precision(kernels.Options{Precision: asked}); got != want || err != nil {
			t.Errorf("precision %v: %v, %v, want %v", asked, got, err, want)
		}
	}
	_, err := d.Precision(kernels.Options{Precision: kernels.F32})
	fails(t, "fp32", err, "cuda: precision fp32: this device computes in fp16 or bf16")
}
