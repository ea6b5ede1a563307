package cases

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// realCases are operations of the published models at the sizes that matter for time: each distinct family of shapes once, in the
// batch of two that guidance makes where its arithmetic stays below about 10¹¹ operations, else one sample.
func realCases() []Case {
	cases := append(unetCases(), vaeCases()...)
	cases = append(cases, clipCases()...)
	for i := range cases {
		cases[i] = big(cases[i])
	}
	return cases
}

// rowConv is the first convolution of a residual block, sumConv the second; blockConv is the last of one of TAESD's.
var (
	blockConv = kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Act: kernels.ReLU, ActLast: true, Residual: true}

	rowConv = kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, BroadcastBias: true}
	sumConv = kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Residual: true}
	onlySum = kernels.Linear{Bias: true, Residual: true}
	geglu   = kernels.Linear{Bias: true, Act: kernels.GEGLU}
)

func joined(s kernels.Conv2d) kernels.Conv2d { s.Concat = true; return s }

func unetCases() []Case {
	half, bf := kernels.F16, kernels.BF16
	plain := kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true}
	down := kernels.Conv2d{Stride: 2, Pad: pad(1), Bias: true}
	norm := kernels.GroupNorm{Groups: 32, Eps: 1e-5, Act: kernels.SiLU}
	cases := []Case{
		conv("base 1024 in", plain, half, image{2, 128, 128, 4, 0, 320, 3}),
		conv("base 1024 level 0", rowConv, half, image{2, 128, 128, 320, 0, 320, 3}),
		conv("base 1024 level 0 joined", joined(rowConv), half, image{1, 128, 128, 640, 320, 320, 3}),
		conv("base 1024 level 0 shortcut", kernels.Conv2d{Stride: 1, Bias: true, Concat: true}, half, image{2, 128, 128, 640, 320, 320, 1}),
		conv("base 1024 down 0", down, half, image{2, 128, 128, 320, 0, 320, 3}),
		conv("base 1024 level 1", sumConv, kernels.F32, image{2, 64, 64, 640, 0, 640, 3}),
		conv("base 1024 level 1 joined", joined(rowConv), half, image{1, 64, 64, 1280, 640, 640, 3}),
		conv("base 1024 level 2", sumConv, half, image{2, 32, 32, 1280, 0, 1280, 3}),
		conv("base 1024 level 2 joined", joined(rowConv), half, image{1, 32, 32, 1280, 1280, 1280, 3}),
		conv("base 1024 up 0", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, UpH: 64, UpW: 64}, half, image{1, 32, 32, 1280, 0, 1280, 3}),
		conv("base 1024 out", plain, half, image{2, 128, 128, 320, 0, 4, 3}),
		conv("base 512 level 0", rowConv, kernels.F32, image{2, 64, 64, 320, 0, 320, 3}),
		conv("base 512 level 1", sumConv, half, image{2, 32, 32, 640, 0, 640, 3}),
		conv("base 512 level 2", rowConv, bf, image{2, 16, 16, 1280, 0, 1280, 3}),
		conv("refiner 1024 level 0", rowConv, half, image{1, 128, 128, 384, 0, 384, 3}),
		conv("refiner 1024 level 1", sumConv, half, image{1, 64, 64, 768, 0, 768, 3}),
		conv("refiner 1024 level 3 joined", joined(rowConv), half, image{1, 16, 16, 1536, 1536, 1536, 3}),

		linear("base 1024 level 1 query", kernels.Linear{}, half, []int{2, 4096}, 640, 640),
		linear("base 1024 level 1 geglu", geglu, half, []int{2, 4096}, 640, 5120),
		linear("base 1024 level 1 down", onlySum, half, []int{2, 4096}, 2560, 640),
		linear("base 1024 level 2 query", kernels.Linear{}, kernels.F32, []int{2, 1024}, 1280, 1280),
		linear("base 1024 level 2 geglu", geglu, half, []int{2, 1024}, 1280, 10240),
		linear("base 1024 level 2 down", onlySum, kernels.F32, []int{2, 1024}, 5120, 1280),
		linear("base context key", kernels.Linear{}, half, []int{2, 77}, 2048, 1280),
		linear("base time", kernels.Linear{Bias: true, Act: kernels.SiLU}, half, []int{2}, 320, 1280),
		linear("base added", kernels.Linear{Bias: true, Act: kernels.SiLU}, half, []int{2}, 2816, 1280),
		linear("base 512 level 2 geglu", geglu, bf, []int{2, 256}, 1280, 10240),
		linear("base 512 level 2 out", onlySum, half, []int{2, 256}, 1280, 1280),
		linear("refiner 1024 level 1 geglu", geglu, half, []int{1, 4096}, 768, 6144),
		linear("refiner 1024 level 2 down", onlySum, bf, []int{2, 1024}, 6144, 1536),

		attention("base 1024 level 1", kernels.Attention{Heads: 10}, 2, 4096, 4096, 64),
		attention("base 1024 level 2", kernels.Attention{Heads: 20}, 2, 1024, 1024, 64),
		attention("base 1024 level 1 context", kernels.Attention{Heads: 10}, 2, 4096, 77, 64),
		attention("base 1024 level 2 context", kernels.Attention{Heads: 20}, 2, 1024, 77, 64),
		attention("base 512 level 2", kernels.Attention{Heads: 20}, 2, 256, 256, 64),
		attention("IP-Adapter plus 1024 level 1", kernels.Attention{Heads: 10}, 2, 4096, 16, 64),
		attention("IP-Adapter 1024 level 2", kernels.Attention{Heads: 20}, 2, 1024, 4, 64),
		attention("ViT-H/14", kernels.Attention{Heads: 16}, 1, 257, 257, 80),
		attention("ViT-bigG/14", kernels.Attention{Heads: 16}, 1, 257, 257, 104),
		attention("refiner 1024 level 1", kernels.Attention{Heads: 12}, 1, 4096, 4096, 64),
		attention("refiner 1024 level 2", kernels.Attention{Heads: 24}, 2, 1024, 1024, 64),

		groupNorm("base 1024 level 0", norm, half, 2, 128, 128, 320, 0),
		groupNorm("base 1024 level 0 joined", norm, half, 2, 128, 128, 640, 320),
		groupNorm("base 1024 level 1", kernels.GroupNorm{Groups: 32, Eps: 1e-6}, half, 2, 64, 64, 640, 0),
		groupNorm("base 1024 level 2 joined", norm, half, 2, 32, 32, 1280, 1280),
		groupNorm("base 512 level 2", norm, half, 2, 16, 16, 1280, 0),
		groupNorm("refiner 1024 level 3", norm, bf, 2, 16, 16, 1536, 1536),
		layerNorm("base 1024 level 1", 1e-5, half, 2, 4096, 640),
		layerNorm("base 1024 level 2", 1e-5, half, 2, 1024, 1280),

		guidance("1024", kernels.Guidance{}, 0, 2, 128, 128, 4),
		guidance("1024 rescaled", kernels.Guidance{Rescale: true}, 0.7, 2, 128, 128, 4),
		solver("1024", 1, coefficients(1, nil, 0), 1, 128, 128, 4),
		Case{Name: "scale/1024", Spec: kernels.ScaleRepeat{Times: 2}}.
			with(true, x("x", 1, 128, 128, 4)).with(true, numbers("scale", 0.0682)),
		Case{Name: "pixels/1024", Spec: kernels.ToPixels{}}.with(true, x("x", 1, 1024, 1024, 3)),
		Case{Name: "pixels/from 1024", Spec: kernels.FromPixels{}}.with(true, pixels("v", 1, 1024, 1024, 4)),
		Case{Name: "add/1024 level 1", Spec: kernels.Add{}}.with(true, x("x", 2, 4096, 640)).with(true, x("y", 2, 4096, 640)),
		Case{Name: "add/1024 level 0 rows", Spec: kernels.Add{Rows: true}}.with(true, x("x", 2, 128, 128, 320)).with(true, x("y", 2, 320)),
		Case{Name: "add masked/1024 level 1", Spec: kernels.AddMasked{}}.with(true, x("x", 2, 4096, 640)).with(true, x("y", 2, 4096, 640)).with(true, x("mask", 2, 4096)),
		Case{Name: "add masked/FreeU, 1024 up 1", Spec: kernels.AddMasked{}}.with(true, x("x", 2, 64, 64, 1280)).with(true, x("y", 2, 64, 64, 1280)).with(true, x("mask", 2, 2*4096)),
		Case{Name: "concat/IP-Adapter plus", Spec: kernels.Concat{Tokens: true}}.with(true, x("x", 1, 257, 1280)).with(true, x("y", 1, 16, 1280)),
		Case{Name: "concat/1024 level 0", Spec: kernels.Concat{}}.with(true, x("x", 2, 128, 128, 640)).with(true, x("y", 2, 128, 128, 320)),
		Case{Name: "resize/1024 up 1", Spec: kernels.Resize{H: 128, W: 128}}.with(true, x("x", 2, 64, 64, 640)),
	}
	for _, a := range []kernels.Activation{kernels.SiLU, kernels.GELU, kernels.GEGLU} {
		cases = append(cases, Case{Name: fmt.Sprintf("activate/1024 level 1 %v", a), Spec: kernels.Activate{Act: a}}.
			with(true, x("x", 2, 4096, 1280)))
	}
	return cases
}

