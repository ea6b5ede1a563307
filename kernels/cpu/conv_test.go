package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestConv2d(t *testing.T) {
	same := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	cases := []struct {
		b, h, w, c, c2, o, kh, kw int
		dtype                     kernels.DType
		spec                      kernels.Conv2d
	}{
		{1, 8, 8, 4, 0, 32, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Bias: true}},
		{2, 9, 7, 3, 0, 40, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same}},
		{2, 6, 11, 33, 0, 4, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true}},
		{1, 9, 9, 64, 0, 3, 3, 3, kernels.BF16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, Act: kernels.SiLU}},
		{2, 8, 6, 48, 0, 70, 3, 3, kernels.F16, kernels.Conv2d{Stride: 2, Pad: same, Bias: true, BroadcastBias: true}},
		{1, 8, 10, 16, 0, 32, 3, 3, kernels.F32, kernels.Conv2d{Stride: 2, Pad: kernels.Padding{Bottom: 1, Right: 1}, Bias: true}},
		{2, 5, 6, 32, 0, 64, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, UpH: 10, UpW: 12, Bias: true}},
		{1, 5, 7, 20, 0, 33, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, UpH: 9, UpW: 15}},
		{2, 7, 5, 40, 0, 35, 3, 3, kernels.BF16, kernels.Conv2d{Stride: 1, Pad: same, BroadcastBias: true, Residual: true}},
		{2, 6, 7, 64, 0, 48, 1, 1, kernels.F16, kernels.Conv2d{Stride: 1, Bias: true, Residual: true}},
		{2, 6, 7, 40, 23, 48, 1, 1, kernels.F16, kernels.Conv2d{Stride: 1, Concat: true, Bias: true}},
		{2, 6, 7, 40, 64, 37, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Concat: true, Bias: true, BroadcastBias: true, Act: kernels.SiLU, Residual: true}},
		{1, 14, 14, 3, 0, 20, 7, 7, kernels.F32, kernels.Conv2d{Stride: 7}},
		{1, 21, 22, 2, 0, 5, 20, 19, kernels.F32, kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Left: 3}}},
		{1, 1, 1, 1, 0, 1, 1, 1, kernels.F32, kernels.Conv2d{Stride: 3, Pad: kernels.Padding{Top: 5, Right: 4}}},
		{1, 32, 33, 5, 0, 9, 2, 3, kernels.F16, kernels.Conv2d{Stride: 3, Pad: kernels.Padding{Top: 1, Left: 2, Right: 1}, Act: kernels.GELU}},
		// Tiles that finish their sums themselves: whole ones, with rows and columns left over.
		{2, 5, 9, 64, 0, 64, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, Act: kernels.ReLU}},
		{1, 7, 7, 64, 0, 75, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, Residual: true, Act: kernels.ReLU, ActLast: true}},
		{2, 5, 5, 32, 0, 32, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Residual: true, Act: kernels.ReLU}},
		{3, 5, 5, 32, 0, 64, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, BroadcastBias: true, Act: kernels.ReLU}},
		{1, 4, 7, 700, 0, 64, 1, 1, kernels.F32, kernels.Conv2d{Stride: 1, Residual: true}},
		// Narrow tiles.
		{1, 7, 9, 64, 0, 4, 3, 3, kernels.BF16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, Residual: true, Act: kernels.ReLU, ActLast: true}},
		{2, 6, 6, 32, 0, 8, 3, 3, kernels.F16, kernels.Conv2d{Stride: 2, Pad: same, BroadcastBias: true}},
		{2, 5, 6, 48, 32, 5, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Concat: true, Bias: true}},
		{1, 5, 4, 1312, 0, 3, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, UpH: 7, UpW: 8, Bias: true}},
		{1, 5, 4, 64, 0, 9, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same}},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *workers) {
		for i, c := range cases {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				r := newRig(t)
				s := c.spec
				r.add(kernels.F32, kernels.Temp, 1, c.b, c.h, c.w, c.c)
				if s.Concat {
					r.add(kernels.F32, kernels.Temp, 1, c.b, c.h, c.w, c.c2)
				}
				depth := (c.c + c.c2) * c.kh * c.kw
				r.add(c.dtype, kernels.Weight, math.Sqrt(3/float64(depth)), c.o, c.c+c.c2, c.kh, c.kw)
				if s.Bias {
					r.add(kernels.F32, kernels.Weight, 1, c.o)
				}
				if s.BroadcastBias {
					r.add(kernels.F32, kernels.Temp, 1, c.b, c.o)
				}
				s.Residual, s.ActLast = false, false
				out, err := s.Infer(r.tensors)
				if err != nil {
					t.Fatal(err)
				}
				if s = c.spec; s.Residual {
					r.add(kernels.F32, kernels.Temp, 1, out[0].Shape...)
				}
				want, plain := naiveConv(r, s, out[0].Shape)
				r.check(r.run(p, v, s), want, plain)
			})
		}
	})
}

