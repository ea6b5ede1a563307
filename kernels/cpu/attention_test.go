package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestAttention(t *testing.T) {
	cases := []struct {
		b, t, s, heads, d int
		causal            bool
	}{
		{1, 1, 1, 1, 1, false}, {2, 5, 7, 3, 8, false}, {1, 77, 77, 2, 64, true}, {2, 40, 77, 2, 64, false}, {1, 30, 300, 1, 512, false},
		{1, 300, 300, 1, 12, true}, {1, 33, 530, 2, 17, false}, {2, 400, 260, 1, 40, false}, {1, 600, 600, 1, 20, true}, {1, 9, 13, 5, 33, false},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *workers) {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				r := newRig(t)
				r.add(kernels.F32, kernels.Temp, 3, c.b, c.t, c.heads*c.d)
				r.add(kernels.F32, kernels.Temp, 3, c.b, c.s, c.heads*c.d)
				r.add(kernels.F32, kernels.Temp, 1, c.b, c.s, c.heads*c.d)
				want, plain := naiveAttention(r, c.heads, c.causal)
				r.check(r.run(p, v, kernels.Attention{Heads: c.heads, Causal: c.causal}), want, plain)
			})
		}
		t.Run("image", func(t *testing.T) {
			r := newRig(t)
			for _, shape := range [][]int{{2, 5, 7, 24}, {2, 1, 9, 24}, {2, 1, 9, 24}} {
				r.add(kernels.F32, kernels.Temp, 3, shape...)
			}
			want, plain := naiveAttention(r, 2, false)
			r.check(r.run(p, v, kernels.Attention{Heads: 2}), want, plain)
		})
	})
}

// naiveAttention is the definition, in float64 and in float32.
func naiveAttention(r *rig, heads int, causal bool) (want []float64, plain []float32) {
	q, k, v := r.in[0].wide(), r.in[1].wide(), r.in[2].wide()
	b, t, s := r.in[0].shape[0], kernels.Tokens(r.tensors[0]), kernels.Tokens(r.tensors[1])
	width := len(q) / b / t
	d := width / heads
	want, plain = make([]float64, len(q)), make([]float32, len(q))
	for n := range b {
		for h := range heads {
			for i := range t {
				seen := s
				if causal {
					seen = i + 1
				}
				scores, narrow := make([]float64, seen), make([]float32, seen)
				most := math.Inf(-1)
				for j := range seen {
					for l := range d {
						x, y := q[(n*t+i)*width+h*d+l], k[(n*s+j)*width+h*d+l]
						scores[j] += x * y
						narrow[j] += float32(x) * float32(y)
					}
					scores[j] /= math.Sqrt(float64(d))
					narrow[j] *= float32(1 / math.Sqrt(float64(d)))
					most = max(most, scores[j])
				}
				var sum float64
				var sumNarrow float32
				for j := range seen {
					scores[j] = math.Exp(scores[j] - most)
					narrow[j] = float32(math.Exp(float64(narrow[j] - float32(most))))
					sum += scores[j]
					sumNarrow += narrow[j]
				}
				for l := range d {
					var x float64
					var y float32
					for j := range seen {
						f := v[(n*s+j)*width+h*d+l]
						x += scores[j] * f
						y += narrow[j] * float32(f)
					}
					at := (n*t+i)*width + h*d + l
					want[at], plain[at] = x/sum, y/sumNarrow
				}
			}
		}
	}
	return want, plain
}
