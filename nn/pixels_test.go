package nn

import (
	"context"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// TestPixels sends bytes through a program and through gorgonia's machine: to values, and back to the same bytes but
// for alpha.
func TestPixels(t *testing.T) {
	build := func(b *Builder) {
		x := b.FromPixels(b.Input("in", kernels.Step, kernels.U8, 1, 8, 8, 4))
		b.Output("values", x)
		b.Output("out", b.ToPixels(x))
	}
	in, want := make([]uint8, 256), make([]uint8, 256)
	for i := range in {
		in[i], want[i] = uint8(i), uint8(i)
		if i%4 == 3 {
			want[i] = 255
		}
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	n, err := NewNetwork(dev, nil, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	got := make([]uint8, len(want))
	err = n.Evaluate(context.Background(), "pixels", build,
		func(p *Program) error { return p.SetPixels("in", in...) },
		func(p *Program) ([]float32, error) { return nil, p.Pixels(context.Background(), "out", got) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the processor gives %v, want %v", got, want)
	}
	g, err := Build(dev, build)
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.RunOnGorgonia(nil, map[string]any{"in": in})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range out["out"] {
		if v != float32(want[i]) {
			t.Fatalf("gorgonia's machine gives %v, want %v", out["out"], want)
		}
	}
	if len(out["out"]) != len(want) || out["values"][0] != -1 {
		t.Errorf("gorgonia's machine gives %d bytes, the first value %v", len(out["out"]), out["values"][0])
	}
}
