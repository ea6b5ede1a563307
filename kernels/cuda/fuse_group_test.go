package cuda

import (
	"maps"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// residuals is a plan for fuseGroups: GroupNorms behind a convolution with a time projection, behind one with a
// residual concatenated with the first, whose groups extend over both, and behind a linear layer; of images too large
// for the one-pass kernels.
func residuals(t *testing.T) (p *planner, inputs []kernels.Value, out kernels.Value) {
	p = &planner{}
	x, time := p.put("x", kernels.Step, 2, 34, 32, 48), p.put("time", kernels.Step, 2, 40)
	norm := func(path string, groups, channels int, in ...kernels.Value) kernels.Value {
		in = append(in, p.put(path+".weight", kernels.Weight, channels), p.put(path+".bias", kernels.Weight, channels))
		return p.do(t, path, kernels.GroupNorm{Groups: groups, Eps: 1e-5, Act: kernels.SiLU, Concat: len(in) == 4}, in...)
	}
	a := p.do(t, "a", kernels.Conv2d{Stride: 1, Bias: true, BroadcastBias: true}, x, p.put("a.weight", kernels.Weight, 80, 48, 1, 1), p.put("a.bias", kernels.Weight, 80),
		p.linear(t, "a.time", time, 80, true))
	n := norm("norm a", 4, 80, a)
	b := p.do(t, "b", kernels.Conv2d{Stride: 1, Bias: true, Residual: true}, n, p.put("b.weight", kernels.Weight, 80, 80, 1, 1), p.put("b.bias", kernels.Weight, 80), a)
	n = norm("norm b", 8, 160, b, a)
	c := p.linear(t, "c", n, 160, true)
	out = norm("norm c", 4, 160, c)
	p.Tensors[out].Role = kernels.Result
	return p, []kernels.Value{x, time}, out
}

// TestFuseGroups counts the operations of the fused plan and the kernels that run: a norm whose statistics GEMMs write
// needs no pass over the image for them.
func TestFuseGroups(t *testing.T) {
	d := onHopper(t)
	p, _, _ := residuals(t)
	fused := fuseGroups(&p.Plan)
	if err := fused.Validate(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, n := range fused.Nodes {
		switch n.Spec.(type) {
		case withChannelStats:
			counts["withChannelStats"]++
		case groupNormOfStats:
			counts["groupNormOfStats"]++
		}
	}
	each, _ := modelPlan{&p.Plan, sourceOf(&p.Plan)}.program(t, d).count()
	maps.Copy(counts, each)
	for what, want := range map[string]int{"withChannelStats": 3, "groupNormOfStats": 3, "GroupNorm group_reduce_stats": 3, "GroupNorm group_scale": 3, "GroupNorm group_sums": 0} {
		if counts[what] != want {
			t.Errorf("%d %s, want %d", counts[what], what, want)
		}
	}
}

// A plan stays as it is where GEMMs do not compute all of a norm's input or a one-pass kernel has the whole image.
// Where no tile can write the statistics, the norm computes them.
func TestFuseGroupsNot(t *testing.T) {
	for name, c := range map[string]struct {
		height, channels int
		act              kernels.Activation
		second           int // channels of another product beside the first
		fused            bool
		gathers          int
	}{
		"an activation behind the product":    {34, 80, kernels.SiLU, 0, false, 0},
		"a small image":                       {4, 80, kernels.Identity, 0, false, 0},
		"pixels that fill no total":           {35, 80, kernels.Identity, 0, false, 0},
		"columns that fill no tile":           {34, 88, kernels.Identity, 0, true, 0},
		"such columns of a second source":     {34, 80, kernels.Identity, 88, true, 0},
		"channels that are not whole vectors": {34, 12, kernels.Identity, 0, false, 0},
		"none of it":                          {34, 80, kernels.Identity, 0, true, 1},
		"none of it, of two sources":          {34, 80, kernels.Identity, 80, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := onHopper(t)
			p := &planner{}
			x := p.put("x", kernels.Step, 1, c.height, 32, 48)
			if c.height == 35 {
				p.Tensors[x].Shape[2] = 33
			}
			in := []kernels.Value{p.do(t, "y", kernels.Conv2d{Stride: 1, Act: c.act}, x, p.put("w", kernels.Weight, c.channels, 48, 1, 1))}
			if c.second > 0 {
				in = append(in, p.do(t, "z", kernels.Conv2d{Stride: 1}, x, p.put("v", kernels.Weight, c.second, 48, 1, 1)))
			}
			all := c.channels + c.second
			out := p.do(t, "norm", kernels.GroupNorm{Groups: 4, Eps: 1e-5, Concat: c.second > 0}, append(in, p.put("norm.weight", kernels.Weight, all), p.put("norm.bias", kernels.Weight, all))...)
			p.Tensors[out].Role = kernels.Result
			_, fused := fuseGroups(&p.Plan).Nodes[len(in)].Spec.(groupNormOfStats)
			each, _ := modelPlan{&p.Plan, sourceOf(&p.Plan)}.program(t, d).count()
			if gathers := each["GroupNorm group_reduce_stats"]; fused != c.fused || gathers != c.gathers {
				t.Errorf("rewritten: %t, %d norms gather; want %t and %d", fused, gathers, c.fused, c.gathers)
			}
		})
	}
}
