package cuda

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// fuse rewrites a plan for this device: linear layers of one input become one GEMM where all readers of their results
// can read a view of a larger tensor. Those are the projections of queries, keys and values (of the text in all layers
// of a model at once) and the time projections of residual blocks. Values keep their numbers.
func fuse(plan *kernels.Plan) *kernels.Plan {
	readers := make([][]reading, len(plan.Tensors))
	for i, n := range plan.Nodes {
		for k, v := range n.In {
			readers[v] = append(readers[v], reading{i, k})
		}
	}
	type group struct {
		x    kernels.Value
		rows bool // time projections
		bias bool
	}
	groups := map[group][]int{}
	var order []group
	for i, n := range plan.Nodes {
		s, ok := n.Spec.(kernels.Linear)
		if !ok || s != (kernels.Linear{Bias: s.Bias}) || !separable(plan, n, s.Operands()) {
			continue
		}
		for _, rows := range []bool{false, true} {
			takes := func(r reading) bool { return takesView(plan, r, rows) }
			all := readers[n.Out[0]]
			if g := (group{n.In[s.Operands().X], rows, s.Bias}); len(all) > 0 && !slices.ContainsFunc(all, func(r reading) bool { return !takes(r) }) {
				if groups[g] == nil {
					order = append(order, g)
				}
				groups[g] = append(groups[g], i)
			}
		}
	}
	f := fusion{out: &kernels.Plan{Tensors: slices.Clone(plan.Tensors)}, views: map[kernels.Value]tensorView{}, instead: map[int]*kernels.Node{}}
	for _, g := range order {
		members := groups[g]
		for most := maxParts; g.rows && len(members) > most; members = members[most:] {
			f.join(plan, members[:most], true)
		}
		f.join(plan, members, g.rows)
	}
	for i, n := range plan.Nodes {
		joined, ok := f.instead[i]
		if ok && joined == nil {
			continue
		}
		if ok {
			n = *joined
		}
		f.out.Nodes = append(f.out.Nodes, f.sliced(n))
	}
	return f.out
}

// reading is input k of a node.
type reading struct{ node, k int }

// separable reports whether a linear layer's weights can be concatenated with another's, and its result's columns too.
func separable(plan *kernels.Plan, n kernels.Node, places kernels.Operands) bool {
	for _, v := range n.In[1:] {
		if plan.Tensors[v].Role != kernels.Weight {
			return false
		}
	}
	shape := plan.Tensors[n.In[places.Weight]].Shape
	rows, row := shape[0], roundUp(shape[1], 8)
	return plan.Tensors[n.Out[0]].Role == kernels.Temp && rows%8 == 0 && 2*rows*row%alignment == 0 && (places.Bias == kernels.Absent || 4*rows%alignment == 0)
}

// takesView reports whether a node can read an input as a view of a larger tensor: attention takes strided rows, a
// convolution a broadcast bias at any offset.
func takesView(plan *kernels.Plan, r reading, rows bool) bool {
	n := plan.Nodes[r.node]
	switch s := n.Spec.(type) {
	case kernels.Attention:
		shape := plan.Tensors[n.In[0]].Shape
		size := shape[len(shape)-1] / s.Heads
		return !rows && size%8 == 0 && size <= maxFlashSize
	case kernels.Conv2d:
		return rows && r.k == s.Operands().BroadcastBias && plan.Tensors[n.In[r.k]].Shape[0] <= skinnyRows
	}
	return false
}

// fusion is a plan being rewritten.
type fusion struct {
	out     *kernels.Plan
	views   map[kernels.Value]tensorView
	instead map[int]*kernels.Node // of a node; nil for a node that another has taken in
}

// tensorView is a value of the original plan as a view of a joined one.
type tensorView struct {
	of            kernels.Value
	offset, pitch int // elements; pitch is the stride of rows of the last axis
}

// join makes one node of linear layers of one input.
func (f *fusion) join(plan *kernels.Plan, members []int, rows bool) {
	if len(members) < 2 {
		return
	}
	first := plan.Nodes[members[0]]
	layer := first.Spec.(kernels.Linear)
	places := layer.Operands()
	x := first.In[places.X]
	n := kernels.Node{Path: first.Path, In: []kernels.Value{x}}
	s := joinedLinear{parts: len(members), bias: layer.Bias, separate: rows}
	var names []string
	width := 0
	for _, i := range members {
		w := plan.Nodes[i].In[places.Weight]
		n.In = append(n.In, w)
		names = append(names, plan.Tensors[w].Name)
		width += plan.Tensors[w].Shape[0]
	}
	if s.bias {
		for _, i := range members {
			n.In = append(n.In, plan.Nodes[i].In[places.Bias])
		}
	}
	s.name = strings.Join(names, " ")
	shape := slices.Clone(plan.Tensors[x].Shape)
	shape[len(shape)-1] = width
	to := kernels.Value(len(f.out.Tensors))
	f.out.Tensors = append(f.out.Tensors, kernels.Tensor{Role: kernels.Temp, DType: kernels.F32, Shape: shape})
	n.Spec, n.Out = s, []kernels.Value{to}
	at := 0
	for _, i := range members {
		columns := plan.Tensors[plan.Nodes[i].In[places.Weight]].Shape[0]
		p := tensorView{of: to, offset: at, pitch: width}
		if rows {
			p = tensorView{of: to, offset: at * shape[0], pitch: columns}
		}
		f.views[plan.Nodes[i].Out[0]] = p
		f.instead[i] = nil
		at += columns
	}
	f.instead[members[0]] = &n
}

