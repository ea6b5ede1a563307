package kerneltest

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// twoLayers is a plan of weights of every type.
func twoLayers() *kernels.Plan {
	weight := func(name string, dtype kernels.DType, shape ...int) kernels.Tensor {
		return kernels.Tensor{Name: name, Role: kernels.Weight, DType: dtype, Shape: shape}
	}
	return &kernels.Plan{
		Tensors: []kernels.Tensor{
			{Name: "x", Role: kernels.Step, DType: kernels.F32, Shape: []int{2, 6}}, weight("first.weight", kernels.F16, 5, 6), weight("first.bias", kernels.BF16, 5),
			{Name: "h", Role: kernels.Temp, DType: kernels.F32, Shape: []int{2, 5}}, weight("second.weight", kernels.F32, 3, 5), weight("second.bias", kernels.F32, 3),
			{Name: "y", Role: kernels.Result, DType: kernels.F32, Shape: []int{2, 3}},
		},
		Nodes: []kernels.Node{
			{Spec: kernels.Linear{Bias: true}, Path: "first", In: []kernels.Value{0, 1, 2}, Out: []kernels.Value{3}},
			{Spec: kernels.Linear{Bias: true}, Path: "second", In: []kernels.Value{3, 4, 5}, Out: []kernels.Value{6}},
		},
	}
}

// TestUpdates: a device without a fault passes, and one that mistakes updates does not.
func TestUpdates(t *testing.T) {
	for name, c := range map[string]struct {
		update func(kernels.Source, *kernels.Update) kernels.Source
		want   string // of the errors; empty is none
	}{
		"right": {nil, ""},
		"deaf":  {func(s kernels.Source, _ *kernels.Update) kernels.Source { return s }, "all tensors from elsewhere: program 0 computes"},
		"without products": {func(s kernels.Source, u *kernels.Update) kernels.Source {
			if u != nil {
				u = &kernels.Update{Source: u.Source, Whole: u.Whole}
			}
			return ref.Updated(s, u)
		}, "products: program 1 computes"},
		"for ever": {func(s kernels.Source, u *kernels.Update) kernels.Source {
			if u == nil {
				u = &kernels.Update{LowRank: map[string][]kernels.LowRank{"second.bias": exactProducts([]int{3}, 1)}}
			}
			return ref.Updated(s, u)
		}, "as at first: program 0 computes"},
	} {
		d, r := &fake{update: c.update}, &recorder{TB: t}
		Updates(r, d, twoLayers(), kernels.Options{})
		if (len(r.errors) > 0) != (c.want != "") || c.want != "" && !slices.ContainsFunc(r.errors, func(e string) bool { return strings.Contains(e, c.want) }) {
			t.Errorf("%s: %q, want %q", name, r.errors, c.want)
		}
		if d.open != 0 {
			t.Errorf("%s: %d programs and weights left open", name, d.open)
		}
	}
}

// TestMerges: a device whose products lack a term, or are rounded twice, does not pass.
func TestMerges(t *testing.T) {
	change := func(change func(*kernels.LowRank)) func(kernels.Source, *kernels.Update) kernels.Source {
		return func(s kernels.Source, u *kernels.Update) kernels.Source {
			products := slices.Clone(u.LowRank["w"])
			for i := range products {
				change(&products[i])
			}
			return ref.Updated(s, &kernels.Update{LowRank: map[string][]kernels.LowRank{"w": products}})
		}
	}
	for name, c := range map[string]struct {
		update func(kernels.Source, *kernels.Update) kernels.Source
		fails  bool
	}{
		"right":   {nil, false},
		"a scale": {change(func(p *kernels.LowRank) { p.Scale *= 1.001 }), true},
		"a term": {change(func(p *kernels.LowRank) {
			p.Down.Data = slices.Clone(p.Down.Data)
			clear(p.Down.Data[len(p.Down.Data)-4:])
		}), true},
		"factors of 8 bits": {change(func(p *kernels.LowRank) {
			up := make([]float32, p.Up.Len())
			for i := range up {
				up[i] = p.Up.At(i)
			}
			p.Up = factor(kernels.BF16, up)
		}), true},
	} {
		d, r := &fake{update: c.update}, &recorder{TB: t}
		Merges(r, d, kernels.Options{})
		if (len(r.errors) > 0) != c.fails {
			t.Errorf("%s: %q, fails must be %v", name, r.errors, c.fails)
		}
	}
}
