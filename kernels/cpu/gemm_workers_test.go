package cpu

import (
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestAnyWorkers holds that how the work is shared changes no bit of the result: every element is added up in the same
// order.
func TestAnyWorkers(t *testing.T) {
	same := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	cases := []struct {
		name   string
		spec   kernels.Spec
		shapes [][]int
	}{
		{"linear", kernels.Linear{Act: kernels.GEGLU}, [][]int{{100, 400}, {600, 400}}},
		{"skinny", kernels.Linear{Bias: true}, [][]int{{3, 400}, {611, 400}, {611}}},
		{"conv", kernels.Conv2d{Stride: 1, Pad: same}, [][]int{{1, 24, 24, 40}, {100, 40, 3, 3}}},
		{"narrow", kernels.Conv2d{Stride: 1, Pad: same, Bias: true}, [][]int{{2, 24, 23, 48}, {4, 48, 3, 3}, {4}}},
		{"attention", kernels.Attention{Heads: 1}, [][]int{{1, 1200, 24}, {1, 600, 24}, {1, 600, 24}}},
	}
	for _, v := range variants() {
		for _, c := range cases {
			t.Run(v.name+"/"+c.name, func(t *testing.T) {
				var first []float32
				for _, workers := range []int{1, 2, 7, 32} {
					r := newRig(t)
					for _, s := range c.shapes {
						r.add(kernels.F32, kernels.Temp, 1, s...)
					}
					p := newWorkers(workers)
					got := r.run(p, v, c.spec).f32
					p.close()
					if first == nil {
						first = got
					} else if !slices.Equal(got, first) {
						t.Errorf("%d workers give another result than one", workers)
					}
				}
			})
		}
	}
}
