package lora

import (
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// matrixProduct is f·a·b in float64, with so many inner columns.
func matrixProduct(f float64, a, b []float32, inner int) []float64 {
	rows, cols := len(a)/inner, len(b)/inner
	out := make([]float64, rows*cols)
	for i := range out {
		for k := range inner {
			out[i] += f * float64(a[i/cols*inner+k]) * float64(b[k*cols+i%cols])
		}
	}
	return out
}

// TestDefinitions holds what no library at hand writes against its definition.
func TestDefinitions(t *testing.T) {
	const p = "unet.m"
	w := ramp(6, 4, 1, 1)
	w.x[3] = 2
	lowRank := tensors{p + ".lora_up.weight": ramp(6, 2), p + ".lora_down.weight": ramp(2, 4)}
	up, down := ramp(6, 2).x, ramp(2, 4).x
	sum := func(f float64) func() []float64 {
		return func() []float64 {
			out := matrixProduct(f, up, down, 2)
			for i := range out {
				out[i] += float64(w.x[i])
			}
			return out
		}
	}
	// normed is m·V/‖V‖ by output or by input.
	normed := func(m []float32, byInput bool) func() []float64 {
		return func() []float64 {
			v := sum(1)()
			norms := make([]float64, len(m))
			at := func(i int) int {
				if byInput {
					return i % 4
				}
				return i / 4
			}
			for i, x := range v {
				norms[at(i)] += x * x
			}
			for i := range v {
				v[i] *= float64(m[at(i)]) / math.Sqrt(norms[at(i)])
			}
			return v
		}
	}
	plus := func(x []float32, f float64) func() []float64 {
		return func() []float64 {
			out := make([]float64, len(w.x))
			for i := range out {
				out[i] = float64(w.x[i]) + f*float64(x[i])
			}
			return out
		}
	}
	for name, c := range map[string]struct {
		file    tensors
		shape   []int
		want    func() []float64
		warning string
	}{
		"no alpha, a linear layer":          {lowRank, []int{6, 4}, sum(1), ""},
		"no alpha, a convolution of 1x1":    {lowRank, []int{6, 4, 1, 1}, sum(1), ""},
		"factors of 1x1 on a linear layer":  {tensors{p + ".lora_up.weight": ramp4(6, 2), p + ".lora_down.weight": ramp4(2, 4)}, []int{6, 4}, sum(1), ""},
		"alpha":                             {with(lowRank, tensors{p + ".alpha": one(3)}), []int{6, 4}, sum(1.5), ""},
		"alpha as a list of one":            {with(lowRank, tensors{p + ".alpha": {[]int{1}, []float32{3}}}), []int{6, 4}, sum(1.5), ""},
		"alpha below 0":                     {with(lowRank, tensors{p + ".alpha": one(-3)}), []int{6, 4}, sum(-1.5), ""},
		"alpha 0 counts as the rank":        {with(lowRank, tensors{p + ".alpha": one(0)}), []int{6, 4}, sum(1), "counts as the rank 2"},
		"a scale, which replaces alpha":     {with(lowRank, tensors{p + ".alpha": one(3), p + ".scale": one(0.25)}), []int{6, 4}, sum(0.25), ""},
		"a new weight":                      {tensors{p + ".set_weight": ramp(6, 4)}, []int{6, 4}, plus(minus(ramp(6, 4).x, w.x), 1), ""},
		"a dense remainder, scaled too":     {tensors{p + ".lora_up.weight": {[]int{6, 2}, make([]float32, 12)}, p + ".lora_down.weight": ramp(2, 4), p + ".alpha": one(4), p + ".bias": ramp(6, 4)}, []int{6, 4}, plus(ramp(6, 4).x, 2), ""},
		"a whole difference":                {tensors{p + ".diff": ramp(6, 4)}, []int{6, 4}, plus(ramp(6, 4).x, 1), ""},
		"DoRA of the outputs":               {with(lowRank, tensors{p + ".dora_scale": ramp(6, 1)}), []int{6, 4}, normed(ramp(6, 1).x, false), ""},
		"DoRA of the inputs":                {with(lowRank, tensors{p + ".dora_scale": ramp(1, 4)}), []int{6, 4}, normed(ramp(1, 4).x, true), ""},
		"DoRA of the inputs, a convolution": {with(lowRank, tensors{p + ".dora_scale": {[]int{1, 4, 1, 1}, ramp(1, 4).x}}), []int{6, 4, 1, 1}, normed(ramp(1, 4).x, true), ""},
		"DoRA of one axis, the outputs":     {with(lowRank, tensors{p + ".dora_scale": ramp(6)}), []int{6, 4}, normed(ramp(6).x, false), ""},
		"DoRA of one axis, the inputs":      {with(lowRank, tensors{p + ".dora_scale": ramp(4)}), []int{6, 4}, normed(ramp(4).x, true), ""},
		"DoRA of PEFT, a convolution":       {with(lowRank, tensors{p + ".lora_magnitude_vector": {[]int{1, 6, 1, 1}, ramp(6).x}}), []int{6, 4, 1, 1}, normed(ramp(6).x, false), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, report, err := open(t, c.file, nil).Match(Targets{unet: {"m.weight": c.shape}})
			if err != nil || len(report.Unmatched) > 0 {
				t.Fatal(report, err)
			}
			if got := strings.Join(report.Warnings, "\n"); !strings.Contains(got, c.warning) || (got == "") != (c.warning == "") {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
			want := c.want()
			for _, s := range []float64{1, 0.3, -2} {
				got, scaled := append([]float32{}, w.x...), make([]float32, len(want))
				for i, x := range want {
					scaled[i] = float32(float64(w.x[i]) + s*(x-float64(w.x[i])))
				}
				for _, change := range a.Changes(unet, "m.weight") {
					if err := change.Apply(got, c.shape, float32(s)); err != nil {
						t.Fatal(err)
					}
				}
				golden.Near(t, name, got, scaled, 1e-6)
			}
		})
	}
}

// ramp4 is a ramp of the shape of a convolution's factor.
func ramp4(rows, cols int) value { return value{[]int{rows, cols, 1, 1}, ramp(rows, cols).x} }

func minus(a, b []float32) []float32 {
	out := make([]float32, len(a))
	for i := range out {
		out[i] = a[i] - b[i]
	}
	return out
}

// TestSquareDoRA wants the shape of the magnitude, not the sides of the weight, to say what is normed.
func TestSquareDoRA(t *testing.T) {
	lowRank := tensors{"unet.m.lora_up.weight": ramp(4, 2), "unet.m.lora_down.weight": ramp(2, 4)}
	var results [][]float32
	for _, shape := range [][]int{{4, 1}, {1, 4}} {
		file := with(lowRank, tensors{"unet.m.dora_scale": {shape, ramp(4).x}})
		a, _, err := open(t, file, nil).Match(Targets{unet: {"m.weight": {4, 4}}})
		if err != nil {
			t.Fatal(err)
		}
		w := ramp(4, 4).x
		if err := a.Changes(unet, "m.weight")[0].Apply(w, []int{4, 4}, 1); err != nil {
			t.Fatal(err)
		}
		// The norms of what was normed are the magnitudes.
		for i, m := range ramp(4).x {
			sum := 0.0
			for j := range 4 {
				x := float64(w[i*4+j])
				if shape[0] == 1 {
					x = float64(w[j*4+i])
				}
				sum += x * x
			}
			if d := math.Sqrt(sum) - math.Abs(float64(m)); math.Abs(d) > 1e-6 {
				t.Errorf("shape %v: norm %d is %v, want %v", shape, i, math.Sqrt(sum), m)
			}
		}
		results = append(results, w)
	}
	if d, err := golden.Distance(results[0], results[1]); err != nil || d < 1e-2 {
		t.Errorf("both are the same: %v, %v", d, err)
	}
}

// TestRankCut takes the first ranks of a DyLoRA; alpha stays divided by the whole rank.
func TestRankCut(t *testing.T) {
	file := tensors{"unet.m.lora_up.weight": ramp(6, 4), "unet.m.lora_down.weight": ramp(4, 5), "unet.m.alpha": one(2)}
	a, _, err := open(t, file, nil).Match(Targets{unet: {"m.weight": {6, 5}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, rank := range []int{1, 3, 4, 9} {
		s := Strength(1)
		s.Rank = rank
		n := min(rank, 4)
		var up []float32
		for r := range 6 {
			up = append(up, ramp(6, 4).x[r*4:][:n]...)
		}
		want := ramp(6, 5).x
		for i, x := range matrixProduct(0.5, up, ramp(4, 5).x[:n*5], n) {
			want[i] += float32(x)
		}
		got := ramp(6, 5).x
		steps := Steps(unet, []Selected{{a, s}})["m.weight"]
		if len(steps) != 1 {
			t.Fatalf("%d steps", len(steps))
		}
		if err := steps[0].Change.Apply(got, []int{6, 5}, 1); err != nil {
			t.Fatal(err)
		}
		golden.Near(t, "rank", got, want, 1e-6)
	}
}
