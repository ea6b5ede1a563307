package cuda

import (
	"slices"

	"github.com/goxl/goxl/kernels"
)

// A GroupNorm behind GEMMs needs no pass over their results to compute its moments: their epilogues write statistics of
// every channel over 64 pixels at a time (withChannelStats), and the norm reduces those (groupNormOfStats). The
// statistics are not about a pivot, as group_sums' are: where a mean is r times the deviation, sums of squares in
// float32 lose r²·2⁻²⁴ of the variance. Results of 16 bits have lost r·2⁻¹² of the deviation by then, which is more for
// all r below 4096.

// statsRows is how many rows of a GEMM's result one row of channel statistics is over.
const statsRows = 64

// fuseGroups lets GroupNorms read channel statistics where GEMMs compute all of their input and the image is too large
// for the one-pass kernels.
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
			ok = ok && c%8 == 0 && plan.Tensors[v].Role == kernels.Temp && writer[v] >= 0 && canWriteStats(plan.Nodes[writer[v]])
		}
		pixels, size := shape[1]*shape[2], channels/s.Groups
		if !ok || pixels%statsRows != 0 || size%2 != 0 || size < 8 && size != 4 {
			continue
		}
		if _, each := onePassTile(channels/8, size, pixels); each > 0 {
			continue
		}
		in := slices.Clone(n.In)
		for _, v := range sources {
			made := &out.Nodes[writer[v]]
			if len(made.Out) == 1 {
				x := plan.Tensors[v]
				c := x.Shape[3]
				out.Tensors = append(out.Tensors, kernels.Tensor{Role: kernels.Temp, DType: kernels.F32, Shape: channelStatsShape(x.Len()/c, c)})
				made.Spec, made.Out = withChannelStats{made.Spec}, []kernels.Value{v, kernels.Value(len(out.Tensors) - 1)}
			}
			in = append(in, made.Out[1])
		}
		out.Nodes[i].Spec, out.Nodes[i].In = groupNormOfStats{s, len(sources)}, in
	}
	return out
}

// canWriteStats reports whether a node is a GEMM whose epilogue can write channel statistics.
func canWriteStats(n kernels.Node) bool {
	switch s := operation(n.Spec).(type) {
	case kernels.Conv2d:
		return s.Act == kernels.Identity && !(s.BroadcastBias && s.Residual) && len(n.Out) == 1
	case kernels.Linear:
		return s.Act == kernels.Identity && len(n.Out) == 1
	}
	return false
}

// channelStatsShape is the shape of the channel statistics of a result: for each pair of channels two sums and two sums
// of squares.
func channelStatsShape(rows, channels int) []int {
	return []int{ceil(rows, statsRows), channels / 2, 4}
}

// withChannelStats is a GEMM whose epilogue also writes sum and sum of squares of each channel of its result over every
// 64 rows: a second output in float32, see channelStatsShape.
type withChannelStats struct{ kernels.Spec }

// Infer implements kernels.Spec.
func (s withChannelStats) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	out, err := s.Spec.Infer(in)
	if err != nil {
		return nil, err
	}
	c := out[0].Shape[len(out[0].Shape)-1]
	return append(out, kernels.Tensor{DType: kernels.F32, Shape: channelStatsShape(out[0].Len()/c, c)}), nil
}

// groupNormOfStats is a GroupNorm whose own inputs are followed by the channel statistics of its sources.
type groupNormOfStats struct {
	kernels.GroupNorm
	sources int
}

// Infer implements kernels.Spec.
func (s groupNormOfStats) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	return s.GroupNorm.Infer(in[:len(in)-s.sources])
}

// FLOPs implements kernels.Spec.
func (s groupNormOfStats) FLOPs(in []kernels.Tensor) int64 {
	return s.GroupNorm.FLOPs(in[:len(in)-s.sources])
}

// withChannelStats lowers a GEMM that writes channel statistics, if its tile can.
func (l *lowering) withChannelStats(s withChannelStats) error {
	to := l.out[1]
	l.stats = &channelStats{at: to.symbol}
	l.out = l.out[:1]
	if err := l.lower(s.Spec); err != nil {
		return err
	}
	l.statsWritten[to.index] = l.stats.written
	return nil
}

// channelStats is where a GEMM is to write channel statistics, and whether it does.
type channelStats struct {
	at      symbol
	written bool
}

// groupNormOfStats lowers a GroupNorm behind such GEMMs.
func (l *lowering) groupNormOfStats(s groupNormOfStats) error {
	own := len(l.in) - s.sources
	written := true
	for _, o := range l.in[own:] {
		l.sourceStats = append(l.sourceStats, o.symbol)
		written = written && l.statsWritten[o.index]
	}
	if !written { // the statistics of one of two sources are not enough
		l.sourceStats = nil
	}
	l.in = l.in[:own]
	return l.groupNorm(s.GroupNorm)
}
