package cuda

import "github.com/goxl/goxl/kernels"

// speedCase is one operation between 16-bit temporaries. peer is the time of the fastest library measured on an H200 in
// ms, 0 if there is none.
type speedCase struct {
	name string
	spec kernels.Spec
	in   [][]int // activations and weights in the order of the spec
	// weights are the numbers of those inputs that come from the checkpoint.
	weights []int
	peer    float64
	// projected: linear layers compute the inputs, all of one shape, from one tensor, as they do queries, keys and
	// values.
	projected bool
}

func speedCases() []speedCase {
	pad := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	conv := func(name string, n, side, c, o int, peer float64) speedCase {
		one := speedCase{name: name, spec: kernels.Conv2d{Stride: 1, Pad: pad, Bias: true}, in: [][]int{{n, side, side, c}, {o, c, 3, 3}, {o}}, weights: []int{1, 2}, peer: peer}
		if o <= fewColumns {
			return one
		}
		one.spec = kernels.Conv2d{Stride: 1, Pad: pad, Bias: true, Residual: true}
		one.in = append(one.in, []int{n, side, side, o})
		return one
	}
	linear := func(name string, m, k, n int, peer float64) speedCase {
		return speedCase{name: name, spec: kernels.Linear{Bias: true}, in: [][]int{{1, m, k}, {n, k}, {n}}, weights: []int{1, 2}, peer: peer}
	}
	attention := func(name string, b, heads, q, k, d int, peer float64) speedCase {
		return speedCase{name: name, spec: kernels.Attention{Heads: heads}, in: [][]int{{b, q, heads * d}, {b, k, heads * d}, {b, k, heads * d}}, peer: peer}
	}
	group := func(name string, n, side, c int) speedCase {
		return speedCase{name: name, spec: kernels.GroupNorm{Groups: 32, Eps: 1e-5, Act: kernels.SiLU}, in: [][]int{{n, side, side, c}, {c}, {c}}, weights: []int{1, 2}}
	}
	geglu := func(name string, m, k, n int, peer float64) speedCase {
		return speedCase{name: name, spec: kernels.Linear{Bias: true, Act: kernels.GEGLU}, in: [][]int{{1, m, k}, {n, k}, {n}}, weights: []int{1, 2}, peer: peer}
	}
	layer := func(name string, rows, c int) speedCase {
		return speedCase{name: name, spec: kernels.LayerNorm{Eps: 1e-5}, in: [][]int{{1, rows, c}, {c}, {c}}, weights: []int{1, 2}}
	}
	projected := func(c speedCase) speedCase {
		c.name, c.projected = c.name+", projected", true
		return c
	}
	return []speedCase{
		projected(attention("attention 2x10 heads 4096", 2, 10, 4096, 4096, 64, 0.187)),
		projected(attention("attention 2x20 heads 1024", 2, 20, 1024, 1024, 64, 0.036)),
		attention("attention 2x10 heads 4096", 2, 10, 4096, 4096, 64, 0.187),
		attention("attention 2x20 heads 1024", 2, 20, 1024, 1024, 64, 0.036),
		attention("attention 2x10 heads 4096 by 77", 2, 10, 4096, 77, 64, 0.018),
		attention("attention 2x20 heads 1024 by 77", 2, 20, 1024, 77, 64, 0.013),
		{name: "attention clip 77, causal", spec: kernels.Attention{Heads: 20, Causal: true}, in: [][]int{{2, 77, 1280}, {2, 77, 1280}, {2, 77, 1280}}},
		attention("attention vae 16384 of 512", 1, 1, 16384, 16384, 512, 3.69),
		conv("conv 320 to 320 at 128, pair", 2, 128, 320, 320, 0.129),
		conv("conv 640 to 640 at 64, pair", 2, 64, 640, 640, 0.120),
		conv("conv 1280 to 1280 at 32, pair", 2, 32, 1280, 1280, 0.103),
		conv("conv 2560 to 1280 at 32, pair", 2, 32, 2560, 1280, 0.182),
		conv("conv 512 to 512 at 128", 1, 128, 512, 512, 0.127),
		conv("conv 512 to 512 at 512", 1, 512, 512, 512, 2.12),
		conv("conv 256 to 256 at 1024", 1, 1024, 256, 256, 2.54),
		conv("conv 128 to 128 at 1024", 1, 1024, 128, 128, 0.80),
		conv("conv 4 to 320 at 128, pair", 2, 128, 4, 320, 0),
		conv("conv 320 to 4 at 128, pair", 2, 128, 320, 4, 0),
		conv("conv 128 to 3 at 1024", 1, 1024, 128, 3, 0.33),
		linear("linear 8192x640 to 640", 8192, 640, 640, 0.018),
		linear("linear 8192x640 to 1920", 8192, 640, 1920, 0.040),
		linear("linear 8192x2560 to 640", 8192, 2560, 640, 0.043),
		linear("linear 2048x1280 to 1280", 2048, 1280, 1280, 0.016),
		linear("linear 2048x1280 to 3840", 2048, 1280, 3840, 0.035),
		linear("linear 2048x1280 to 10240", 2048, 1280, 10240, 0.081),
		linear("linear 2048x5120 to 1280", 2048, 5120, 1280, 0.042),
		linear("linear 2x1280 to 1280", 2, 1280, 1280, 0),
		linear("linear 8192x8192 to 8192", 8192, 8192, 8192, 1.45),
		linear("linear 512x1280 to 1280", 512, 1280, 1280, 0),
		linear("linear 512x1280 to 3840", 512, 1280, 3840, 0),
		linear("linear 512x5120 to 1280", 512, 5120, 1280, 0),
		conv("conv 1280 to 1280 at 16, pair", 2, 16, 1280, 1280, 0),
		conv("conv 640 to 640 at 32, pair", 2, 32, 640, 640, 0),
		geglu("geglu 512x1280 to 10240", 512, 1280, 10240, 0),
		geglu("geglu 2048x1280 to 10240", 2048, 1280, 10240, 0.081),
		geglu("geglu 8192x640 to 5120", 8192, 640, 5120, 0.089),
		group("group norm 320 at 128, pair", 2, 128, 320),
		group("group norm 640 at 64, pair", 2, 64, 640),
		group("group norm 1280 at 32, pair", 2, 32, 1280),
		group("group norm 2560 at 32, pair", 2, 32, 2560),
		group("group norm 960 at 128, pair", 2, 128, 960),
		group("group norm 512 at 128", 1, 128, 512),
		group("group norm 512 at 256", 1, 256, 512),
		group("group norm 128 at 1024", 1, 1024, 128),
		group("group norm 512 at 512", 1, 512, 512),
		layer("layer norm 2048x1280", 2048, 1280),
		layer("layer norm 8192x640", 8192, 640),
	}
}
