package cuda

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// A layer norm between two products needs no kernel of its own: with Γ and β its factors, mean m and deviation σ of a row,
//
//	norm(x)·Wᵀ + b = (x·(WΓ)ᵀ − m·s)/σ + (β·Wᵀ + b),  s the row sums of WΓ.
//
// The product that makes x adds up each row on the way (summing), the one that reads the norm corrects its sums by what came of that (normed); WΓ takes the
// place of W on the card, with s and β·Wᵀ + b beside it.

// fuseNorms rewrites layer norms so, where the products around them are large enough.
func fuseNorms(plan *kernels.Plan) *kernels.Plan {
	writer, readers := make([]int, len(plan.Tensors)), make([]int, len(plan.Tensors))
	for i, n := range plan.Nodes {
		for _, v := range n.Out {
			writer[v] = i
		}
		for _, v := range n.In {
			readers[v]++
		}
	}
	out := &kernels.Plan{Tensors: slices.Clone(plan.Tensors), Nodes: slices.Clone(plan.Nodes)}
	gone := make([]bool, len(plan.Nodes))
	for i, n := range plan.Nodes {
		rows, columns, ok := readsNorm(plan, n)
		if !ok || rows < minTMARows || columns%16 != 0 {
			continue
		}
		y := n.In[0]
		at := writer[y]
		norm := plan.Nodes[at]
		s, ok := norm.Spec.(kernels.LayerNorm)
		if !ok || norm.Out[0] != y || plan.Tensors[y].Role != kernels.Temp || readers[y] != 1 {
			continue
		}
		places := s.Operands()
		x, gamma, beta := norm.In[places.X], norm.In[places.Weight], norm.In[places.Bias]
		width := plan.Tensors[x].Shape[len(plan.Tensors[x].Shape)-1]
		from := writer[x]
		linear, ok := plan.Nodes[from].Spec.(kernels.Linear)
		if !ok || linear.Act == kernels.GEGLU || plan.Nodes[from].Out[0] != x || plan.Tensors[x].Role != kernels.Temp || width%8 != 0 ||
			plan.Tensors[gamma].Role != kernels.Weight || plan.Tensors[beta].Role != kernels.Weight {
			continue
		}
		sums := kernels.Value(len(out.Tensors))
		if made := out.Nodes[from]; len(made.Out) == 2 { // another norm of the same value
			sums = made.Out[1]
		} else {
			spec := summing{made.Spec}
			shapes, err := spec.Infer(out.Inputs(made))
			if err != nil {
				continue
			}
			out.Tensors = append(out.Tensors, shapes[1])
			out.Nodes[from].Spec, out.Nodes[from].Out = spec, []kernels.Value{x, sums}
		}
		out.Nodes[i].Spec = normed{Spec: n.Spec, eps: s.Eps}
		out.Nodes[i].In = append(append([]kernels.Value{x}, n.In[1:]...), gamma, beta, sums)
		gone[at] = true
	}
	kept := out.Nodes[:0]
	for i, n := range out.Nodes {
		if !gone[i] {
			kept = append(kept, n)
		}
	}
	out.Nodes = kept
	return out
}

// readsNorm gives rows and columns of a product that can take its first input as it was before a layer norm.
func readsNorm(plan *kernels.Plan, n kernels.Node) (rows, columns int, ok bool) {
	weights := 1
	switch s := n.Spec.(type) {
	case kernels.Linear:
		if s.Act == kernels.GEGLU { // whose end it slows by more than the norm takes
			return 0, 0, false
		}
	case joinedLinear:
		if s.apart {
			return 0, 0, false
		}
		weights = s.parts
	default:
		return 0, 0, false
	}
	if slices.Contains(n.In[1:], n.In[0]) {
		return 0, 0, false
	}
	for _, w := range n.In[1 : 1+weights] {
		if plan.Tensors[w].Role != kernels.Weight {
			return 0, 0, false
		}
		rows := plan.Tensors[w].Shape[0]
		if weights > 1 && 4*rows%alignment != 0 { // the vectors of layers side by side lie right behind one another, as their weights do
			return 0, 0, false
		}
		columns += rows
	}
	x := plan.Tensors[n.In[0]]
	return x.Len() / x.Shape[len(x.Shape)-1], columns, true
}

// summing is a product that also writes sum and sum of squares of each row of its result, in parts of some columns each:
// a second output, [parts at most, rows, 2] in float32.
type summing struct{ kernels.Spec }

// minTMAColumns is the columns of the narrowest TMA tile.
const minTMAColumns = 80

