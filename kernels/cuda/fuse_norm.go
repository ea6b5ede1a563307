package cuda

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// A LayerNorm between two GEMMs needs no kernel of its own. With its weight Γ and bias β, mean m and deviation σ of a
// row,
//
//	norm(x)·Wᵀ + b = (x·(WΓ)ᵀ − m·s)/σ + (β·Wᵀ + b),  s the row sums of WΓ.
//
// The epilogue of the GEMM that computes x also writes the moments of each row (withRowMoments). The GEMM that reads
// the norm reads x instead and applies m and σ in its epilogue (foldedLayerNorm). On the card WΓ takes the place of W,
// with s and β·Wᵀ + b beside it.

// fuseNorms folds LayerNorms into the GEMMs behind them where both GEMMs can run as TMA tiles.
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
		rows, columns, ok := canFoldNorm(plan, n)
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
		if made := out.Nodes[from]; len(made.Out) == 2 { // it writes them for another norm already
			sums = made.Out[1]
		} else {
			spec := withRowMoments{made.Spec}
			shapes, err := spec.Infer(out.Inputs(made))
			if err != nil {
				continue
			}
			out.Tensors = append(out.Tensors, shapes[1])
			out.Nodes[from].Spec, out.Nodes[from].Out = spec, []kernels.Value{x, sums}
		}
		out.Nodes[i].Spec = foldedLayerNorm{Spec: n.Spec, eps: s.Eps}
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

// canFoldNorm reports whether a LayerNorm can be folded into a GEMM, and the rows and columns of the GEMM.
func canFoldNorm(plan *kernels.Plan, n kernels.Node) (rows, columns int, ok bool) {
	weights := 1
	switch s := n.Spec.(type) {
	case kernels.Linear:
		if s.Act == kernels.GEGLU { // the norm costs less by itself than in GEGLU's epilogue
			return 0, 0, false
		}
	case joinedLinear:
		if s.separate {
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
		if weights > 1 && 4*rows%alignment != 0 { // the joined layers' vectors must be contiguous, as their weights are
			return 0, 0, false
		}
		columns += rows
	}
	x := plan.Tensors[n.In[0]]
	return x.Len() / x.Shape[len(x.Shape)-1], columns, true
}

// withRowMoments is a GEMM whose epilogue also writes the sum and the sum of squares of each row of its result, a part
// for each column of tiles: a second output, [parts at most, rows, 2] in float32.
type withRowMoments struct{ kernels.Spec }

// minTMAColumns is the columns of the narrowest TMA tile.
const minTMAColumns = 80

// Infer implements kernels.Spec.
func (s withRowMoments) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	out, err := s.Spec.Infer(in)
	if err != nil {
		return nil, err
	}
	width := out[0].Shape[len(out[0].Shape)-1]
	return append(out, kernels.Tensor{DType: kernels.F32, Shape: []int{ceil(width, minTMAColumns), out[0].Len() / width, 2}}), nil
}

// foldedLayerNorm is a GEMM with the LayerNorm of its first input folded in. Three inputs follow its own: the norm's
// weight and bias, and the row moments.
type foldedLayerNorm struct {
	kernels.Spec
	eps float64
}

// Infer implements kernels.Spec.
func (s foldedLayerNorm) Infer(in []kernels.Tensor) ([]kernels.Tensor, error) {
	return s.Spec.Infer(in[:len(in)-3])
}

// FLOPs implements kernels.Spec.
func (s foldedLayerNorm) FLOPs(in []kernels.Tensor) int64 { return s.Spec.FLOPs(in[:len(in)-3]) }

// rowMoments is what a GEMM writes for the LayerNorm that follows, or reads of the one that is folded into it.
type rowMoments struct {
	at          symbol
	parts       int    // of each row
	gamma, beta symbol // of the norm
	name        string
	eps         float64
}

// withRowMoments lowers a GEMM that writes row moments.
func (l *lowering) withRowMoments(s withRowMoments) error {
	sums := l.out[1]
	l.moments = &rowMoments{at: sums.symbol}
	l.out = l.out[:1]
	if err := l.lower(s.Spec); err != nil {
		return err
	}
	l.parts[sums.index] = l.moments.parts
	return nil
}

// foldedLayerNorm lowers a GEMM with a folded LayerNorm.
func (l *lowering) foldedLayerNorm(s foldedLayerNorm) error {
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
		return fmt.Errorf("cuda: a GEMM with a folded LayerNorm comes before the one that writes its row moments")
	}
	l.foldedNorm = &rowMoments{at: l.in[n+2].symbol, parts: parts, gamma: gamma, beta: beta, eps: s.eps, name: l.in[n].Name + " " + l.in[n+1].Name}
	l.in = l.in[:n]
	return l.lower(s.Spec)
}

// fold folds a LayerNorm into a GEMM's weights: inputs first … first+count−1, whose layout on the card is pack and
// whose biases are inputs bias and on, or none if bias is kernels.Absent. It sets p's bias and weight sums.
func (l *lowering) fold(p *gemm, pack packing, first, count, bias int) error {
	if l.foldedNorm == nil {
		return nil
	}
	var vectors [2]symbol
	for k, kind := range []packKind{packWeightSums, packFoldedBias} {
		for i := range count {
			v, err := l.weights(first+i, packing{kind: kind, fold: l.foldedNorm.name, join: pack.join})
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
		f := folding{gamma: l.foldedNorm.gamma.weight, beta: l.foldedNorm.beta.weight}
		if bias != kernels.Absent {
			b, err := l.vector(bias + i)
			if err != nil {
				return err
			}
			f.bias = b.weight
		}
		for k, kind := range []packKind{packWeightSums, packFoldedBias} {
			v, err := l.weights(first+i, packing{kind: kind, fold: l.foldedNorm.name, join: pack.join})
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

// folding is what kernel fold_layer_norm reads and writes beside the weight.
type folding struct {
	gamma, beta, bias *packed // bias is nil without
	made              [2]*packed
}

// fold multiplies a packed weight by the weight of the folded norm and computes weight sums and bias.
func (d *Device) fold(w *packed) error {
	f, err := d.libraries[w.precision].function("fold_layer_norm")
	if err != nil {
		return err
	}
	p := foldParams{W: w.at, Gamma: w.folding.gamma.at, Beta: w.folding.beta.at, WeightSums: w.folding.made[0].at, FoldedBias: w.folding.made[1].at,
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
