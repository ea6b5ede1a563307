package kernels

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// tensors are F32 weights, a role that every type may have, of the given shapes.
func tensors(shapes ...[]int) []Tensor {
	in := make([]Tensor, len(shapes))
	for i, s := range shapes {
		in[i] = Tensor{Role: Weight, DType: F32, Shape: s}
	}
	return in
}

// typed changes the type of one input.
func typed(in []Tensor, i int, d DType) []Tensor {
	in[i].DType = d
	return in
}

type s = []int // a shape

// TestInferAccepts lists what each shape rule gives, and the operations it counts.
func TestInferAccepts(t *testing.T) {
	tests := []struct {
		spec  Spec
		in    []Tensor
		want  []s
		flops int64
	}{
		{Linear{}, tensors(s{2, 3, 4}, s{5, 4}), []s{{2, 3, 5}}, 2 * 6 * 4 * 5},
		{Linear{Bias: true, Act: GEGLU, Residual: true}, tensors(s{3, 4}, s{10, 4}, s{10}, s{3, 5}), []s{{3, 5}}, 2 * 3 * 4 * 10},
		{Linear{}, typed(tensors(s{3, 4}, s{5, 4}), 1, BF16), []s{{3, 5}}, 2 * 3 * 4 * 5},
		{Conv2d{Stride: 1, Pad: Padding{1, 1, 1, 1}}, tensors(s{2, 5, 6, 3}, s{7, 3, 3, 3}), []s{{2, 5, 6, 7}}, 2 * 2 * 30 * 7 * 27},
		{Conv2d{Stride: 2, Pad: Padding{Bottom: 1, Right: 1}}, tensors(s{1, 6, 7, 3}, s{4, 3, 3, 3}), []s{{1, 3, 3, 4}}, 2 * 9 * 4 * 27},
		{Conv2d{Stride: 1, UpH: 5, UpW: 9, Concat: true, Bias: true, BroadcastBias: true, Act: SiLU, Residual: true},
			tensors(s{2, 3, 4, 1}, s{2, 3, 4, 2}, s{6, 3, 1, 1}, s{6}, s{2, 6}, s{2, 5, 9, 6}), []s{{2, 5, 9, 6}}, 2 * 2 * 45 * 6 * 3},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 5, 8}), []s{{2, 3, 8}}, 4 * 2 * 3 * 8 * 5},
		{Attention{Heads: 8, Causal: true}, tensors(s{1, 3, 8}, s{1, 3, 8}, s{1, 3, 8}), []s{{1, 3, 8}}, 4 * 3 * 8 * 3},
		{Attention{Heads: 2}, tensors(s{2, 3, 5, 8}, s{2, 7, 8}, s{2, 7, 8}), []s{{2, 3, 5, 8}}, 4 * 2 * 15 * 8 * 7},
		{GroupNorm{Groups: 2, Eps: 1}, tensors(s{1, 2, 3, 4}, s{4}, s{4}), []s{{1, 2, 3, 4}}, 8 * 24},
		{GroupNorm{Groups: 3, Eps: 1, Concat: true, Act: SiLU}, tensors(s{1, 2, 3, 4}, s{1, 2, 3, 5}, s{9}, s{9}), []s{{1, 2, 3, 9}}, 8 * 54},
		{LayerNorm{Eps: 1}, tensors(s{2, 3, 4}, s{4}, s{4}), []s{{2, 3, 4}}, 8 * 24},
		{Conv2d{Stride: 1, Act: ReLU, ActLast: true, Residual: true}, tensors(s{2, 3, 4, 1}, s{6, 1, 1, 1}, s{2, 3, 4, 6}), []s{{2, 3, 4, 6}}, 2 * 2 * 12 * 6},
		{Activate{Act: QuickGELU}, tensors(s{5}), []s{{5}}, 40},
		{Activate{Act: GEGLU}, tensors(s{3, 6}), []s{{3, 3}}, 8 * 18},
		{Activate{Act: LeakyReLU}, tensors(s{5}), []s{{5}}, 40},
		{PReLU{}, tensors(s{2, 3, 4}, s{4}), []s{{2, 3, 4}}, 24},
		{Add{}, tensors(s{2, 3}, s{2, 3}), []s{{2, 3}}, 6},
		{Add{Rows: true}, tensors(s{2, 5, 5, 3}, s{2, 3}), []s{{2, 5, 5, 3}}, 150},
		{AddMasked{}, tensors(s{2, 5, 5, 3}, s{2, 5, 5, 3}, s{2, 25}), []s{{2, 5, 5, 3}}, 300},
		{AddMasked{}, tensors(s{2, 5, 4}, s{2, 5, 4}, s{2, 10}), []s{{2, 5, 4}}, 80},
		{Concat{}, tensors(s{2, 3}, s{2, 4}), []s{{2, 7}}, 0},
		{Concat{Tokens: true}, tensors(s{2, 3, 5}, s{2, 4, 5}), []s{{2, 7, 5}}, 0},
		{Resize{H: 4, W: 1}, tensors(s{1, 2, 3, 5}), []s{{1, 4, 1, 5}}, 0},
		{Embedding{}, typed(tensors(s{2, 3}, s{9, 4}, s{5, 4}), 0, I32), []s{{2, 3, 4}}, 24},
		{Gather{}, typed(tensors(s{2, 3, 4}, s{2}), 1, I32), []s{{2, 4}}, 0},
		{Sinusoid{Dim: 5, FreqShift: 1}, tensors(s{2, 6}), []s{{2, 30}}, 12 * 5 * 16},
		{ScaleRepeat{Times: 2}, tensors(s{1, 3}, s{1}), []s{{2, 3}}, 3},
		{FromPixels{}, typed(tensors(s{2, 5, 6, 4}), 0, U8), []s{{2, 5, 6, 3}}, 3 * 180},
		{Guidance{}, tensors(s{4, 3}, s{1}), []s{{2, 3}}, 24},
		{Guidance{Rescale: true}, tensors(s{2, 3}, s{1}, s{1}), []s{{1, 3}}, 12},
		{Solver{}, tensors(s{3}, s{3}, s{3}, s{7}), []s{{3}}, 2 * 3 * 7},
		{Solver{History: 2}, tensors(s{3}, s{3}, s{3}, s{21}, s{3}, s{3}), []s{{3}, {3}, {3}}, 2 * 3 * 21},
	}
	for _, test := range tests {
		out, err := test.spec.Infer(test.in)
		if err != nil {
			t.Errorf("%T%+v: %v", test.spec, test.spec, err)
			continue
		}
		var shapes []s
		for _, o := range out {
			shapes = append(shapes, o.Shape)
			if o.DType != F32 || o.Role != Temp || o.Name != "" {
				t.Errorf("%T%+v gives %v, a %v, want a nameless fp32 temp", test.spec, test.spec, o, o.Role)
			}
		}
		if !reflect.DeepEqual(shapes, test.want) {
			t.Errorf("%T%+v gives %v, want %v", test.spec, test.spec, shapes, test.want)
		}
		if got := test.spec.FLOPs(test.in); got != test.flops {
			t.Errorf("%T%+v makes %d operations, want %d", test.spec, test.spec, got, test.flops)
		}
		out[0].Shape[0] = 99 // outputs own their shapes
		for i, in := range test.in {
			if slices.Contains(in.Shape, 99) {
				t.Errorf("%T%+v: output 0 shares its shape with input %d", test.spec, test.spec, i)
			}
		}
	}
}

