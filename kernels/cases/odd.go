package cases

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// oddSizes fall below, on and above the widths of vectors and tiles.
var oddSizes = []int{1, 3, 7, 17, 65}

var WeightTypes = []kernels.DType{kernels.F32, kernels.F16, kernels.BF16}

var nan = []float32{float32(math.NaN())}

// oddCases are small, and judged whole.
func oddCases() []Case {
	var cases []Case
	for _, family := range []func() []Case{oddLinear, oddConv, oddAttention, oddNorms, oddElementwise, oddRows, oddDenoise} {
		cases = append(cases, family()...)
	}
	return cases
}

func oddLinear() []Case {
	var cases []Case
	for i, m := range oddSizes { // every pair of sizes for rows and columns, depths and types in turn
		for j, n := range oddSizes {
			k := oddSizes[(i+j)%len(oddSizes)]
			dtype := WeightTypes[(i+2*j)%len(WeightTypes)]
			cases = append(cases, linear(fmt.Sprintf("odd %dx%dx%d %v", m, n, k, dtype), kernels.Linear{Bias: (i+j)%2 == 0}, dtype, []int{m}, k, n))
		}
	}
	acts := []kernels.Activation{kernels.Identity, kernels.SiLU, kernels.GELU, kernels.QuickGELU, kernels.ReLU, kernels.SoftClamp, kernels.LeakyReLU, kernels.GEGLU}
	for i, act := range acts { // every fusion
		for flags := range 4 {
			s := kernels.Linear{Act: act, Bias: flags&1 != 0, Residual: flags&2 != 0}
			cases = append(cases, linear(fmt.Sprintf("fused %v bias=%t residual=%t", act, s.Bias, s.Residual), s,
				WeightTypes[(i+flags)%len(WeightTypes)], []int{3, 7}, 40, 66))
		}
	}
	all := kernels.Linear{Bias: true, Residual: true}
	for _, dtype := range WeightTypes {
		cases = append(cases,
			linear(fmt.Sprintf("tile edges %v", dtype), all, dtype, []int{129}, 257, 191),
			linear(fmt.Sprintf("vector by matrix %v", dtype), all, dtype, []int{1}, 515, 33),
			linear(fmt.Sprintf("deep %v", dtype), kernels.Linear{}, dtype, []int{2}, 5121, 5))
	}
	for _, m := range []int{2, 5, 8, 9, 15, 16, 31, 32, 33, 64} {
		cases = append(cases, linear(fmt.Sprintf("rows %d", m), geglu, kernels.F16, []int{m}, 72, 2*(m+1)))
	}
	huge := linear("huge", kernels.Linear{Bias: true}, kernels.F32, []int{5}, 33, 9).fill(0, Fill{Scale: 1e30}).fill(2, Fill{Scale: 1e30})
	huge.Wide = true
	tiny := linear("tiny", kernels.Linear{}, kernels.F32, []int{5}, 33, 9).fill(0, Fill{Scale: 1e-30})
	tiny.Wide = true
	return append(cases, huge, tiny,
		linear("geglu and residual, many rows", kernels.Linear{Bias: true, Act: kernels.GEGLU, Residual: true}, kernels.F16, []int{160}, 72, 256),
		linear("many tiles", all, kernels.F16, []int{390}, 136, 648),
		linear("many tiles, sums alone", kernels.Linear{}, kernels.F16, []int{390}, 72, 648),
		linear("many tiles, geglu", geglu, kernels.F16, []int{390}, 72, 2*648),
		linear("saturated gelu", kernels.Linear{Bias: true, Act: kernels.GELU}, kernels.F32, []int{5}, 33, 9).fill(0, Fill{Scale: 1000}),
		linear("saturated silu", kernels.Linear{Bias: true, Act: kernels.SiLU}, kernels.F32, []int{5}, 33, 9).fill(0, Fill{Scale: 1000}),
		linear("saturated geglu", geglu, kernels.F32, []int{5}, 33, 10).fill(0, Fill{Scale: 30}),
		linear("zero", all, kernels.F32, []int{3}, 17, 9).fill(0, Fill{}).fill(2, Fill{}).fill(3, Fill{}))
}