func vaeCases() []Case {
	f := kernels.F32
	plain := kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true}
	below := kernels.Conv2d{Stride: 2, Pad: kernels.Padding{Bottom: 1, Right: 1}, Bias: true}
	norm := kernels.GroupNorm{Groups: 32, Eps: 1e-6, Act: kernels.SiLU}
	whole := attention("vae 1024", kernels.Attention{Heads: 1}, 1, 16384, 16384, 512)
	for i := range whole.In {
		whole.In[i].Shape = []int{1, 128, 128, 512}
	}
	whole.Slow = true
	return []Case{
		conv("taesd 1024 in", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Act: kernels.ReLU}, f, image{1, 128, 128, 4, 0, 64, 3}),
		conv("taesd 1024 block", blockConv, f, image{1, 1024, 1024, 64, 0, 64, 3}),
		conv("taesd 1024 up", kernels.Conv2d{Stride: 1, Pad: pad(1), UpH: 1024, UpW: 1024}, f, image{1, 512, 512, 64, 0, 64, 3}),
		conv("esrgan 512 growth", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Act: kernels.LeakyReLU, Concat: true}, f, image{1, 512, 512, 160, 32, 32, 3}),
		conv("esrgan 512 residual", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, Concat: true, Residual: true}, f, image{1, 512, 512, 160, 32, 64, 3}),
		Case{Name: "prelu/esrgan 512", Spec: kernels.PReLU{}}.with(true, x("x", 1, 512, 512, 64)).with(true, bias(f, 64)),
		Case{Name: "activate/taesd 1024 clamp", Spec: kernels.Activate{Act: kernels.SoftClamp}}.with(true, x("x", 1, 128, 128, 4)),
		conv("vae 1024 in", plain, f, image{1, 128, 128, 4, 0, 512, 3}),
		conv("vae 1024 latents", kernels.Conv2d{Stride: 1, Bias: true}, f, image{1, 128, 128, 4, 0, 4, 1}),
		conv("vae 1024 level 0", sumConv, f, image{1, 128, 128, 512, 0, 512, 3}),
		conv("vae 1024 level 3", plain, f, image{1, 1024, 1024, 128, 0, 128, 3}),
		conv("vae 512 out", plain, f, image{1, 512, 512, 128, 0, 3, 3}),
		conv("vae 512 level 2", sumConv, f, image{1, 256, 256, 256, 0, 256, 3}),
		conv("vae 512 level 3", sumConv, f, image{1, 512, 512, 128, 0, 128, 3}),
		conv("vae 512 shortcut", kernels.Conv2d{Stride: 1, Bias: true}, kernels.F16, image{1, 512, 512, 256, 0, 128, 1}),
		conv("vae 512 up 0", kernels.Conv2d{Stride: 1, Pad: pad(1), Bias: true, UpH: 128, UpW: 128}, f, image{1, 64, 64, 512, 0, 512, 3}),
		conv("vae 512 encoder in", plain, f, image{1, 512, 512, 3, 0, 128, 3}),
		conv("vae 512 encoder down", below, f, image{1, 512, 512, 128, 0, 128, 3}),
		linear("vae 1024 value", kernels.Linear{Bias: true}, f, []int{1, 16384}, 512, 512),
		attention("vae 512", kernels.Attention{Heads: 1}, 1, 4096, 4096, 512),
		whole,
		attention("vae 1024, a sixteenth of the queries", kernels.Attention{Heads: 1}, 1, 1024, 16384, 512),
		groupNorm("vae 1024 level 0", kernels.GroupNorm{Groups: 32, Eps: 1e-6}, f, 1, 128, 128, 512, 0),
		groupNorm("vae 1024 level 3", norm, f, 1, 1024, 1024, 128, 0),
		groupNorm("vae 512 level 2", norm, f, 1, 256, 256, 256, 0),
	}
}

