package nn

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestCopyFrom passes outputs and states from program to program by name, also of and to a program with taps.
func TestCopyFrom(t *testing.T) {
	dev := device(t)
	open := func(dev kernels.Device) *Network {
		m := newNet()
		n, err := NewNetwork(dev, bound(t, m), kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	add := func(b *Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, netBatch, netTokens*netWidth)
		b.Output("y", b.Add(x, x))
	}
	program := func(n *Network, key string, build func(*Builder), taps ...Tap) *Program {
		t.Helper()
		p, err := n.Program(key, build, taps...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	m := newNetBound(t)
	from, to := open(dev), open(dev)
	ones := Tap{Path: "out.0", Replace: func(_ string, x *Tensor) *Tensor {
		for i := range x.Data {
			x.Data[i] = 1
		}
		return x
	}}
	for _, taps := range [][]Tap{nil, {ones}} {
		first, second := program(from, "net", m.Forward, taps...), program(to, "add", add)
		start := make([]float32, netSize)
		for i := range start {
			start[i] = float32(i)
		}
		y, doubled := make([]float32, netSize), make([]float32, netSize)
		for _, err := range []error{
			first.SetFloats("x", start...), first.SetFloats("gain", start...), first.Run(t.Context()),
			second.CopyFrom("x", first, "y"), second.Run(t.Context()),
			first.Floats(t.Context(), "y", y), second.Floats(t.Context(), "y", doubled),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range y {
			if doubled[i] != 2*y[i] || taps != nil && y[i] != 1 {
				t.Fatalf("%d taps: value %d is %v, of %v", len(taps), i, doubled[i], y[i])
			}
		}
	}

	// A program with taps takes what it is given in every stage.
	same := Tap{Path: "block", Replace: func(string, *Tensor) *Tensor { return nil }}
	plain, tapped := program(from, "net", m.Forward), program(to, "net", m.Forward, same)
	sum := program(to, "add", add)
	var states [2][]float32
	for i, p := range []*Program{plain, tapped} {
		states[i] = make([]float32, netSize)
		for _, err := range []error{
			p.CopyFrom("x", sum, "y"), p.CopyFrom("gain", sum, "y"), p.Run(t.Context()), p.Floats(t.Context(), "x", states[i]),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(states[0], states[1]) || states[0][1] == 0 {
		t.Error("a program with taps computes something else from a copy")
	}

	foreign := program(open(device(t)), "add", add)
	small := program(to, "small", func(b *Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, 1, 3)
		b.Output("y", b.Add(x, x))
	})
	for _, c := range []struct {
		err  error
		want string
	}{
		{sum.CopyFrom("z", plain, "y"), `program add has no value "z"`},
		{sum.CopyFrom("x", plain, "z"), `program net has no value "z"`},
		{sum.CopyFrom("x", small, "y"), `"x" is fp32 [2 40] and cannot be copied from "y" of program small, which is fp32 [1 3]`},
		{sum.CopyFrom("x", foreign, "y"), "another device"},
		{sum.CopyFrom("y", plain, "y"), "cannot be written"},
		{sum.CopyFrom("x", plain, "gain"), "cannot be read"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}
