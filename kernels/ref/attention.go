package ref

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

func attention[T float](s kernels.Attention, in []Tensor) element[T] {
	q, k, v := in[0].F, in[1].F, in[2].F
	c := in[0].Shape[len(in[0].Shape)-1]
	tokens := func(t Tensor) int { return kernels.Elements(t.Shape[1 : len(t.Shape)-1]) }
	queries, keys := tokens(in[0]), tokens(in[1])
	d := c / s.Heads
	scale := T(1 / math.Sqrt(float64(d)))
	p := make([]T, keys) // softmax of one (batch, query, head)
	last := -1
	return func(i int) T {
		b, t, head := i/c/queries, i/c%queries, i%c/d
		visible := keys
		if s.Causal {
			visible = t + 1
		}
		if i/d != last {
			last = i / d
			query := q[(b*queries+t)*c+head*d:][:d]
			largest := T(math.Inf(-1))
			for j := range visible {
				key := k[(b*keys+j)*c+head*d:][:d]
				var dot T
				for n := range query {
					dot += T(T(query[n]) * T(key[n]))
				}
				p[j] = T(dot * scale)
				largest = max(largest, p[j])
			}
			var sum T
			for j := range visible {
				p[j] = exp(p[j] - largest)
				sum += p[j]
			}
			for j := range visible {
				p[j] /= sum
			}
		}
		var y T
		for j := range visible {
			y += T(p[j] * T(v[(b*keys+j)*c+i%c]))
		}
		return y
	}
}
