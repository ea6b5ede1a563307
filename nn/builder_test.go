package nn

import (
	"slices"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/goxl/goxl/kernels"
)

// TestNothingIsMerged applies one operation to many inputs, and to one input many times: gorgonia would merge some by
// their hash.
func TestNothingIsMerged(t *testing.T) {
	g, err := Build(nil, func(b *Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, 1, 4)
		sum := x
		for range 500 {
			sum = b.Add(sum, b.Activate(x, kernels.SiLU))
		}
		b.Output("y", sum)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(g.Plan.Nodes); got != 1000 {
		t.Errorf("%d operations, want 1000", got)
	}
}

// TestCheckFindsMergedNodes gives two operations one identity, as a hash collision would.
func TestCheckFindsMergedNodes(t *testing.T) {
	b := &Builder{supports: func(kernels.Spec, []kernels.Tensor) bool { return true }, graph: gorgonia.NewGraph(), named: map[string]kernels.Value{}}
	x := b.Input("x", kernels.Step, kernels.F32, 1, 4)
	b.Activate(x, kernels.SiLU)
	b.applied = nil // the next operation gets the same id
	b.Activate(x, kernels.GELU)
	if err := b.check(); err == nil {
		t.Error("a merged node went unnoticed")
	}
}

// TestCheckComparesChildren gives the expression graph as many nodes as there are values, and an operation of it other
// children than it was given.
func TestCheckComparesChildren(t *testing.T) {
	build := func() (b *Builder, x, y *Value) {
		b = &Builder{supports: func(kernels.Spec, []kernels.Tensor) bool { return true }, graph: gorgonia.NewGraph(), named: map[string]kernels.Value{}}
		x, y = b.Input("x", kernels.Step, kernels.F32, 1, 4), b.Input("y", kernels.Step, kernels.F32, 1, 4)
		b.Add(b.Activate(x, kernels.SiLU), y)
		return b, x, y
	}
	for name, c := range map[string]struct {
		change func(b *Builder, x, y *Value)
		want   string
	}{
		"as it was built": {func(*Builder, *Value, *Value) {}, ""},
		"the first":       {func(b *Builder, _, y *Value) { b.applied[0].children = []*gorgonia.Node{y.node} }, "another child 0"},
		"the second":      {func(b *Builder, x, _ *Value) { b.applied[1].children[1] = x.node }, "another child 1"},
		"their order":     {func(b *Builder, _, _ *Value) { slices.Reverse(b.applied[1].children) }, "another child 0"},
		"one more":        {func(b *Builder, x, _ *Value) { b.applied[1].children = append(b.applied[1].children, x.node) }, "another child 2"},
	} {
		b, x, y := build()
		c.change(b, x, y)
		if err := b.check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
