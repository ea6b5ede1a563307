package driver_test

import (
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

func TestGraph(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	if n := len(f.Launches()); n != 0 {
		t.Fatalf("capturing ran %d kernels", n)
	}
	if err := errors.Join(p.exec.Launch(p.stream), p.exec.Launch(p.stream)); err != nil {
		t.Fatal(err)
	}
	if n := len(f.Launches()); n != 2 {
		t.Errorf("two launches of a graph ran %d kernels", n)
	}
}

// TestCaptureEnds: whatever record does, the stream is usable afterwards and nothing is left over.
func TestCaptureEnds(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	spoilt := errors.New("spoilt")
	if _, err := p.stream.Capture(func() error { return spoilt }); !errors.Is(err, spoilt) {
		t.Errorf("error is %v", err)
	}
	func() {
		defer func() {
			if recover() != spoilt {
				t.Error("the panic was lost")
			}
		}()
		p.stream.Capture(func() error { panic(spoilt) })
	}()
	if err := errors.Join(p.stream.Launch(p.launch), p.stream.Synchronize()); err != nil {
		t.Error(err)
	}
	if n := len(f.Launches()); n != 1 {
		t.Errorf("%d kernels ran, want 1", n)
	}
}
