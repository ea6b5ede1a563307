package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestLinear(t *testing.T) {
	type dims struct{ m, n, k int }
	shapes := []dims{
		{1, 1, 1}, {2, 3, 5}, {1, 64, 320}, {2, 1280, 320}, {4, 33, 70}, {5, 7, 9}, {7, 130, 77}, {12, 32, 16}, {13, 33, 17},
		{24, 64, 640}, {37, 96, 1000}, {77, 50, 768}, {154, 331, 100}, {500, 10, 33}, {1003, 4, 20},
	}
	dtypes := []kernels.DType{kernels.F32, kernels.F16, kernels.BF16}
	specs := []kernels.Linear{
		{}, {Bias: true}, {Bias: true, Residual: true}, {Residual: true}, {Bias: true, Act: kernels.SiLU}, {Act: kernels.GEGLU, Bias: true},
		{Act: kernels.GELU, Residual: true, Bias: true}, {Act: kernels.QuickGELU}, {Act: kernels.GEGLU, Residual: true},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *workers) {
		for i, d := range shapes {
			for j := range 3 {
				spec, dtype := specs[(i*3+j)%len(specs)], dtypes[(i+j)%3]
				if spec.Act == kernels.GEGLU {
					d.n += d.n % 2
				}
				t.Run(fmt.Sprintf("%dx%dx%d_%v_%+v", d.m, d.n, d.k, dtype, spec), func(t *testing.T) {
					testLinear(t, p, v, spec, d.m, d.n, d.k, dtype)
				})
			}
		}
	})
}

func testLinear(t *testing.T, p *workers, v *variant, spec kernels.Linear, m, n, k int, dtype kernels.DType) {
	r := newRig(t)
	r.add(kernels.F32, kernels.Temp, 1, 1, m, k)
	r.add(dtype, kernels.Weight, math.Sqrt(3/float64(k)), n, k)
	width := n
	if spec.Act == kernels.GEGLU {
		width /= 2
	}
	if spec.Bias {
		r.add(kernels.F32, kernels.Weight, 1, n)
	}
	if spec.Residual {
		r.add(kernels.F32, kernels.Temp, 1, 1, m, width)
	}
	got := r.run(p, v, spec)
	x, w := r.in[0].wide(), r.in[1].wide()
	next := 2
	var bias, rest []float64
	if spec.Bias {
		bias, next = r.in[next].wide(), next+1
	}
	if spec.Residual {
		rest = r.in[next].wide()
	}
	want, plain := make([]float64, m*width), make([]float32, m*width)
	sum := func(i, j int) (float64, float32) {
		var wide float64
		var narrow float32
		for l := range k {
			wide += x[i*k+l] * w[j*k+l]
			narrow += float32(x[i*k+l]) * float32(w[j*k+l])
		}
		if bias != nil {
			wide += bias[j]
			narrow += float32(bias[j])
		}
		return wide, narrow
	}
	for i := range m {
		for j := range width {
			a, b := sum(i, j)
			if spec.Act == kernels.GEGLU {
				c, d := sum(i, j+width)
				a, b = a*activate(spec.Act, c), b*float32(activate(spec.Act, float64(d)))
			} else {
				a, b = activate(spec.Act, a), float32(activate(spec.Act, float64(b)))
			}
			if rest != nil {
				a += rest[i*width+j]
				b += float32(rest[i*width+j])
			}
			want[i*width+j], plain[i*width+j] = a, b
		}
	}
	r.check(got, want, plain)
}