func oddConv() []Case {
	var cases []Case
	for i, n := range []image{
		{1, 1, 1, 1, 0, 1, 3}, {1, 1, 3, 3, 0, 7, 3}, {2, 3, 7, 4, 0, 17, 3}, {3, 7, 17, 17, 0, 3, 3}, {1, 17, 7, 65, 0, 4, 3},
		{1, 7, 65, 3, 0, 65, 3}, {2, 65, 3, 8, 0, 16, 3}, {2, 7, 7, 17, 0, 65, 1}, {3, 1, 65, 3, 0, 3, 1}, {1, 5, 5, 7, 0, 3, 5}, {2, 9, 16, 40, 0, 33, 3},
	} {
		for j, geometry := range []struct {
			name   string
			stride int
			pad    kernels.Padding
		}{{"same", 1, pad(n.k / 2)}, {"halved", 2, pad(n.k / 2)}, {"halved below", 2, kernels.Padding{Bottom: n.k / 2, Right: n.k / 2}}} {
			if n.h+n.k/2 < n.k && geometry.pad.Top == 0 {
				continue // the padded image is smaller than the kernel
			}
			dtype := WeightTypes[(i+j)%len(WeightTypes)]
			cases = append(cases, conv(fmt.Sprintf("odd %s %dx%dx%dx%d to %d kernel %d %v", geometry.name, n.b, n.h, n.w, n.c, n.o, n.k, dtype),
				kernels.Conv2d{Stride: geometry.stride, Pad: geometry.pad, Bias: i%2 == 0}, dtype, n))
		}
	}
	acts := []kernels.Activation{kernels.Identity, kernels.SiLU, kernels.GELU, kernels.QuickGELU}
	for flags := range 16 { // every fusion
		s := kernels.Conv2d{Stride: 1, Pad: pad(1), Concat: flags&1 != 0, Bias: flags&2 != 0, BroadcastBias: flags&4 != 0, Residual: flags&8 != 0}
		for _, act := range []kernels.Activation{kernels.Identity, acts[1+flags%3]} {
			s.Act = act
			n := image{2, 5, 6, 9, 0, 17, 3}
			if s.Concat {
				n.c2 = 7
			}
			cases = append(cases, conv(fmt.Sprintf("fused %v concat=%t bias=%t rows=%t residual=%t", act, s.Concat, s.Bias, s.BroadcastBias, s.Residual),
				s, WeightTypes[flags%len(WeightTypes)], n))
		}
	}
	for i, act := range []kernels.Activation{kernels.Identity, kernels.SiLU, kernels.GELU, kernels.QuickGELU, kernels.ReLU, kernels.SoftClamp, kernels.LeakyReLU} {
		for flags := range 4 { // the activation after the residual
			s := kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: flags&1 != 0, BroadcastBias: flags&2 != 0, Act: act, ActLast: true, Residual: true}
			cases = append(cases,
				conv(fmt.Sprintf("fused %v bias=%t rows=%t residual", act, s.Bias, s.BroadcastBias), kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: s.Bias, BroadcastBias: s.BroadcastBias, Act: act, Residual: true},
					WeightTypes[(i+flags+1)%len(WeightTypes)], image{2, 5, 6, 16, 0, 24, 3}),
				conv(fmt.Sprintf("fused %v after the residual bias=%t rows=%t", act, s.Bias, s.BroadcastBias), s, WeightTypes[(i+flags)%len(WeightTypes)], image{2, 5, 6, 9, 0, 17, 3}))
		}
	}
	for i, up := range []struct{ h, w, upH, upW int }{{1, 1, 2, 2}, {3, 3, 6, 6}, {3, 4, 5, 7}, {4, 5, 7, 9}, {5, 3, 9, 5}, {2, 2, 5, 3}, {5, 7, 3, 4}} {
		s := kernels.Conv2d{Stride: 1 + i%2, Pad: pad(1), Bias: true, UpH: up.upH, UpW: up.upW}
		n := image{2, up.h, up.w, 8, 0, 12, 3}
		cases = append(cases, conv(fmt.Sprintf("resized %dx%d to %dx%d stride %d", up.h, up.w, up.upH, up.upW, s.Stride), s, WeightTypes[i%3], n))
	}
	n := image{1, 6, 5, 16, 0, 9, 3}
	return append(cases,
		conv("resized joined, all fused", kernels.Conv2d{Stride: 1, Pad: pad(1), UpH: 7, UpW: 9, Concat: true, Bias: true, BroadcastBias: true, Act: kernels.SiLU, Residual: true},
			kernels.F16, image{2, 4, 5, 8, 5, 11, 3}),
		conv("resized joined, many rows", kernels.Conv2d{Stride: 1, Pad: pad(1), UpH: 16, UpW: 18, Concat: true, Bias: true}, kernels.F16, image{2, 8, 9, 16, 8, 16, 3}),
		conv("many tiles", rowConv, kernels.F16, image{2, 20, 20, 16, 0, 328, 3}),
		conv("many tiles, halved", kernels.Conv2d{Stride: 2, Pad: pad(1), Bias: true, Residual: true}, kernels.F16, image{2, 37, 40, 16, 0, 328, 3}),
		conv("many tiles, relu", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Act: kernels.ReLU}, kernels.F16, image{1, 20, 20, 64, 0, 64, 3}),
		conv("many tiles, leaky relu to few columns", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Act: kernels.LeakyReLU, Concat: true}, kernels.F16, image{1, 20, 20, 96, 32, 32, 3}),
		conv("many tiles, relu after the residual", blockConv, kernels.F16, image{2, 20, 20, 64, 0, 64, 3}),
		conv("many tiles, doubled", kernels.Conv2d{Stride: 1, Pad: pad(1), UpH: 20, UpW: 24}, kernels.F16, image{1, 10, 12, 64, 0, 64, 3}),
		conv("no padding", kernels.Conv2d{Stride: 1}, kernels.F32, n),
		conv("uneven padding", kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 2, Left: 0, Bottom: 1, Right: 3}}, kernels.F32, n),
		conv("stride 3", kernels.Conv2d{Stride: 3, Pad: pad(1), Bias: true}, kernels.BF16, n),
		conv("even kernel", kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Bottom: 1, Right: 1}}, kernels.F32, image{1, 6, 5, 16, 0, 9, 2}),
		conv("patches", kernels.Conv2d{Stride: 4}, kernels.F32, image{2, 16, 8, 3, 0, 24, 4}),
		conv("nine channels in", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true}, kernels.F16, image{2, 17, 17, 9, 0, 32, 3}),
		conv("tile edges", sumConv, kernels.F32, image{1, 13, 19, 65, 0, 97, 3}),
		conv("tile edges joined", joined(rowConv), kernels.F16, image{2, 8, 9, 63, 33, 65, 3}))
}