// naiveConv is the definition, in float64 and in float32.
func naiveConv(r *rig, s kernels.Conv2d, shape []int) (want []float64, plain []float32) {
	in := r.in
	take := func(present bool) (v view) {
		if present {
			v, in = in[0], in[1:]
		}
		return v
	}
	wide := func(v view) []float64 {
		if v.shape == nil {
			return nil
		}
		return v.wide()
	}
	x, x2, weight := take(true), take(s.Concat), take(true)
	bias, broadcastBias, rest := wide(take(s.Bias)), wide(take(s.BroadcastBias)), wide(take(s.Residual))
	a, b, w := x.wide(), wide(x2), weight.wide()
	h, width, c, c2 := x.shape[1], x.shape[2], x.shape[3], 0
	if s.Concat {
		c2 = x2.shape[3]
	}
	upH, upW := h, width
	if s.UpH > 0 {
		upH, upW = s.UpH, s.UpW
	}
	kh, kw := weight.shape[2], weight.shape[3]
	for n := range shape[0] {
		for y := range shape[1] {
			for z := range shape[2] {
				for o := range shape[3] {
					var sum float64
					var narrow float32
					for i := range kh {
						for j := range kw {
							row, col := y*s.Stride+i-s.Pad.Top, z*s.Stride+j-s.Pad.Left
							if row < 0 || row >= upH || col < 0 || col >= upW {
								continue
							}
							pixel := (n*h+row*h/upH)*width + col*width/upW
							for l := range c + c2 {
								var v float64
								if l < c {
									v = a[pixel*c+l]
								} else {
									v = b[pixel*c2+l-c]
								}
								f := w[((o*(c+c2)+l)*kh+i)*kw+j]
								sum += v * f
								narrow += float32(v) * float32(f)
							}
						}
					}
					if bias != nil {
						sum += bias[o]
						narrow += float32(bias[o])
					}
					if broadcastBias != nil {
						sum += broadcastBias[n*shape[3]+o]
						narrow += float32(broadcastBias[n*shape[3]+o])
					}
					finish := func(sum float64) float64 {
						var residual float64
						if rest != nil {
							residual = rest[len(want)]
						}
						if s.ActLast {
							return activate(s.Act, sum+residual)
						}
						return activate(s.Act, sum) + residual
					}
					sum, narrow = finish(sum), float32(finish(float64(narrow)))
					want, plain = append(want, sum), append(plain, narrow)
				}
			}
		}
	}
	return want, plain
}

// TestConv2dNaN holds that ReLU keeps a NaN, by which a device finds what went wrong, and that it spreads no further.
func TestConv2dNaN(t *testing.T) {
	const side, pixel = 6, 8
	for _, cols := range []int{3, 4, 64} { // of narrow tiles, finished apart and by themselves, and of wide ones
		eachGemm(t, func(t *testing.T, v *variant, p *workers) {
			r := newRig(t)
			r.add(kernels.F32, kernels.Temp, 1, 1, side, side, 64)
			r.add(kernels.F32, kernels.Weight, 0.1, cols, 64, 1, 1)
			r.in[0].f32[64*pixel+5] = float32(math.NaN())
			y := r.run(p, v, kernels.Conv2d{Stride: 1, Act: kernels.ReLU})
			for i, x := range y.f32 {
				if math.IsNaN(float64(x)) != (i/cols == pixel) || x < 0 {
					t.Fatalf("%d columns: element %d of pixel %d is %g", cols, i%cols, i/cols, x)
				}
			}
		})
	}
}

// TestConv2dAgain holds that a run uses the weights that it is given, not those that a worker packed in the run before.
func TestConv2dAgain(t *testing.T) {
	for _, cols := range []int{4, 64} {
		eachGemm(t, func(t *testing.T, v *variant, p *workers) {
			r := newRig(t)
			r.add(kernels.F32, kernels.Temp, 1, 1, 9, 9, 32)
			r.add(kernels.F32, kernels.Weight, 0.1, cols, 32, 3, 3)
			spec := kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}}
			y := r.run(p, v, spec)
			for i := range r.in[1].f32 {
				r.in[1].f32[i] *= -2
			}
			k := r.kernel(spec, []kernels.Tensor{{DType: kernels.F32, Shape: y.shape}}, v)
			again := view{shape: y.shape, dtype: kernels.F32, f32: make([]float32, len(y.f32))}
			_, each := k.scratch()
			s := scratch{}
			for range p.count() {
				s.worker = append(s.worker, make([]float32, each))
			}
			for _, factor := range []float32{-2, 6} {
				if err := k.run(p, r.in, []view{again}, s); err != nil {
					t.Fatal(err)
				}
				for i, x := range again.f32 {
					if math.Abs(float64(x-factor*y.f32[i])) > 1e-5 {
						t.Fatalf("%d columns, weights times %g: element %d is %g, want %g", cols, factor, i, x, factor*y.f32[i])
					}
				}
				for i := range r.in[1].f32 {
					r.in[1].f32[i] *= -3
				}
			}
		})
	}
}
