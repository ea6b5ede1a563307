package nn

import (
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// mistaken is a device that computes some operations with another specification.
type mistaken struct {
	kernels.Device
	mistake func(kernels.Node) kernels.Spec // nil for those that it computes as they are
}

func (d *mistaken) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	plan := &kernels.Plan{Tensors: p.Tensors}
	for _, n := range p.Nodes {
		if s := d.mistake(n); s != nil {
			n.Spec = s
		}
		plan.Nodes = append(plan.Nodes, n)
	}
	return d.Device.Compile(plan, w, o)
}

func netSubject(t *testing.T, gorgonia bool) Subject {
	m := newNet()
	src := bound(t, m)
	start, gain := make([]float32, netSize), make([]float32, netSize)
	for i := range start {
		start[i], gain[i] = float32(math.Sin(float64(i))), float32(math.Cos(float64(3*i)))
	}
	return Subject{Source: src, Build: m.Forward, Inputs: map[string]any{"x": start, "gain": gain}, Gorgonia: gorgonia}
}

// TestCompare: a right device differs by rounding only; of a wrong one the first module that uses the wrong kernel is
// named, whether the kernel is fused or not, and NaN by itself.
func TestCompare(t *testing.T) {
	eps := func(n kernels.Node) kernels.Spec {
		if _, ok := n.Spec.(kernels.LayerNorm); ok {
			return kernels.LayerNorm{Eps: 1}
		}
		return nil
	}
	for _, c := range []struct {
		name     string
		gorgonia bool
		mistake  func(kernels.Node) kernels.Spec
		first    string // path and computation; nothing where none differs
	}{
		{"right", false, func(kernels.Node) kernels.Spec { return nil }, ""},
		{"right, gorgonia", true, func(kernels.Node) kernels.Spec { return nil }, ""},
		{"wrong in both", true, eps, "norm: unfused differs from gorgonia"},
		{"wrong in both, unseen", false, eps, ""},
		{"wrong where fused", false, func(n kernels.Node) kernels.Spec {
			if s, ok := n.Spec.(kernels.Linear); ok && s.Act == kernels.SiLU {
				s.Act = kernels.GELU
				return s
			}
			return nil
		}, "in: fused differs from unfused"},
		{"wrong where fused, gorgonia", true, func(n kernels.Node) kernels.Spec {
			if s, ok := n.Spec.(kernels.Linear); ok && s.Residual && s.Act == kernels.Identity {
				s.Act = kernels.SiLU
				return s
			}
			return nil
		}, "block.o: fused differs from gorgonia"},
	} {
		found, err := Compare(t.Context(), &mistaken{device(t), c.mistake}, netSubject(t, c.gorgonia))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if found.Modules != 9 {
			t.Errorf("%s: %d modules, want 9", c.name, found.Modules)
		}
		switch {
		case found.First == nil && c.first == "":
			t.Logf("%s: worst %v", c.name, found.Worst)
		case found.First == nil || c.first == "" || !strings.HasPrefix(found.First.String(), c.first):
			t.Errorf("%s: first is %v, want %q", c.name, found.First, c.first)
		}
	}
}

// TestCompareNetwork compares with weights that are on the device already.
func TestCompareNetwork(t *testing.T) {
	s := netSubject(t, true)
	network, err := NewNetwork(device(t), s.Source, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	for _, precision := range []kernels.DType{0, kernels.F32} {
		found, err := network.CompareIn(t.Context(), precision, s.Build, s.Inputs, true)
		if err != nil {
			t.Fatal(err)
		}
		w := found.Worst
		if found.First != nil || found.Modules != 9 || w.Against != "gorgonia" {
			t.Errorf("%v: %d modules, first %v, worst %v", precision, found.Modules, found.First, w)
		}
		if used := max(w.RMS, w.Max/outliers); math.Abs(w.Share*w.Budget-used) > 1e-6*used {
			t.Errorf("%v: %v of a budget of %v are not %v", precision, w.Share, w.Budget, used)
		}
	}
	if _, err := network.CompareIn(t.Context(), kernels.F16, s.Build, s.Inputs, false); err == nil || !strings.Contains(err.Error(), "fp16") {
		t.Errorf("in a precision that the device does not have: %v", err)
	}
}

// TestCompareNotFinite: NaN that an input brings in is found at its module, in whichever computation comes first.
func TestCompareNotFinite(t *testing.T) {
	s := netSubject(t, false)
	s.Inputs["gain"].([]float32)[3] = float32(math.NaN())
	found, err := Compare(t.Context(), device(t), s)
	if err != nil {
		t.Fatal(err)
	}
	if found.First == nil || !found.First.NotFinite || found.First.Path != "in" || !math.IsInf(found.Worst.Share, 1) {
		t.Errorf("first is %v, worst %v; want NaN in in", found.First, found.Worst)
	}
}

func TestCompareErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Subject)
		want   string
	}{
		"an input is missing":   {func(s *Subject) { delete(s.Inputs, "gain") }, `input "gain" is <nil>: must be fp32 [2 5 8]`},
		"one is of a type":      {func(s *Subject) { s.Inputs["gain"] = []int32{1} }, `input "gain" is []int32: must be fp32`},
		"one is too short":      {func(s *Subject) { s.Inputs["gain"] = []float32{1} }, `input "gain" is []float32: must be fp32 [2 5 8]`},
		"one is not there":      {func(s *Subject) { s.Inputs["gian"] = []float32{1} }, `no input "gian"`},
		"an output is no input": {func(s *Subject) { s.Inputs["y"] = []float32{1} }, `no input "y"`},
	} {
		s := netSubject(t, false)
		c.change(&s)
		if _, err := Compare(t.Context(), device(t), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		got, want []float32
		rms, max  float64
	}{
		{[]float32{1, 1}, []float32{1, 1}, 0, 0},
		{[]float32{0, 0}, []float32{0, 0}, 0, 0},
		{[]float32{1, 0}, []float32{0, 0}, math.Inf(1), math.Inf(1)},
		{[]float32{3, 1}, []float32{1, 1}, math.Sqrt2, 1}, // √(4/2)/1, and 2/(1+1)
	} {
		if rms, largest := measure(c.got, c.want); math.Abs(rms-c.rms) > 1e-12 || math.Abs(largest-c.max) > 1e-12 {
			if !(math.IsInf(c.rms, 1) && math.IsInf(rms, 1) && math.IsInf(largest, 1)) {
				t.Errorf("%v of %v: %v, %v, want %v, %v", c.got, c.want, rms, largest, c.rms, c.max)
			}
		}
	}
}