func clipCases() []Case {
	half := kernels.F16
	tokens := make([]int32, 77)
	for i := range tokens {
		tokens[i] = int32(i * 7919 % 49408)
	}
	tokens[0], tokens[76] = 49406, 49407
	return []Case{
		embedding("clip L", half, 2, 77, 49408, 77, 768, tokens...),
		linear("clip L query", kernels.Linear{Bias: true}, half, []int{2, 77}, 768, 768),
		linear("clip L up", kernels.Linear{Bias: true, Act: kernels.QuickGELU}, half, []int{2, 77}, 768, 3072),
		linear("clip L down", onlySum, half, []int{2, 77}, 3072, 768),
		attention("clip L", kernels.Attention{Heads: 12, Causal: true}, 2, 77, 77, 64),
		layerNorm("clip L", 1e-5, half, 2, 77, 768),
		linear("clip G up", kernels.Linear{Bias: true, Act: kernels.GELU}, half, []int{2, 77}, 1280, 5120),
		linear("clip G down", onlySum, kernels.F32, []int{2, 77}, 5120, 1280),
		linear("clip G projection", kernels.Linear{}, half, []int{2}, 1280, 1280),
		attention("clip G", kernels.Attention{Heads: 20, Causal: true}, 2, 77, 77, 64),
		layerNorm("clip G", 1e-5, half, 2, 77, 1280),
		Case{Name: "gather/clip G", Spec: kernels.Gather{}}.with(true, x("x", 2, 77, 1280)).with(true, ids("rows", []int{2}, 76, 5)),
	}
}