func oddAttention() []Case {
	var cases []Case
	for i, size := range []int{8, 12, 40, 64, 80, 512} {
		for j, t := range oddSizes {
			keys := oddSizes[(i+2*j+1)%len(oddSizes)]
			if j == 2 {
				keys = 77
			}
			s := kernels.Attention{Heads: 1 + (i+j)%3}
			cases = append(cases, attention(fmt.Sprintf("odd size %d heads %d %d by %d", size, s.Heads, t, keys), s, 1+j%3, t, keys, size))
		}
	}
	for _, t := range []int{1, 2, 7, 16, 17, 65, 77} {
		cases = append(cases, attention(fmt.Sprintf("causal %d", t), kernels.Attention{Heads: 2, Causal: true}, 2, t, t, 64))
	}
	twins := attention("equal keys", kernels.Attention{Heads: 2}, 1, 5, 33, 16).fill(1, Fill{Mean: 1})
	sharp := attention("sharp", kernels.Attention{Heads: 2}, 1, 9, 130, 64).fill(0, Fill{Scale: 100}).fill(1, Fill{Scale: 30})
	below := attention("all scores far below zero", kernels.Attention{Heads: 1}, 1, 9, 65, 64).fill(0, Fill{Mean: 100}).fill(1, Fill{Mean: -10, Scale: 1})
	rising := attention("rising scores", kernels.Attention{Heads: 1}, 1, 3, 257, 8).fill(0, Fill{Mean: 4})
	rising = rising.fill(1, Fill{Values: ramp(257, 8, 1./16)})
	// The largest score of a row rises by 6 powers of two over 128 keys.
	climbing := attention("climbing scores", kernels.Attention{Heads: 1}, 1, 70, 700, 64).fill(0, Fill{Mean: 1, Scale: 0.1})
	climbing = climbing.fill(1, Fill{Values: ramp(700, 64, 0.004)})
	huge := attention("huge values", kernels.Attention{Heads: 1}, 1, 3, 65, 40).fill(2, Fill{Scale: 1e30})
	huge.Wide = true
	pixels := attention("image queries", kernels.Attention{Heads: 2}, 2, 35, 17, 40)
	pixels.In[0].Shape = []int{2, 5, 7, 80}
	whole := attention("image", kernels.Attention{Heads: 1}, 2, 33, 33, 64)
	for i := range whole.In {
		whole.In[i].Shape = []int{2, 3, 11, 64}
	}
	return append(cases, twins, pixels, whole, sharp, below, rising, climbing, huge,
		attention("one key", kernels.Attention{Heads: 3}, 3, 7, 1, 64),
		attention("long rows", kernels.Attention{Heads: 1}, 1, 2, 1031, 64))
}

