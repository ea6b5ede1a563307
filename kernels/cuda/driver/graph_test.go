package driver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
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
	// The graph keeps the arguments that the launch had; an update brings new ones.
	if err := driver.SetArgument(p.launch, 1, int32(9)); err != nil {
		t.Fatal(err)
	}
	g := must(p.stream.Capture(func() error { return p.stream.Launch(p.launch) }))(t)
	if err := errors.Join(p.exec.Launch(p.stream), p.exec.Update(g), p.exec.Launch(p.stream), g.Close()); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]byte{2: 7, 3: 9} {
		if got := f.Launches()[i].Arguments[1][0]; got != want {
			t.Errorf("launch %d has argument %d, want %d", i, got, want)
		}
	}
}

func TestGraphUpdateRefuses(t *testing.T) {
	p := newParts(t, drivertest.New(drivertest.H100))
	g := must(p.stream.Capture(func() error { return errors.Join(p.stream.Launch(p.launch), p.stream.Launch(p.launch)) }))(t)
	err := p.exec.Update(g)
	var e *driver.UpdateError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "nodes or edges") {
		t.Errorf("error is %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
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
