package kerneltest

import (
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/ref"
)

// scales gives the magnitude that each judged element was summed from. At real shapes that is the root mean square of the judged elements, which are many and
// alike; elsewhere each element has its own.
func scales(c cases.Case, in []ref.Tensor, out int, elems []int, want []float64) ([]float64, error) {
	var typical, largest float64
	for _, y := range want {
		typical += y * y
		largest = max(largest, math.Abs(y))
	}
	typical = math.Sqrt(typical / float64(len(want)))
	scale := make([]float64, len(want))
	if c.Big {
		for k := range scale {
			scale[k] = max(typical, math.Abs(want[k]))
		}
		return scale, nil
	}
	terms, err := termsOf(c, in, out, elems, want)
	if err != nil {
		return nil, err
	}
	for k := range scale {
		scale[k] = max(terms[k], math.Abs(want[k]))
		if !finite(scale[k]) { // squares beyond float32: huge values, all alike
			scale[k] = largest
		}
	}
	return scale, nil
}

// termsOf is the root of the sum of the squares of an element's terms, or a bound of it.
func termsOf(c cases.Case, in []ref.Tensor, out int, elems []int, want []float64) ([]float64, error) {
	switch s := c.Spec.(type) {
	case kernels.Linear:
		if s.Act == kernels.GEGLU {
			return gatedTerms(s, in, elems)
		}
		s.Act = kernels.Identity // no activation here is steeper than 1.13
		return rootOfSquares(s, in, out, elems)
	case kernels.Conv2d:
		s.Act = kernels.Identity
		return rootOfSquares(s, in, out, elems)
	case kernels.Add, kernels.Embedding:
		return rootOfSquares(s, in, out, elems)
	case kernels.Solver:
		squares := squared(in)
		squares[3].F[2] = 0 // the estimate is not clamped, and no smaller for it
		y, err := ref.Eval(s, squares, out, elems)
		return roots(y), err
	case kernels.Attention:
		return attentionTerms(s, in, elems, want), nil
	case kernels.GroupNorm:
		s.Act = kernels.Identity
		return normTerms(c, s, s.Operands(), in, s.Eps, elems)
	case kernels.LayerNorm:
		return normTerms(c, s, s.Operands(), in, s.Eps, elems)
	case kernels.Activate:
		if s.Act == kernels.GEGLU {
			return constant(len(elems), 0), nil // one product of one gate: relative to itself
		}
		return ref.Eval(kernels.Activate{}, in, 0, elems)
	case kernels.Sinusoid: // the last bit of the angle
		t := in[0].F
		y := make([]float64, len(elems))
		for k, i := range elems {
			half := float64(s.Dim / 2)
			y[k] = 1 + math.Abs(float64(t[i/s.Dim]))*math.Exp(-math.Log(10000)*float64(i%s.Dim%(s.Dim/2))/(half-s.FreqShift))
		}
		return y, nil
	case kernels.Guidance:
		return guidedTerms(in, elems, want)
	}
	return constant(len(elems), 0), nil // one product, or a copy: |y| itself
}

// rootOfSquares evaluates s, linear in its operands, on their squares.
func rootOfSquares(s kernels.Spec, in []ref.Tensor, out int, elems []int) ([]float64, error) {
	y, err := ref.Eval(s, squared(in), out, elems)
	return roots(y), err
}

func squared(in []ref.Tensor) []ref.Tensor {
	squares := make([]ref.Tensor, len(in))
	for k, t := range in {
		squares[k] = t
		if t.F != nil {
			squares[k].F = make([]float32, len(t.F))
			for i, v := range t.F {
				squares[k].F[i] = v * v
			}
		}
	}
	return squares
}

func roots(y []float64) []float64 {
	for i, v := range y {
		y[i] = math.Sqrt(v)
	}
	return y
}

func constant(n int, v float64) []float64 {
	y := make([]float64, n)
	for i := range y {
		y[i] = v
	}
	return y
}

func largest(v []float32) float64 {
	var m float64
	for _, f := range v {
		m = max(m, math.Abs(float64(f)))
	}
	return m
}

