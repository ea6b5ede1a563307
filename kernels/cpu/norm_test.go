package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func naiveGroupNorm(sources []operand, weight, bias []float32, groups int, eps float64, act kernels.Activation) []float64 {
	shape := sources[0].shape
	rows, width := shape[1]*shape[2], 0
	for _, s := range sources {
		width += s.shape[3]
	}
	at := func(b, r, c int) float64 {
		for _, s := range sources {
			n := s.shape[3]
			if c < n {
				return float64(s.x[(b*rows+r)*n+c])
			}
			c -= n
		}
		return 0
	}
	out := make([]float64, shape[0]*rows*width)
	per := width / groups
	for b := range shape[0] {
		for g := range groups {
			mean, square := 0.0, 0.0
			for r := range rows {
				for c := g * per; c < (g+1)*per; c++ {
					mean += at(b, r, c)
				}
			}
			mean /= float64(rows * per)
			for r := range rows {
				for c := g * per; c < (g+1)*per; c++ {
					square += (at(b, r, c) - mean) * (at(b, r, c) - mean)
				}
			}
			for r := range rows {
				for c := g * per; c < (g+1)*per; c++ {
					y := (at(b, r, c)-mean)/math.Sqrt(square/float64(rows*per)+eps)*float64(weight[c]) + float64(bias[c])
					if act == kernels.SiLU {
						y = siluTrue(y)
					}
					out[(b*rows+r)*width+c] = y
				}
			}
		}
	}
	return out
}

func TestGroupNorm(t *testing.T) {
	for _, c := range []struct {
		h, w, c1, c2, groups int
		act                  kernels.Activation
		offset, tolerance    float64
		dtype                kernels.DType
	}{
		{32, 32, 320, 0, 32, kernels.SiLU, 0.3, 8 * eps32, kernels.F16},
		{8, 9, 64, 32, 32, kernels.SiLU, 0, 8 * eps32, kernels.F32},
		{33, 17, 12, 8, 4, kernels.Identity, 1, 8 * eps32, kernels.BF16},
		{1, 1, 6, 0, 3, kernels.Identity, 0, 8 * eps32, kernels.F32},
		// A mean of 100 deviations costs float32 the rounding of x·scale + shift, here as in the reference.
		{64, 40, 16, 0, 4, kernels.Identity, 100, 8 * 25 * eps32, kernels.F32},
	} {
		in := []operand{random(1, c.offset, 2, c.h, c.w, c.c1)}
		if c.c2 > 0 {
			in = append(in, random(2, -c.offset, 2, c.h, c.w, c.c2))
		}
		weight, bias := random(0.2, 1, c.c1+c.c2).weight(c.dtype), random(0.3, 0, c.c1+c.c2).weight(c.dtype)
		want := naiveGroupNorm(in, weight.x, bias.x, c.groups, 1e-5, c.act)
		s := kernels.GroupNorm{Groups: c.groups, Eps: 1e-5, Concat: c.c2 > 0, Act: c.act}
		compute(t, fmt.Sprintf("GroupNorm %dx%d %d+%d", c.h, c.w, c.c1, c.c2), s, append(in, weight, bias), c.tolerance, want)
	}
}

func TestLayerNorm(t *testing.T) {
	for _, shape := range [][]int{{2, 77, 768}, {3, 5}, {1, 40, 33}, {5, 1}} {
		x := random(2, 10, shape...)
		n := shape[len(shape)-1]
		if n > 8 {
			x.x[0] = 500 // an outlier, as transformers have them
		}
		weight, bias := random(0.2, 1, n).weight(kernels.F16), random(0.3, 0, n).weight(kernels.F16)
		want := make([]float64, len(x.x))
		for r := 0; r < len(x.x); r += n {
			mean, square := 0.0, 0.0
			for _, v := range x.x[r : r+n] {
				mean += float64(v) / float64(n)
			}
			for _, v := range x.x[r : r+n] {
				square += (float64(v) - mean) * (float64(v) - mean)
			}
			for c := range n {
				want[r+c] = (float64(x.x[r+c])-mean)/math.Sqrt(square/float64(n)+1e-5)*float64(weight.x[c]) + float64(bias.x[c])
			}
		}
		// x−mean is rounded, and mean is 5 deviations.
		compute(t, fmt.Sprint("LayerNorm ", shape), kernels.LayerNorm{Eps: 1e-5}, []operand{x, weight, bias}, 16*eps32, want)
	}
}

// TestLayerNormOfLongRows has rows whose sum, added up in float32, is wrong by more than a deviation's thousandth in
// the mean: what is left of it after the first pass corrects it, and what remains is the rounding of the mean, which is
// 1000 deviations, to float32.
func TestLayerNormOfLongRows(t *testing.T) {
	const n, mean = 1 << 16, 1000
	x := random(1, mean, 2, n)
	weight, bias := operand{shape: []int{n}, x: filled(n, 1)}.weight(kernels.F32), operand{shape: []int{n}, x: filled(n, 0)}.weight(kernels.F32)
	want := make([]float64, len(x.x))
	largest := 0.0
	for r := 0; r < len(x.x); r += n {
		sum, square := 0.0, 0.0
		for _, v := range x.x[r : r+n] {
			sum += float64(v)
		}
		for _, v := range x.x[r : r+n] {
			square += (float64(v) - sum/n) * (float64(v) - sum/n)
		}
		for c := range n {
			want[r+c] = (float64(x.x[r+c]) - sum/n) / math.Sqrt(square/n+1e-5)
			largest = max(largest, math.Abs(want[r+c]))
		}
	}
	compute(t, "LayerNorm of long rows", kernels.LayerNorm{Eps: 1e-5}, []operand{x, weight, bias}, (mean+16*largest)*eps32/largest, want)
}
