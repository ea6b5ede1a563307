package cases

import (
	"github.com/goxl/goxl/kernels"
)

func pad(p int) kernels.Padding { return kernels.Padding{Top: p, Left: p, Bottom: p, Right: p} }

// linear multiplies x of shape rows+[k] by a weight of n rows.
func linear(name string, s kernels.Linear, dtype kernels.DType, rows []int, k, n int) Case {
	width := n
	if s.Act == kernels.GEGLU {
		width = n / 2
	}
	shape := func(last int) []int { return append(append([]int{}, rows...), last) }
	return Case{Name: "linear/" + name, Spec: s}.
		with(true, x("x", shape(k)...)).
		with(true, weight(dtype, n, k)).
		with(s.Bias, bias(dtype, n)).
		with(s.Residual, x("residual", shape(width)...))
}

// image is the size of a convolution: batch, height, width, channels of both inputs, output channels, side of the kernel.
type image struct{ b, h, w, c, c2, o, k int }

func conv(name string, s kernels.Conv2d, dtype kernels.DType, n image) Case {
	c := Case{Name: "conv/" + name, Spec: s}.
		with(true, x("x", n.b, n.h, n.w, n.c)).
		with(s.Concat, x("x2", n.b, n.h, n.w, n.c2)).
		with(true, weight(dtype, n.o, n.c+n.c2, n.k, n.k)).
		with(s.Bias, bias(dtype, n.o)).
		with(s.BroadcastBias, x("broadcast bias", n.b, n.o))
	if s.Residual {
		plain := s
		plain.Residual, plain.ActLast = false, false
		out, err := plain.Infer(c.In)
		if err != nil {
			panic("cases: " + c.Name + ": " + err.Error()) // a mistake in this table
		}
		c = c.with(true, x("residual", out[0].Shape...))
	}
	return c
}

func attention(name string, s kernels.Attention, b, queries, keys, size int) Case {
	c := s.Heads * size
	return Case{Name: "attention/" + name, Spec: s}.
		with(true, x("q", b, queries, c)).
		with(true, x("k", b, keys, c)).
		with(true, x("v", b, keys, c))
}

func groupNorm(name string, s kernels.GroupNorm, dtype kernels.DType, b, h, w, c, c2 int) Case {
	s.Concat = c2 > 0
	return Case{Name: "groupnorm/" + name, Spec: s}.
		with(true, x("x", b, h, w, c)).
		with(s.Concat, x("x2", b, h, w, c2)).
		with(true, gain(dtype, c+c2)).
		with(true, bias(dtype, c+c2))
}

func layerNorm(name string, eps float64, dtype kernels.DType, shape ...int) Case {
	c := shape[len(shape)-1]
	return Case{Name: "layernorm/" + name, Spec: kernels.LayerNorm{Eps: eps}}.
		with(true, x("x", shape...)).with(true, gain(dtype, c)).with(true, bias(dtype, c))
}

func embedding(name string, dtype kernels.DType, b, t, vocabulary, positions, c int, v ...int32) Case {
	tokens, place := weight(dtype, vocabulary, c), weight(dtype, positions, c)
	tokens.Name, place.Name = "tokens", "positions"
	return Case{Name: "embedding/" + name, Spec: kernels.Embedding{}}.
		with(true, ids("ids", []int{b, t}, v...)).with(true, tokens).with(true, place)
}

func guidance(name string, s kernels.Guidance, phi float32, shape ...int) Case {
	return Case{Name: "guidance/" + name, Spec: s}.
		with(true, x("m", shape...)).with(true, numbers("scale", 7.5)).with(s.Rescale, numbers("phi", phi))
}

// solver reads history tensors; coefficients may leave operands unread, and those then hold NaN.
func solver(name string, history int, coefficients []float32, shape ...int) Case {
	s := kernels.Solver{History: history}
	c := Case{Name: "solver/" + name, Spec: s}.
		with(true, x("x", shape...)).with(true, x("m", shape...)).with(true, x("noise", shape...)).
		with(true, numbers("coefficients", coefficients...))
	for range history {
		c = c.with(true, x("history", shape...))
	}
	return c
}

// fill replaces the content of an input.
func (c Case) fill(input int, f Fill) Case {
	fills := append([]Fill{}, c.Fill...)
	fills[input] = f
	c.Fill = fills
	return c
}
