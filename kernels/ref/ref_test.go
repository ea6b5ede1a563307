package ref

import (
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func f(shape []int, v ...float32) Tensor { return Tensor{Shape: shape, F: v} }

func ints(shape []int, v ...int32) Tensor { return Tensor{Shape: shape, I: v} }

type dims = []int

// sequence returns start, start+1, … for a shape.
func sequence(start float32, shape ...int) Tensor {
	t := Tensor{Shape: shape, F: make([]float32, kernels.Elements(shape))}
	for i := range t.F {
		t.F[i] = start + float32(i)
	}
	return t
}

// TestByHand holds every operation and every fusion to values worked out on paper.
func TestByHand(t *testing.T) {
	e := math.E
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	gelu := func(x float64) float64 { return x * (1 + math.Erf(x/math.Sqrt2)) / 2 }
	same := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	tests := []struct {
		name string
		spec kernels.Spec
		in   []Tensor
		out  int
		want []float64
	}{
		{"linear", kernels.Linear{}, []Tensor{f(dims{2, 2}, 1, 2, 3, 4), f(dims{3, 2}, 1, 0, 0, 1, 1, -1)}, 0,
			[]float64{1, 2, -1, 3, 4, -1}},
		{"linear bias silu residual", kernels.Linear{Bias: true, Act: kernels.SiLU, Residual: true},
			[]Tensor{f(dims{1, 2}, 1, 2), f(dims{2, 2}, 1, 1, 2, -1), f(dims{2}, -1, 1), f(dims{1, 2}, 10, 20)}, 0,
			[]float64{10 + silu(2), 20 + silu(1)}},
		{"linear geglu residual", kernels.Linear{Bias: true, Act: kernels.GEGLU, Residual: true}, // value 3, gate −1+2
			[]Tensor{f(dims{1, 1}, 1), f(dims{2, 1}, 3, -1), f(dims{2}, 0, 2), f(dims{1, 1}, 5)}, 0, []float64{5 + 3*gelu(1)}},
		{"conv valid", kernels.Conv2d{Stride: 1}, // 1·1+2·2+4·3+5·4, one step right, one down
			[]Tensor{sequence(1, 1, 3, 3, 1), sequence(1, 1, 1, 2, 2)}, 0, []float64{37, 47, 67, 77}},
		{"conv same, stride 2", kernels.Conv2d{Stride: 2, Pad: same},
			[]Tensor{sequence(1, 1, 3, 3, 1), f(dims{1, 1, 3, 3}, 1, 1, 1, 1, 1, 1, 1, 1, 1)}, 0, []float64{12, 16, 24, 28}},
		{"conv below and right, stride 2", kernels.Conv2d{Stride: 2, Pad: kernels.Padding{Bottom: 1, Right: 1}},
			[]Tensor{sequence(1, 1, 2, 2, 1), f(dims{1, 1, 3, 3}, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, 0, []float64{1 + 4 + 12 + 20}},
		{"conv upsample", kernels.Conv2d{Stride: 1, UpH: 3, UpW: 3}, // rows and columns 0, 0, 1
			[]Tensor{sequence(1, 1, 2, 2, 1), f(dims{1, 1, 1, 1}, 10)}, 0, []float64{10, 10, 20, 10, 10, 20, 30, 30, 40}},
		{"conv concat, bias, broadcast bias, residual", kernels.Conv2d{Stride: 1, Concat: true, Bias: true, BroadcastBias: true, Act: kernels.SiLU, Residual: true},
			[]Tensor{f(dims{2, 1, 1, 1}, 1, 2), f(dims{2, 1, 1, 2}, 3, 4, 5, 6), f(dims{1, 3, 1, 1}, 1, 10, 100), f(dims{1}, -400),
				f(dims{2, 1}, -30, -650), f(dims{2, 1, 1, 1}, 7, 8)}, 0, []float64{7 + silu(1), 8 + silu(-398)}},
		{"attention", kernels.Attention{Heads: 1}, // logits 0 and 1 after the scale 1/√4
			[]Tensor{f(dims{1, 1, 4}, 2, 0, 0, 0), f(dims{1, 2, 4}, 0, 9, 9, 9, 1, 9, 9, 9), f(dims{1, 2, 4}, 0, 1, 0, 4, 1, 1, 0, 0)}, 0,
			[]float64{e / (1 + e), 1, 0, 4 / (1 + e)}},
		{"attention, two heads, causal", kernels.Attention{Heads: 2, Causal: true}, // head 1: logits 0, 1
			[]Tensor{f(dims{1, 2, 2}, 5, 5, 0, 1), f(dims{1, 2, 2}, 1, 0, 2, 1), f(dims{1, 2, 2}, 1, 2, 3, 4)}, 0,
			[]float64{1, 2, 2, (2 + 4*e) / (1 + e)}},
		{"attention of an image", kernels.Attention{Heads: 1}, // a row of two queries, a column of two keys
			[]Tensor{f(dims{1, 1, 2, 1}, 0, 1), f(dims{1, 2, 1, 1}, 0, 1), f(dims{1, 2, 1, 1}, 2, 4)}, 0, []float64{3, (2 + 4*e) / (1 + e)}},
		{"group norm", kernels.GroupNorm{Groups: 2, Eps: 3}, // group 0: 1 3, mean 2, variance 1; group 1: 10 10
			[]Tensor{f(dims{1, 2, 1, 2}, 1, 10, 3, 10), f(dims{2}, 2, 5), f(dims{2}, 1, 7)}, 0, []float64{0, 7, 2, 7}},
		{"conv with relu", kernels.Conv2d{Stride: 1, Act: kernels.ReLU, Residual: true},
			[]Tensor{f(dims{1, 1, 3, 1}, -2, 1, 3), f(dims{1, 1, 1, 1}, 2), f(dims{1, 1, 3, 1}, 1, -5, -7)}, 0, []float64{1, -3, -1}},
		{"conv with relu after the residual", kernels.Conv2d{Stride: 1, Act: kernels.ReLU, ActLast: true, Residual: true},
			[]Tensor{f(dims{1, 1, 3, 1}, -2, 1, 3), f(dims{1, 1, 1, 1}, 2), f(dims{1, 1, 3, 1}, 5, -5, -5)}, 0, []float64{1, 0, 1}},
		{"group norm concat silu", kernels.GroupNorm{Groups: 1, Eps: 3, Concat: true, Act: kernels.SiLU},
			[]Tensor{f(dims{1, 1, 1, 1}, 1), f(dims{1, 1, 1, 1}, 3), f(dims{2}, 2, 2), f(dims{2}, 1, 1)}, 0, []float64{0, silu(2)}},
		{"layer norm", kernels.LayerNorm{Eps: 3}, []Tensor{f(dims{2, 2}, 1, 3, 5, 5), f(dims{2}, 2, 2), f(dims{2}, 1, 0)}, 0, []float64{0, 1, 1, 0}},
		{"silu", kernels.Activate{Act: kernels.SiLU}, []Tensor{f(dims{3}, -1, 0, 2)}, 0, []float64{-1 / (1 + e), 0, silu(2)}},
		{"gelu", kernels.Activate{Act: kernels.GELU}, []Tensor{f(dims{2}, 1, -1)}, 0, []float64{0.8413447460685429, -0.15865525393145707}}, // Φ(1)
		{"quick gelu", kernels.Activate{Act: kernels.QuickGELU}, []Tensor{f(dims{1}, 1)}, 0, []float64{1 / (1 + math.Exp(-1.702))}},
		{"relu", kernels.Activate{Act: kernels.ReLU}, []Tensor{f(dims{3}, -1, 0, 2)}, 0, []float64{0, 0, 2}},
		{"leaky relu", kernels.Activate{Act: kernels.LeakyReLU}, []Tensor{f(dims{3}, -1, 0, 2)}, 0, []float64{float64(float32(-0.2)), 0, 2}},
		{"prelu", kernels.PReLU{}, []Tensor{f(dims{2, 2}, -1, -2, 3, 4), f(dims{2}, 0.5, -3)}, 0, []float64{-0.5, 6, 3, 4}},
		{"soft clamp", kernels.Activate{Act: kernels.SoftClamp}, []Tensor{f(dims{3}, -1.5, 0, 3)}, 0, []float64{-1.3863514717800292, 0, 2.284782467867299}},
		{"geglu", kernels.Activate{Act: kernels.GEGLU}, []Tensor{f(dims{2, 4}, 1, 2, 1, 0, 3, 4, -1, 2)}, 0, []float64{gelu(1), 0, 3 * gelu(-1), 4 * gelu(2)}},
		{"add", kernels.Add{}, []Tensor{f(dims{2}, 1, 2), f(dims{2}, 10, 20)}, 0, []float64{11, 22}},
		{"add rows", kernels.Add{Rows: true}, []Tensor{sequence(1, 2, 2, 2), f(dims{2, 2}, 10, 20, 30, 40)}, 0,
			[]float64{11, 22, 13, 24, 35, 46, 37, 48}},
		{"concat", kernels.Concat{}, []Tensor{f(dims{2, 1}, 1, 2), f(dims{2, 2}, 3, 4, 5, 6)}, 0, []float64{1, 3, 4, 2, 5, 6}},
		{"resize", kernels.Resize{H: 1, W: 5}, []Tensor{sequence(1, 1, 2, 2, 2)}, 0, []float64{1, 2, 1, 2, 1, 2, 3, 4, 3, 4}},
		{"embedding", kernels.Embedding{}, []Tensor{ints(dims{2, 2}, 2, 0, 1, 1), sequence(1, 3, 1), f(dims{3, 1}, 10, 20, 30)}, 0,
			[]float64{13, 21, 12, 22}},
		{"gather", kernels.Gather{}, []Tensor{sequence(1, 2, 2, 2), ints(dims{2}, 1, 0)}, 0, []float64{3, 4, 5, 6}},
		{"to pixels", kernels.ToPixels{}, []Tensor{f(dims{1, 1, 2, 3}, -1, 0, 1, -7, 0.25, 1.5)}, 0, []float64{0, 128, 255, 255, 0, 159, 255, 255}}, // 127.5 to even
		{"from pixels", kernels.FromPixels{}, []Tensor{{Shape: dims{1, 1, 1, 4}, B: []uint8{0, 255, 51, 7}}}, 0, []float64{-1, 1, -0.6}},
		{"scale and repeat", kernels.ScaleRepeat{Times: 2}, []Tensor{f(dims{1, 2}, 1, 2), f(dims{1}, 3)}, 0, []float64{3, 6, 3, 6}},
		{"guidance", kernels.Guidance{}, []Tensor{f(dims{2, 2}, 1, 2, 3, 5), f(dims{1}, 10)}, 0, []float64{21, 32}},
		{"guidance rescaled", kernels.Guidance{Rescale: true}, // guided 21, 33: deviation 12/√2; conditional 3, 5: 2/√2
			[]Tensor{f(dims{2, 2}, 1, 2, 3, 5), f(dims{1}, 10), f(dims{1}, 0.5)}, 0,
			[]float64{0.5*21*2/11 + 0.5*21, 0.5*32*2/11 + 0.5*32}},
		{"solver", kernels.Solver{History: 1}, // x0 = clamp(2·3 + 1·(−1)) = 4
			[]Tensor{f(dims{1}, 3), f(dims{1}, -1), f(dims{1}, 7), f(dims{13}, 2, 1, 4, 1, 10, 100, 1000, 10000, 0, 1, 0, 0, 0), f(dims{1}, 5)}, 0,
			[]float64{3 + 40 - 100 + 7000 + 50000}},
		{"solver history", kernels.Solver{History: 1},
			[]Tensor{f(dims{1}, 3), f(dims{1}, -1), f(dims{1}, 7), f(dims{13}, 2, 1, 4, 1, 10, 100, 1000, 10000, 0, 1, 0, 0, 0), f(dims{1}, 5)}, 1,
			[]float64{4}},
		{"solver unclamped, unread", kernels.Solver{}, // noise and m are NaN and not read
			[]Tensor{f(dims{1}, 3), f(dims{1}, float32(math.NaN())), f(dims{1}, float32(math.NaN())), f(dims{7}, 2, 0, 0, 1, 1, 0, 0)}, 0, []float64{9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wide, err := Eval(test.spec, test.in, test.out, nil)
			if err != nil {
				t.Fatal(err)
			}
			narrow, err := Eval32(test.spec, test.in, test.out, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(wide) != len(test.want) || len(narrow) != len(test.want) {
				t.Fatalf("got %v, want %v", wide, test.want)
			}
			for i, want := range test.want {
				if !near(wide[i], want, 1e-14) {
					t.Errorf("element %d: got %v, want %v", i, wide[i], want)
				}
				if !near(float64(narrow[i]), want, 5e-7) {
					t.Errorf("element %d in float32: got %v, want %v", i, narrow[i], want)
				}
			}
		})
	}
}

// near is false for NaN.
func near(got, want, tolerance float64) bool {
	return math.Abs(got-want) <= tolerance*max(1, math.Abs(want))
}

// TestGaussian holds the distribution function inside GELU to tabulated values, far tails included.
func TestGaussian(t *testing.T) {
	for x, phi := range map[float64]float64{0: 0.5, 1.959963984540054: 0.975, -3: 0.0013498980316300933, -6: 9.865876450376981e-10, -10: 7.61985302416047e-24} {
		if got := gelu(x); math.Abs(got-x*phi) > 1e-12*math.Abs(x*phi) {
			t.Errorf("gelu(%v) = %v, want %v", x, got, x*phi)
		}
	}
}

// TestSinusoid holds timestep embeddings to the values of diffusers' get_timestep_embedding in float32. torch's exp is
// not correctly rounded: a frequency's last bit moves the angle a by up to |a|·2⁻²³.
func TestSinusoid(t *testing.T) {
	tests := []struct {
		dim   int
		t     float32
		elems []int
		want  []float64
	}{
		{320, 981, dims{0, 1, 2, 159, 160, 161, 319}, []float64{0.679957, -0.798429, 0.578064, 0.994606, 0.733252, 0.602089, 0.103726}},
		{256, 1024, dims{0, 1, 2, 127, 128, 129, 255}, []float64{0.987354, -0.537617, 0.683457, 0.993952, -0.158533, -0.843189, 0.109818}},
	}
	for _, test := range tests {
		got, err := Eval(kernels.Sinusoid{Dim: test.dim, CosFirst: true}, []Tensor{f(dims{1, 1}, test.t)}, 0, test.elems)
		if err != nil {
			t.Fatal(err)
		}
		for k := range got {
			half := test.dim / 2
			angle := float64(test.t) * math.Pow(10000, -float64(test.elems[k]%half)/float64(half))
			if !near(got[k], test.want[k], 1e-6+angle*0x1p-23) {
				t.Errorf("dim %d, element %d: got %v, want %v", test.dim, test.elems[k], got[k], test.want[k])
			}
		}
	}
	// sines first, a shift of 1, an odd dimension: angles 1 and 1e-4, and for the second number twice that.
	got, err := Eval(kernels.Sinusoid{Dim: 5, FreqShift: 1}, []Tensor{f(dims{1, 2}, 1, 2)}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{math.Sin(1), math.Sin(1e-4), math.Cos(1), math.Cos(1e-4), 0, math.Sin(2), math.Sin(2e-4), math.Cos(2), math.Cos(2e-4), 0} {
		if !near(got[i], want, 1e-10) {
			t.Errorf("element %d: got %v, want %v", i, got[i], want)
		}
	}
}

// TestElements holds single elements, in any order, to the whole.
func TestElements(t *testing.T) {
	s := kernels.Attention{Heads: 2}
	in := []Tensor{sequence(-3, 2, 3, 4), sequence(1, 2, 3, 4), sequence(0, 2, 3, 4)}
	for i := range in[0].F {
		in[0].F[i] /= 50
	}
	all, err := Eval(s, in, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	order := dims{23, 0, 5, 22, 1, 11, 5}
	some, err := Eval(s, in, 0, order)
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range order {
		if some[k] != all[i] {
			t.Errorf("element %d alone is %v, among all %v", i, some[k], all[i])
		}
	}
}

// TestRun checks that every output comes back, rounded.
func TestRun(t *testing.T) {
	outs, err := Run(kernels.Solver{History: 1}, []Tensor{f(dims{1, 2}, 1, 2), f(dims{1, 2}, 3, 4), f(dims{1, 2}, 5, 6),
		f(dims{13}, 0, 0, 0, 0.1, 0, 0, 0, 0, 0, 0, 0, 0, 1), f(dims{1, 2}, 7, 8)})
	if err != nil {
		t.Fatal(err)
	}
	if len(outs) != 2 || outs[0].F[1] != float32(float64(float32(0.1))*2) || outs[1].F[0] != 7 || outs[1].Shape[1] != 2 {
		t.Errorf("got %v", outs)
	}
}

type unknown struct{ kernels.Add }

// TestErrors lists what is refused, and with which words.
func TestErrors(t *testing.T) {
	pair := []Tensor{f(dims{2}, 1, 2), f(dims{2}, 3, 4)}
	tests := []struct {
		spec  kernels.Spec
		in    []Tensor
		out   int
		elems []int
		want  string
	}{
		{kernels.Add{}, pair, 1, nil, "output 1"},
		{kernels.Add{}, pair, 0, dims{2}, "element 2"},
		{kernels.Add{}, pair, 0, dims{-1}, "element -1"},
		{kernels.Add{}, pair[:1], 0, nil, "number of inputs"},
		{kernels.Add{}, []Tensor{pair[0], f(dims{2}, 1)}, 0, nil, "input 1 of shape [2] holds 1 floats"},
		{kernels.Add{}, []Tensor{pair[0], {Shape: dims{2}, F: pair[0].F, I: []int32{1, 2}}}, 0, nil, "input 1"},
		{kernels.Add{}, []Tensor{pair[0], f(dims{0})}, 0, nil, "must be positive"},
		{kernels.Embedding{}, []Tensor{ints(dims{1, 2}, 0, 3), sequence(0, 3, 1), sequence(0, 2, 1)}, 0, nil, "id 1 is 3"},
		{kernels.Embedding{}, []Tensor{ints(dims{1, 1}, -1), sequence(0, 3, 1), sequence(0, 2, 1)}, 0, nil, "id 0 is -1"},
		{kernels.Gather{}, []Tensor{sequence(0, 1, 2, 1), ints(dims{1}, 2)}, 0, nil, "row 0 is 2"},
		{unknown{}, pair, 0, nil, "no formula"},
		{nil, pair, 0, nil, "no operation"},
	}
	for _, test := range tests {
		_, err := Eval(test.spec, test.in, test.out, test.elems)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%T: got %v, want an error with %q", test.spec, err, test.want)
		}
	}
}