// Infer implements kernels.Spec.
func (s summing) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	out, err := s.Spec.Infer(in)
	if err != nil {
		return nil, err
	}
	width := out[0].Shape[len(out[0].Shape)-1]
	return append(out, kernels.Tensor{DType: kernels.F32, Shape: []int{ceil(width, minTMAColumns), out[0].Len() / width, 2}}), nil
}

// normed is a product of a layer norm of its first input. Three inputs follow its own: the norm's weight and bias, and the sums of the rows.
type normed struct {
	kernels.Spec
	eps float64
}

// Infer implements kernels.Spec.
func (s normed) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	return s.Spec.Infer(in[:len(in)-3])
}

// FLOPs implements kernels.Spec.
func (s normed) FLOPs(in []kernels.Tensor) int64 { return s.Spec.FLOPs(in[:len(in)-3]) }

// rowSums is what a product writes for a layer norm that follows, or reads of one in front of it.
type rowSums struct {
	at          ref
	parts       int // that there are for each row
	gamma, beta ref // of the norm
	name        string
	eps         float64
}

// summing lowers a product that writes sums of its rows.
func (l *lowering) summing(s summing) error {
	sums := l.out[1]
	l.sums = &rowSums{at: sums.ref}
	l.out = l.out[:1]
	if err := l.lower(s.Spec); err != nil {
		return err
	}
	l.parts[sums.index] = l.sums.parts
	return nil
}

// normed lowers a product of a layer norm.
func (l *lowering) normed(s normed) error {
	n := len(l.in) - 3
	gamma, err := l.vector(n)
	if err != nil {
		return err
	}
	beta, err := l.vector(n + 1)
	if err != nil {
		return err
	}
	parts := l.parts[l.in[n+2].index]
	if parts == 0 {
		return fmt.Errorf("cuda: a product of a layer norm comes before the one that adds up its rows")
	}
	l.norm = &rowSums{at: l.in[n+2].ref, parts: parts, gamma: gamma, beta: beta, eps: s.eps, name: l.in[n].Name + " " + l.in[n+1].Name}
	l.in = l.in[:n]
	return l.lower(s.Spec)
}

// fold puts what a layer norm does to a product into its weights: inputs first … first+count−1, whose layout on the card is pack and whose biases, if any, are
// inputs bias and on; bias is kernels.Absent without. p gets the place of both vectors.
func (l *lowering) fold(p *gemm, pack packing, first, count, bias int) error {
	if l.norm == nil {
		return nil
	}
	var vectors [2]ref
	for k, kind := range []packKind{packSums, packShifts} {
		for i := range count {
			v, err := l.weights(first+i, packing{kind: kind, fold: l.norm.name, join: pack.join})
			if err != nil {
				return err
			}
			if i == 0 {
				vectors[k] = v
			}
		}
	}
	for i := range count {
		w, err := l.weights(first+i, pack)
		if err != nil {
			return err
		}
		f := folding{gamma: l.norm.gamma.weight, beta: l.norm.beta.weight}
		if bias != kernels.Absent {
			b, err := l.vector(bias + i)
			if err != nil {
				return err
			}
			f.bias = b.weight
		}
		for k, kind := range []packKind{packSums, packShifts} {
			v, err := l.weights(first+i, packing{kind: kind, fold: l.norm.name, join: pack.join})
			if err != nil {
				return err
			}
			f.made[k] = v.weight
		}
		l.link(w.weight, &f)
	}
	p.weightSums, p.bias = vectors[0], vectors[1]
	return nil
}

// folding is what the fold kernel reads and writes beside the weight.
type folding struct {
	gamma, beta, bias *packed // bias is nil without
	made              [2]*packed
}

// fold multiplies a packed weight by the factors of the norm in front of it and makes the vectors that go with it.
func (d *Device) fold(w *packed) error {
	f, err := d.libraries[w.precision].function("fold_layer_norm")
	if err != nil {
		return err
	}
	p := foldParams{W: w.at, Gamma: w.folding.gamma.at, Beta: w.folding.beta.at, Sums: w.folding.made[0].at, Shifts: w.folding.made[1].at,
		Rows: int32(w.rows()), K: int32(w.row())}
	if b := w.folding.bias; b != nil {
		p.Bias = b.at
	}
	one := driver.Config{Grid: driver.Dim{X: uint32(ceil(w.rows(), 8)), Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}}
	l, err := f.Prepare(one, p)
	if err != nil {
		return err
	}
	if err := d.stream.Launch(l); err != nil {
		return fmt.Errorf("weight %s: %w", w.name, err)
	}
	return nil
}
