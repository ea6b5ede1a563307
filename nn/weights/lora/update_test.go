package lora

import (
	"math"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// TestUpdate divides a set into products and whole tensors, and both give what Merge gives.
func TestUpdate(t *testing.T) {
	model, src := targets(t, "tiny"), tiny(t, unet)
	match := func(all tensors) *Adapter {
		a, _, err := open(t, all, nil).Match(model)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := match(with(pair(kohyaQ, 32, 32), pair(kohyaK, 32, 80)))
	second := match(with(pair(kohyaQ, 32, 32), pair(kohyaK, 32, 80), tensors{
		kohyaK + ".dora_scale": ramp(32, 1), "lora_unet_middle_block_1_norm.w_norm": ramp(48)}))
	set := []Selected{{first, Strength(0.5)}, {second, Strength(-1)}, {first, Strength(0.5)}}
	u := Update(src, unet, set)
	if err := u.Check(src); err != nil {
		t.Fatal(err)
	}
	if want := []string{pathK, "mid_block.attentions.0.norm.weight"}; !slices.Equal(u.Whole, want) {
		t.Errorf("whole: %v, want %v", u.Whole, want)
	}
	products := u.LowRank[pathQ+".weight"]
	if len(u.LowRank) != 1 || len(products) != 3 || products[0].Scale != 0.5 || products[1].Scale != -1 || products[1].Rank != 2 {
		t.Errorf("products: %d of %d tensors", len(products), len(u.LowRank))
	}
	dtype, shape, data, err := src.Tensor(pathQ + ".weight")
	if err != nil {
		t.Fatal(err)
	}
	sums, bound := ref.Merge(dtype, shape, data, products)
	m := Merge(src, unet, set)
	for i, x := range floats(t, m, pathQ+".weight") {
		if math.Abs(float64(x)-sums[i]) > bound[i] {
			t.Fatalf("number %d is %v, want %v to %v", i, x, sums[i], bound[i])
		}
	}
	golden.Near(t, "whole", floats(t, u.Source, pathK), floats(t, m, pathK), 0)
	if u := Update(src, unet, []Selected{{first, Strength(0)}}); u != nil {
		t.Errorf("strength 0 changes %v", u.Names())
	}
	if u := Update(tiny(t, textEncoder), textEncoder, set); u != nil {
		t.Errorf("an encoder changes: %v", u.Names())
	}
	if m.Storage(pathK) != kernels.Made {
		t.Error("a merged tensor is not made")
	}
}

// TestOrder wants the adapters of a set to act one after the other: with DoRA the order counts, and a file may come
// twice.
func TestOrder(t *testing.T) {
	model, src := targets(t, "tiny"), tiny(t, unet)
	plain, _, err := open(t, pair(kohyaQ, 32, 32), nil).Match(model)
	if err != nil {
		t.Fatal(err)
	}
	dora, _, err := open(t, with(pair(kohyaQ, 32, 32), tensors{kohyaQ + ".dora_scale": ramp(32, 1)}), nil).Match(model)
	if err != nil {
		t.Fatal(err)
	}
	name := pathQ + ".weight"
	merged := func(set ...Selected) []float32 { return floats(t, Merge(src, unet, set), name) }
	a, b := Selected{plain, Strength(1)}, Selected{dora, Strength(0.5)}
	one, other := merged(a, b), merged(b, a)
	if d, err := golden.Distance(one, other); err != nil || d < 1e-3 {
		t.Errorf("the order does not count: %v, %v", d, err)
	}
	// By hand: the first, then the second on what that gives.
	w := floats(t, src, name)
	for _, sel := range []Selected{a, b} {
		for _, c := range sel.Adapter.Changes(unet, name) {
			if err := c.Apply(w, model[unet][name], sel.Strengths.Base); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden.Near(t, "in order", one, w, 1e-7)
	golden.Near(t, "twice", merged(a, a), merged(Selected{plain, Strength(2)}), 1e-6)
	golden.Near(t, "back and forth", merged(a, Selected{plain, Strength(-1)}), floats(t, src, name), 1e-6)
}

// TestWrongShape wants a source of other shapes than those that were matched to be an error.
func TestWrongShape(t *testing.T) {
	a, _, err := open(t, with(pair(kohyaQ, 32, 32), tensors{kohyaK + ".diff": ramp(32, 80)}), nil).Match(targets(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	m := Merge(source(kernels.F32, tensors{pathQ + ".weight": ramp(32, 16), pathK: ramp(32, 40)}), unet, []Selected{{a, Strength(1)}})
	for _, name := range m.Names() {
		if _, _, _, err := m.Tensor(name); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
