package cuda

import (
	"slices"

	"github.com/goxl/goxl/kernels"
)

// A group norm behind products needs no pass over their results to know its moments: the products add up every channel over 64 pixels at a time on the way
// (totalling), and the norm gathers what came of that (totalled). Totals are not about a value of the group, as group_sums' are: where a mean is r times the deviation, sums
// of squares in float32 lose r²·2⁻²⁴ of the variance, and results of 16 bits have lost r·2⁻¹² of the deviation each by then, which is more for all r below 4096.

// totalRows is how many rows of a product's result a total is over.
const totalRows = 64

// fuseGroups rewrites group norms so, where products make all of what they read and images are too large for one kernel to hold.
func fuseGroups(plan *kernels.Plan) *kernels.Plan {
	writer := make([]int, len(plan.Tensors))
	for v := range writer {
		writer[v] = -1
	}
	for i, n := range plan.Nodes {
		for _, v := range n.Out {
			writer[v] = i
		}
	}
	out := &kernels.Plan{Tensors: slices.Clone(plan.Tensors), Nodes: slices.Clone(plan.Nodes)}
	for i, n := range plan.Nodes {
		s, ok := n.Spec.(kernels.GroupNorm)
		if !ok {
			continue
		}
		places := s.Operands()
		sources := []kernels.Value{n.In[places.X]}
		if s.Concat {
			sources = append(sources, n.In[places.X2])
		}
		shape, channels := plan.Tensors[n.In[places.X]].Shape, 0
		for _, v := range sources {
			c := plan.Tensors[v].Shape[3]
			channels += c
			ok = ok && c%8 == 0 && plan.Tensors[v].Role == kernels.Temp && writer[v] >= 0 && totals(plan.Nodes[writer[v]])
		}
		pixels, size := shape[1]*shape[2], channels/s.Groups
		if !ok || pixels%totalRows != 0 || size%2 != 0 || size < 8 && size != 4 {
			continue
		}
		if _, each := wholeSlab(channels/8, size, pixels); each > 0 {
			continue
		}
		in := slices.Clone(n.In)
		for _, v := range sources {
			made := &out.Nodes[writer[v]]
			if len(made.Out) == 1 {
				x := plan.Tensors[v]
				c := x.Shape[3]
				out.Tensors = append(out.Tensors, kernels.Tensor{Role: kernels.Temp, DType: kernels.F32, Shape: totalsShape(x.Len()/c, c)})
				made.Spec, made.Out = totalling{made.Spec}, []kernels.Value{v, kernels.Value(len(out.Tensors) - 1)}
			}
			in = append(in, made.Out[1])
		}
		out.Nodes[i].Spec, out.Nodes[i].In = totalled{s, len(sources)}, in
	}
	return out
}

// totals reports whether a node is a product that can add up its channels.
func totals(n kernels.Node) bool {
	switch s := operation(n.Spec).(type) {
	case kernels.Conv2d:
		return s.Act == kernels.Identity && !(s.BroadcastBias && s.Residual) && len(n.Out) == 1
	case kernels.Linear:
		return s.Act == kernels.Identity && len(n.Out) == 1
	}
	return false
}

// totalsShape is the shape of the totals of a result of rows and channels: of each pair of channels two sums and two sums of squares.
func totalsShape(rows, channels int) []int { return []int{ceil(rows, totalRows), channels / 2, 4} }

// totalling is a product that also writes sum and sum of squares of each channel of its result over every 64 rows: a second output, see totalsShape, in float32.
type totalling struct{ kernels.Spec }

// Infer implements kernels.Spec.
func (s totalling) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	out, err := s.Spec.Infer(in)
	if err != nil {
		return nil, err
	}
	c := out[0].Shape[len(out[0].Shape)-1]
	return append(out, kernels.Tensor{DType: kernels.F32, Shape: totalsShape(out[0].Len()/c, c)}), nil
}

// totalled is a group norm that has totals of its sources behind its own inputs.
type totalled struct {
	kernels.GroupNorm
	sources int
}

// Infer implements kernels.Spec.
func (s totalled) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	return s.GroupNorm.Infer(in[:len(in)-s.sources])
}

// FLOPs implements kernels.Spec.
func (s totalled) FLOPs(in []kernels.Tensor) int64 { return s.GroupNorm.FLOPs(in[:len(in)-s.sources]) }

// totalling lowers a product that writes totals, if the tile that suits it can.
func (l *lowering) totalling(s totalling) error {
	to := l.out[1]
	l.totals = &totalsOut{at: to.ref}
	l.out = l.out[:1]
	if err := l.lower(s.Spec); err != nil {
		return err
	}
	l.totalled[to.index] = l.totals.written
	return nil
}

// totalsOut is where a product is to write totals, and whether it does.
type totalsOut struct {
	at      ref
	written bool
}

// totalledNorm lowers a group norm of such products.
func (l *lowering) totalledNorm(s totalled) error {
	own := len(l.in) - s.sources
	written := true
	for _, o := range l.in[own:] {
		l.channelTotals = append(l.channelTotals, o.ref)
		written = written && l.totalled[o.index]
	}
	if !written { // of one source of two is not enough
		l.channelTotals = nil
	}
	l.in = l.in[:own]
	return l.groupNorm(s.GroupNorm)
}