// attentionTerms are max|v| and Σ p·|score|·|v−y|: a score's last bits change its weight p by as much, relatively, and the output by
// how far that key's value is from it.
func attentionTerms(s kernels.Attention, in []ref.Tensor, elems []int, want []float64) []float64 {
	q, k, v := in[0], in[1], in[2]
	c := q.Shape[len(q.Shape)-1]
	d := c / s.Heads
	queries, keys := len(q.F)/c/q.Shape[0], len(k.F)/c/k.Shape[0]
	scores, weights := make([]float64, keys), make([]float64, keys)
	y := constant(len(elems), largest(v.F))
	last := -1
	for n, i := range elems {
		first, ch := i/c/queries*keys, i%c // the sample's first key
		visible := keys
		if s.Causal {
			visible = i/c%queries + 1
		}
		if i/d != last {
			last = i / d
			top, sum := math.Inf(-1), 0.0
			for j := range visible {
				scores[j] = 0
				for e := range d {
					scores[j] += float64(q.F[i/d*d+e]) * float64(k.F[(first+j)*c+ch/d*d+e])
				}
				scores[j] /= math.Sqrt(float64(d))
				top = max(top, scores[j])
			}
			for j := range visible {
				weights[j] = math.Exp(scores[j] - top)
				sum += weights[j]
			}
			for j := range visible {
				weights[j] /= sum
			}
		}
		for j := range visible {
			y[n] += weights[j] * math.Abs(scores[j]) * math.Abs(float64(v.F[(first+j)*c+ch])-want[n])
		}
	}
	return y
}

// gatedTerms follows the errors of value and gate through value·GELU(gate) and adds the residual's.
func gatedTerms(s kernels.Linear, in []ref.Tensor, elems []int) ([]float64, error) {
	at := s.Operands()
	n := in[at.Weight].Shape[0]
	halves := make([]int, 0, 2*len(elems))
	for _, i := range elems {
		value := i/(n/2)*n + i%(n/2)
		halves = append(halves, value, value+n/2)
	}
	residual := kernels.Operand(in, at.Residual).F
	if s.Residual {
		in = slices.Delete(slices.Clone(in), at.Residual, at.Residual+1)
	}
	s.Residual, s.Act = false, kernels.Identity
	sums, err := ref.Eval(s, in, 0, halves)
	if err != nil {
		return nil, err
	}
	terms, err := rootOfSquares(s, in, 0, halves)
	if err != nil {
		return nil, err
	}
	y := make([]float64, len(elems))
	for k, i := range elems {
		value, gate := max(terms[2*k], math.Abs(sums[2*k])), max(terms[2*k+1], math.Abs(sums[2*k+1]))
		y[k] = value * gate
		if residual != nil {
			y[k] += math.Abs(float64(residual[i]))
		}
	}
	return y, nil
}

// normTerms are gain·(x−µ)/σ and bias, besides µ/σ, whose last bits survive the subtraction. The case knows µ and σ.
func normTerms(c cases.Case, s kernels.Spec, at kernels.Operands, in []ref.Tensor, eps float64, elems []int) ([]float64, error) {
	gain, bias := in[at.Weight].F, in[at.Bias].F
	y, err := ref.Eval(s, in, 0, elems)
	if err != nil {
		return nil, err
	}
	fill := c.Fill[0]
	offset := 1 + math.Abs(float64(fill.Mean))/max(float64(fill.Scale), math.Sqrt(eps))
	for k, i := range elems {
		g, b := float64(gain[i%len(gain)]), float64(bias[i%len(bias)])
		y[k] = math.Abs(y[k]-b) + math.Abs(b) + math.Abs(g)*offset
	}
	return y, nil
}

// guidedTerms are those of u + scale·(c−u), times the factor that rescaling applied.
func guidedTerms(in []ref.Tensor, elems []int, want []float64) ([]float64, error) {
	guided, err := ref.Eval(kernels.Guidance{}, in[:2], 0, elems)
	if err != nil {
		return nil, err
	}
	m, scale := in[0].F, math.Abs(float64(in[1].F[0]))
	y := make([]float64, len(elems))
	for k, i := range elems {
		u, c := math.Abs(float64(m[i])), math.Abs(float64(m[len(m)/2+i]))
		y[k] = u + scale*(u+c)
		if guided[k] != 0 {
			y[k] *= math.Abs(want[k] / guided[k])
		}
	}
	return y, nil
}