// sliced makes a node read views of what its inputs were joined to.
func (f *fusion) sliced(n kernels.Node) kernels.Node {
	s := sliced{Spec: n.Spec, views: map[int]tensorView{}, whole: map[int]kernels.Tensor{}}
	in := slices.Clone(n.In)
	for k, v := range n.In {
		if p, ok := f.views[v]; ok {
			s.views[k], s.whole[k] = p, f.out.Tensors[v]
			in[k] = p.of
		}
	}
	if len(s.views) > 0 {
		n.In, n.Spec = in, s
	}
	return n
}

// joinedLinear is several linear layers of one input as one operation.
//
// Inputs: x [..., K]; weights [Ni, K]; biases [Ni] if bias. Output: [..., ΣNi]; if separate, where x is [rows, K], each
// layer's [rows, Ni] in turn.
type joinedLinear struct {
	parts          int
	bias, separate bool
	name           string // the weights' names
}

// Infer implements kernels.Spec.
func (s joinedLinear) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	shape := slices.Clone(in[0].Shape)
	last := len(shape) - 1
	shape[last] = 0
	for k := range s.parts {
		one := []kernels.Tensor{in[0], in[1+k]}
		if s.bias {
			one = append(one, in[1+s.parts+k])
		}
		out, err := kernels.Linear{Bias: s.bias}.Infer(one)
		if err != nil {
			return nil, err
		}
		shape[last] += out[0].Shape[last]
	}
	return []kernels.Tensor{{DType: kernels.F32, Shape: shape}}, nil
}

// FLOPs implements kernels.Spec.
func (s joinedLinear) FLOPs(in []kernels.Tensor) (sum int64) {
	for _, w := range in[1 : 1+s.parts] {
		sum += kernels.Linear{}.FLOPs([]kernels.Tensor{in[0], w})
	}
	return sum
}

// sliced is an operation that reads some of its inputs as views of larger tensors. The maps are by number of the input.
type sliced struct {
	kernels.Spec
	views map[int]tensorView
	whole map[int]kernels.Tensor // what the operation takes the view for
}

func (s sliced) inner(in []kernels.Tensor) []kernels.Tensor {
	in = slices.Clone(in)
	for k, t := range s.whole {
		in[k] = t
	}
	return in
}

// Infer implements kernels.Spec.
func (s sliced) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	return s.Spec.Infer(s.inner(in))
}

// FLOPs implements kernels.Spec.
func (s sliced) FLOPs(in []kernels.Tensor) int64 { return s.Spec.FLOPs(s.inner(in)) }

// operation is what a node computes, without what fusion adds.
func operation(s kernels.Spec) kernels.Spec {
	switch s := s.(type) {
	case sliced:
		return operation(s.Spec)
	case withRowMoments:
		return operation(s.Spec)
	case withChannelStats:
		return operation(s.Spec)
	case groupNormOfStats:
		return s.GroupNorm
	case foldedLayerNorm:
		return operation(s.Spec)
	}
	return s
}

// sliced lowers an operation with views as inputs.
func (l *lowering) sliced(s sliced) error {
	for k, p := range s.views {
		o := l.in[k]
		o.Tensor, o.symbol, o.pitch = s.whole[k], o.symbol.plus(p.offset, o.storage), p.pitch
		l.in[k] = o
	}
	return l.lower(s.Spec)
}

// maxParts is the most layers that kernel project takes.
const maxParts = 32

// joinedLinear lowers to one GEMM, or to kernel project, which reads the weights once for few rows.
func (l *lowering) joinedLinear(s joinedLinear) error {
	x, width := l.in[0], 0
	k := x.Shape[len(x.Shape)-1]
	at, padded, err := l.channels(0)
	if err != nil {
		return err
	}
	pack := packing{kind: packMatrix, c1: k, p1: padded, join: s.name}
	if l.foldedNorm != nil {
		pack.fold, pack.join = l.foldedNorm.name, pack.join+" "+l.foldedNorm.name
	}
	var weight, bias symbol
	start := [maxParts + 1]int32{}
	for i := range s.parts {
		w, err := l.matrix(1+i, pack)
		if err != nil {
			return err
		}
		if i == 0 {
			weight = w
		}
		width += l.in[1+i].Shape[0]
		if s.separate {
			start[i+1] = int32(width)
		}
	}
	for i := range s.parts {
		if !s.bias || l.foldedNorm != nil {
			break
		}
		b, err := l.matrix(1+s.parts+i, packing{kind: packFloat, join: s.name})
		if err != nil {
			return err
		}
		if i == 0 {
			bias = b
		}
	}
	rows, out := x.Len()/k, l.out[0]
	if s.separate {
		if rows > skinnyRows || s.parts > maxParts {
			return fmt.Errorf("cuda: %d joined layers of %d rows, want at most %d and %d", s.parts, rows, maxParts, skinnyRows)
		}
		p := projectParams{M: int32(rows), K: int32(padded), N: int32(width), Parts: int32(s.parts), OutType: out.storage, Start: start}
		l.launch("project", driver.Dim{X: uint32(ceil(width, 8)), Y: 1, Z: 1}, 256, 0, func(address resolver) any {
			p := p
			p.X, p.W, p.Bias, p.Out = address(at), address(weight), address(bias), address(out.symbol)
			return p
		})
		return nil
	}
	p := gemm{x: at, w: weight, bias: bias, out: out}
	p.rows(rows, padded, padded)
	p.N, p.PitchW, p.Columns, p.PitchOut = int32(width), int32(padded), int32(width), int32(width)
	first := kernels.Absent
	if s.bias {
		first = 1 + s.parts
	}
	if err := l.fold(&p, pack, 1, s.parts, first); err != nil {
		return err
	}
	l.gemm(p)
	return nil
}