// ramp are rows of equal numbers, each row's larger by step than the one before.
func ramp(rows, columns int, step float32) []float32 {
	values := make([]float32, rows*columns)
	for i := range values {
		values[i] = float32(i/columns) * step
	}
	return values
}

func oddNorms() []Case {
	var cases []Case
	for i, n := range []struct{ b, h, w, c, c2, groups int }{
		{1, 1, 1, 2, 0, 1}, {1, 3, 7, 3, 0, 3}, {2, 7, 3, 32, 0, 32}, {3, 5, 5, 64, 0, 32}, {2, 17, 17, 96, 0, 32}, {1, 65, 3, 40, 0, 8}, {2, 4, 4, 320, 0, 32},
		{2, 3, 3, 40, 24, 32}, {1, 7, 7, 20, 12, 4}, {3, 2, 5, 8, 88, 32}, {1, 5, 3, 65, 31, 3}, {2, 2, 3, 4800, 0, 32},
		{1, 4, 4, 12, 0, 4}, {2, 17, 23, 40, 0, 1}, {1, 23, 31, 24, 16, 1}, {1, 33, 35, 32, 8, 2},
	} {
		for _, act := range []kernels.Activation{kernels.Identity, kernels.SiLU} {
			cases = append(cases, groupNorm(fmt.Sprintf("odd %dx%dx%dx%d+%d groups %d %v", n.b, n.h, n.w, n.c, n.c2, n.groups, act),
				kernels.GroupNorm{Groups: n.groups, Eps: 1e-5, Act: act}, WeightTypes[i%3], n.b, n.h, n.w, n.c, n.c2))
		}
	}
	for i, c := range []int{1, 3, 7, 17, 65, 128, 768, 1272, 2048, 2056} {
		cases = append(cases, layerNorm(fmt.Sprintf("odd %d", c), 1e-5, WeightTypes[i%3], 1+i%3, 3, c))
	}
	s := kernels.GroupNorm{Groups: 4, Eps: 1e-5}
	f := kernels.F32
	for _, c := range []Case{groupNorm("huge", s, f, 1, 5, 5, 16, 0), layerNorm("huge", 1e-5, f, 3, 65)} {
		c = c.fill(0, Fill{Scale: 1e15})
		c.Wide = true
		cases = append(cases, c)
	}
	return append(cases,
		groupNorm("large mean", s, f, 2, 9, 9, 16, 0).fill(0, Fill{Mean: 100, Scale: 1}),
		groupNorm("large negative mean", s, f, 2, 9, 9, 8, 8).fill(0, Fill{Mean: -1000, Scale: 2}).fill(1, Fill{Mean: -1000, Scale: 2}),
		groupNorm("constant", s, f, 1, 3, 3, 8, 0).fill(0, Fill{Mean: 3}),
		groupNorm("small", s, f, 1, 5, 5, 8, 0).fill(0, Fill{Scale: 1e-3}),
		layerNorm("large mean", 1e-5, f, 7, 321).fill(0, Fill{Mean: 100, Scale: 1}),
		layerNorm("constant", 1e-5, f, 2, 9).fill(0, Fill{Mean: -2}))
}