// TestInferRefuses lists what each shape rule refuses, by the words of the error. Nothing may panic.
func TestInferRefuses(t *testing.T) {
	x4 := s{2, 5, 6, 3}
	tests := []struct {
		spec Spec
		in   []Tensor
		want string
	}{
		{Linear{}, tensors(s{3, 4}), "inputs is 1, want 2"},
		{Linear{Bias: true, Residual: true}, tensors(s{3, 4}, s{5, 4}, s{5}), "inputs is 3, want 4"},
		{Linear{}, tensors(s{3, 4}, s{5, 4, 1, 1}), "rank of weight"},
		{Linear{}, tensors(s{4}, s{5, 4}), "rank of x"},
		{Linear{}, tensors(s{}, s{5, 4}), "rank of x"},
		{Linear{}, tensors(s{3, 4}, s{5, 3}), "weight  is [5 3], want [5 4]"},
		{Linear{Bias: true}, tensors(s{3, 4}, s{5, 4}, s{4}), "bias"},
		{Linear{Act: GEGLU}, tensors(s{3, 4}, s{5, 4}), "GEGLU halves is 5"},
		{Linear{Act: 99}, tensors(s{3, 4}, s{5, 4}), "activation is Activation(99)"},
		{Linear{Residual: true}, tensors(s{3, 4}, s{5, 4}, s{3, 4}), "residual"},
		{Linear{Act: GEGLU, Residual: true}, tensors(s{3, 4}, s{10, 4}, s{3, 10}), "residual"},
		{Linear{}, typed(tensors(s{3, 4}, s{5, 4}), 1, I32), "type of"},
		{Linear{}, []Tensor{{Role: Temp, DType: F16, Shape: s{3, 4}}, {Role: Weight, DType: F16, Shape: s{5, 4}}}, "is fp16, want fp32"},

		{Conv2d{Stride: 1}, tensors(x4), "inputs"},
		{Conv2d{Stride: 1}, tensors(s{2, 5, 6}, s{7, 3, 3, 3}), "rank of x"},
		{Conv2d{Stride: 1, Concat: true}, tensors(x4, s{2, 5, 6}, s{7, 5, 3, 3}), "rank of x2"},
		{Conv2d{Stride: 1, Concat: true}, tensors(x4, s{2, 5, 5, 2}, s{7, 5, 3, 3}), "x2 is [2 5 5 2]"},
		{Conv2d{Stride: 1}, tensors(x4, s{7, 3}), "rank of weight"},
		{Conv2d{Stride: 1}, tensors(x4, s{7, 4, 3, 3}), "weight"},
		{Conv2d{Stride: 1, Concat: true}, tensors(x4, s{2, 5, 6, 2}, s{7, 3, 3, 3}), "weight"},
		{Conv2d{Stride: 1, Bias: true}, tensors(x4, s{7, 3, 3, 3}, s{3}), "bias"},
		{Conv2d{Stride: 1, BroadcastBias: true}, tensors(x4, s{7, 3, 3, 3}, s{7, 2}), "broadcast bias"},
		{Conv2d{}, tensors(x4, s{7, 3, 3, 3}), "stride is 0"},
		{Conv2d{Stride: 1, Pad: Padding{Left: -1}}, tensors(x4, s{7, 3, 3, 3}), "padding"},
		{Conv2d{Stride: 1, Act: GEGLU}, tensors(x4, s{8, 3, 3, 3}), "activation is geglu"},
		{Conv2d{Stride: 1, Act: 99}, tensors(x4, s{8, 3, 3, 3}), "activation is Activation(99)"},
		{Conv2d{Stride: 1, Act: ReLU, ActLast: true}, tensors(x4, s{7, 3, 3, 3}), "activation after the residual is relu, want a residual"},
		{Conv2d{Stride: 1, UpH: 5}, tensors(x4, s{8, 3, 3, 3}), "resize to is [5 0]"},
		{Conv2d{Stride: 1, UpH: -5, UpW: -5}, tensors(x4, s{8, 3, 3, 3}), "resize"},
		{Conv2d{Stride: 1}, tensors(s{1, 2, 6, 3}, s{8, 3, 3, 3}), "padded image is [2 6]"},
		{Conv2d{Stride: 1, Residual: true}, tensors(x4, s{7, 3, 3, 3}, s{2, 5, 6, 7}), "residual"},
		{Conv2d{Stride: 1}, typed(tensors(x4, s{7, 3, 3, 3}), 0, I32), "type of"},

		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 5, 8}), "inputs"},
		{Attention{Heads: 2}, tensors(s{2, 8}, s{2, 5, 8}, s{2, 5, 8}), "rank of q"},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 8}, s{2, 5, 8}), "rank of k"},
		{Attention{}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 5, 8}), "heads is 0"},
		{Attention{Heads: 3}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 5, 8}), "heads is 3"},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{1, 5, 8}, s{1, 5, 8}), "k is"},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 5, 4}, s{2, 5, 4}), "k is"},
		{Attention{Heads: 2, Causal: true}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 5, 8}), "number of keys is 5, want 3"},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 4, 8}), "v is"},
		{Attention{Heads: 2}, tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 8}), "rank of v"},
		{Attention{Heads: 2, Causal: true}, tensors(s{1, 2, 3, 8}, s{1, 5, 8}, s{1, 5, 8}), "number of keys is 5, want 6"},
		{Attention{Heads: 2}, typed(tensors(s{2, 3, 8}, s{2, 5, 8}, s{2, 5, 8}), 2, I32), "type of"},

		{GroupNorm{Groups: 1, Eps: 1}, tensors(x4, s{3}), "inputs"},
		{GroupNorm{Groups: 1, Eps: 1}, tensors(s{2, 3}, s{3}, s{3}), "rank of x"},
		{GroupNorm{Groups: 1, Eps: 1, Concat: true}, tensors(x4, s{3}, s{3}, s{3}), "rank of x2"},
		{GroupNorm{Groups: 1, Eps: 1, Concat: true}, tensors(x4, s{1, 5, 6, 3}, s{6}, s{6}), "x2"},
		{GroupNorm{Groups: 2, Eps: 1}, tensors(x4, s{3}, s{3}), "groups is 2"},
		{GroupNorm{Eps: 1}, tensors(x4, s{3}, s{3}), "groups is 0"},
		{GroupNorm{Groups: 1}, tensors(x4, s{3}, s{3}), "eps is 0"},
		{GroupNorm{Groups: 1, Eps: math.NaN()}, tensors(x4, s{3}, s{3}), "eps is NaN"},
		{GroupNorm{Groups: 1, Eps: 1, Act: GELU}, tensors(x4, s{3}, s{3}), "activation is gelu"},
		{GroupNorm{Groups: 1, Eps: 1}, tensors(x4, s{4}, s{3}), "weight"},
		{GroupNorm{Groups: 1, Eps: 1}, tensors(x4, s{3}, s{4}), "bias"},
		{GroupNorm{Groups: 1, Eps: 1}, typed(tensors(x4, s{3}, s{3}), 1, I32), "type of"},

		{LayerNorm{Eps: 1}, tensors(s{2, 3}), "inputs"},
		{LayerNorm{Eps: 1}, tensors(s{3}, s{3}, s{3}), "rank of x"},
		{LayerNorm{}, tensors(s{2, 3}, s{3}, s{3}), "eps is 0"},
		{LayerNorm{Eps: 1}, tensors(s{2, 3}, s{2}, s{3}), "weight"},
		{LayerNorm{Eps: 1}, tensors(s{2, 3}, s{3}, s{2}), "bias"},
		{LayerNorm{Eps: 1}, typed(tensors(s{2, 3}, s{3}, s{3}), 0, I32), "type of"},

		{Activate{}, nil, "inputs"},
		{Activate{}, tensors(s{}), "rank of x"},
		{Activate{Act: GEGLU}, tensors(s{2, 3}), "GEGLU halves is 3"},
		{PReLU{}, tensors(s{2, 3}, s{2}), "slope"},
		{PReLU{}, tensors(s{2, 3}), "input"},
		{Activate{Act: 99}, tensors(s{2, 3}), "activation"},
		{Activate{}, typed(tensors(s{2, 3}), 0, I32), "type of"},
		{Add{}, tensors(s{2}), "inputs"},
		{Add{}, tensors(s{2, 3}, s{3}), "y is [3], want [2 3]"},
		{Add{Rows: true}, tensors(s{2, 5, 3}, s{2, 5}), "y is [2 5], want [2 3]"},
		{Add{Rows: true}, tensors(s{2}, s{2}), "rank of x"},
		{AddMasked{}, tensors(s{2, 5, 3}, s{2, 5, 3}, s{2, 3}), "mask is [2 3], want [2 5]"},
		{AddMasked{}, tensors(s{2, 5, 4}, s{2, 5, 4}, s{2, 15}), "mask is [2 15], want [2 5]"},
		{AddMasked{}, tensors(s{2, 5, 4}, s{2, 5, 4}, s{1, 10}), "mask is [1 10], want [2 10]"},
		{AddMasked{}, tensors(s{2, 3}, s{2, 3}, s{2, 1}), "rank of x"},
		{Concat{Tokens: true}, tensors(s{2, 3}, s{2, 3}), "rank of x"},
		{Concat{Tokens: true}, tensors(s{2, 3, 5}, s{2, 3, 4}), "y is [2 3 4], want [2 3 5]"},
		{Add{}, typed(tensors(s{2}, s{2}), 1, I32), "type of"},
		{Concat{}, tensors(s{2}), "inputs"},
		{Concat{}, tensors(s{}, s{}), "rank of x"},
		{Concat{}, tensors(s{2, 3}, s{3}), "rank of y"},
		{Concat{}, tensors(s{2, 3}, s{3, 3}), "y is"},
		{Concat{}, typed(tensors(s{2, 3}, s{2, 3}), 1, I32), "type of"},
		{Resize{H: 1, W: 1}, nil, "inputs"},
		{Resize{H: 1, W: 1}, tensors(s{2, 3}), "rank of x"},
		{Resize{H: 1}, tensors(x4), "size is [1 0]"},
		{Resize{H: 1, W: 1}, typed(tensors(x4), 0, I32), "type of"},

		{Embedding{}, tensors(s{2, 3}), "inputs"},
		{Embedding{}, typed(tensors(s{3}, s{9, 4}, s{5, 4}), 0, I32), "rank of ids"},
		{Embedding{}, typed(tensors(s{2, 3}, s{9}, s{5, 4}), 0, I32), "rank of tokens"},
		{Embedding{}, typed(tensors(s{2, 3}, s{9, 4}, s{5}), 0, I32), "rank of positions"},
		{Embedding{}, tensors(s{2, 3}, s{9, 4}, s{5, 4}), "ids is fp32, want int32"},
		{Embedding{}, typed(tensors(s{2, 6}, s{9, 4}, s{5, 4}), 0, I32), "positions"},
		{Embedding{}, typed(tensors(s{2, 3}, s{9, 4}, s{5, 3}), 0, I32), "positions"},
		{Embedding{}, typed(typed(tensors(s{2, 3}, s{9, 4}, s{5, 4}), 0, I32), 1, I32), "type of"},
		{Gather{}, tensors(s{2, 3, 4}), "inputs"},
		{Gather{}, typed(tensors(s{2, 3}, s{2}), 1, I32), "rank of x"},
		{Gather{}, tensors(s{2, 3, 4}, s{2}), "rows is fp32"},
		{Gather{}, typed(tensors(s{2, 3, 4}, s{3}), 1, I32), "rows is [3]"},
		{Gather{}, typed(typed(tensors(s{2, 3, 4}, s{2}), 1, I32), 0, I32), "type of"},

		{Sinusoid{Dim: 4}, nil, "inputs"},
		{Sinusoid{Dim: 4}, tensors(s{2}), "rank of t"},
		{Sinusoid{Dim: 1}, tensors(s{2, 1}), "dim is 1"},
		{Sinusoid{Dim: 2, FreqShift: 1}, tensors(s{2, 1}), "dim is 2"},
		{Sinusoid{Dim: 4}, typed(tensors(s{2, 1}), 0, I32), "type of"},
		{ToPixels{}, nil, "inputs"},
		{ToPixels{}, tensors(s{5, 6, 3}), "rank of x"},
		{ToPixels{}, tensors(s{1, 5, 6, 4}), "channels is 4"},
		{ToPixels{}, typed(tensors(s{1, 5, 6, 3}), 0, U8), "type of"},
		{FromPixels{}, nil, "inputs"},
		{FromPixels{}, typed(tensors(s{5, 6, 4}), 0, U8), "rank of x"},
		{FromPixels{}, typed(tensors(s{1, 5, 6, 3}), 0, U8), "channels is 3"},
		{FromPixels{}, tensors(s{1, 5, 6, 4}), "type of"},
		{ScaleRepeat{Times: 1}, tensors(s{2}), "inputs"},
		{ScaleRepeat{}, tensors(s{2}, s{1}), "times is 0"},
		{ScaleRepeat{Times: 1}, tensors(s{}, s{1}), "rank of x"},
		{ScaleRepeat{Times: 1}, tensors(s{2}, s{2}), "scale is [2]"},
		{ScaleRepeat{Times: 1}, typed(tensors(s{2}, s{1}), 1, I32), "type of"},
		{Guidance{}, tensors(s{2}), "inputs"},
		{Guidance{Rescale: true}, tensors(s{2}, s{1}), "inputs"},
		{Guidance{}, tensors(s{}, s{1}), "rank of m"},
		{Guidance{}, tensors(s{3}, s{1}), "batch is 3"},
		{Guidance{}, tensors(s{2}, s{2}), "scalar"},
		{Guidance{Rescale: true}, tensors(s{2}, s{1}, s{2}), "scalar"},
		{Guidance{}, typed(tensors(s{2}, s{1}), 0, I32), "type of"},
		{Solver{}, tensors(s{3}, s{3}, s{3}), "inputs"},
		{Solver{History: -1}, tensors(s{3}, s{3}, s{3}), "history is -1"},
		{Solver{}, tensors(s{3}, s{3}, s{3}, s{13}), "coefficients is [13], want [7]"},
		{Solver{}, tensors(s{3}, s{4}, s{3}, s{7}), "operand"},
		{Solver{History: 1}, tensors(s{3}, s{3}, s{3}, s{13}, s{4}), "operand"},
		{Solver{}, typed(tensors(s{3}, s{3}, s{3}, s{7}), 3, I32), "type of"},
	}
	for _, test := range tests {
		_, err := test.spec.Infer(test.in)
		var op *OpError
		if !errors.As(err, &op) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%T%+v of %v: got %v, want an OpError with %q", test.spec, test.spec, test.in, err, test.want)
			continue
		}
		if name := strings.TrimPrefix(reflect.TypeOf(test.spec).String(), "kernels."); op.Op != name {
			t.Errorf("the error of %s says it is of %s", name, op.Op)
		}
	}
}
