package lora

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

const (
	kohyaQ = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
	pathQ  = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
)

// source is a component in memory.
func source(dtype kernels.DType, all tensors) *weights.Map {
	m := map[string]weights.Tensor{}
	for name, v := range all {
		data := make([]byte, dtype.Size()*len(v.x))
		roundTo(data, dtype, v.x)
		m[name] = weights.NewTensor(name, dtype, v.shape, data)
	}
	return weights.FromMap(m)
}

// floats reads a tensor of a source.
func floats(t *testing.T, src kernels.Source, name string) []float32 {
	t.Helper()
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, kernels.Elements(shape))
	widenTo(x, dtype, data)
	return x
}

// TestMerge compares W + s·alpha/rank·up·down, in every type of the base, with its definition in float64.
func TestMerge(t *testing.T) {
	w := ramp(12, 10)
	f := open(t, tensors{
		"unet." + pathQ + ".lora_up.weight": ramp(12, 3), "unet." + pathQ + ".lora_down.weight": ramp(3, 10), "unet." + pathQ + ".alpha": one(6),
	}, nil)
	a, report, err := f.Match(Targets{unet: {pathQ + ".weight": {12, 10}}})
	if err != nil || report.String() != "1 of 1 modules" {
		t.Fatal(report, err)
	}
	up, down := ramp(12, 3).x, ramp(3, 10).x
	for _, dtype := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
		for _, s := range []float32{1, 0.75, -0.5, 0} {
			base := source(dtype, tensors{pathQ + ".weight": w, "other": ramp(4)})
			m := Merge(base, unet, []Selected{{a, Strength(s)}})
			before := floats(t, base, pathQ+".weight")
			want := make([]float32, len(before))
			for r := range 12 {
				for c := range 10 {
					sum := 0.0
					for k := range 3 {
						sum += float64(up[r*3+k]) * float64(down[k*10+c])
					}
					want[r*10+c] = float32(float64(before[r*10+c]) + float64(s)*6/3*sum)
				}
			}
			rounded := floats(t, source(dtype, tensors{"x": {[]int{12, 10}, want}}), "x")
			for i, x := range floats(t, m, pathQ+".weight") {
				if d := math.Abs(float64(x - rounded[i])); d > 1e-6 {
					t.Fatalf("%v at %v: number %d is %v, want %v", dtype, s, i, x, rounded[i])
				}
			}
			storage := kernels.Made
			if s == 0 {
				storage = base.Storage(pathQ)
				if !slices.Equal(before, floats(t, m, pathQ+".weight")) {
					t.Errorf("%v: strength 0 changes the weight", dtype)
				}
			}
			if got := m.Storage(pathQ + ".weight"); got != storage {
				t.Errorf("strength %v: storage %v, want %v", s, got, storage)
			}
			if !slices.Equal(floats(t, m, "other"), floats(t, base, "other")) {
				t.Error("another tensor changes")
			}
			if !slices.Equal(m.Names(), base.Names()) {
				t.Errorf("names %v", m.Names())
			}
			if !slices.Equal(floats(t, base, pathQ+".weight"), before) {
				t.Error("the base changes")
			}
		}
	}
}

// TestMergeOverflow wants an error where the sum leaves the type of the base.
func TestMergeOverflow(t *testing.T) {
	f := open(t, tensors{"unet.conv_in.diff": {[]int{2}, []float32{1, 60000}}}, nil)
	a, _, err := f.Match(Targets{unet: {"conv_in.weight": {2}}})
	if err != nil {
		t.Fatal(err)
	}
	m := Merge(source(kernels.F16, tensors{"conv_in.weight": {[]int{2}, []float32{1, 60000}}}), unet, []Selected{{a, Strength(1)}})
	if _, _, _, err := m.Tensor("conv_in.weight"); err == nil || !strings.Contains(err.Error(), "fp16") || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("error %v", err)
	}
}

// TestConversions compares the short ways with the kernels' conversions, for every half and around each.
func TestConversions(t *testing.T) {
	var x []float32
	for i := range 1 << 16 {
		v := kernels.FromF16(uint16(i))
		x = append(x, v, math.Nextafter32(v, 1e9), math.Nextafter32(v, -1e9), v*(1+0x1p-11), v*(1-0x1p-12))
	}
	for _, dtype := range []kernels.DType{kernels.F16, kernels.BF16} {
		got, want := make([]byte, 2*len(x)), make([]byte, 2*len(x))
		roundTo(got, dtype, x)
		for i, v := range x {
			h := kernels.ToF16(v)
			if dtype == kernels.BF16 {
				h = kernels.ToBF16(v)
			}
			binary.LittleEndian.PutUint16(want[2*i:], h)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v: rounding differs", dtype)
		}
		wide := make([]float32, len(x))
		widenTo(wide, dtype, got)
		for i, v := range wide {
			h := binary.LittleEndian.Uint16(got[2*i:])
			w := kernels.FromF16(h)
			if dtype == kernels.BF16 {
				w = kernels.FromBF16(h)
			}
			if math.Float32bits(v) != math.Float32bits(w) {
				t.Fatalf("%v: %#x is %v, want %v", dtype, h, v, w)
			}
		}
	}
}

// TestSpans changes a weight that is cut into spans of rows, and wants what the change makes of all rows at once.
func TestSpans(t *testing.T) {
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	shape := []int{256, 160, 3, 3}
	base := tensors{"m.weight": noise(shape...)}
	compare := func(t *testing.T, c Change) {
		if spans := len(base["m.weight"].x) * 4 / spanBytes; spans < 4 || c.group() > shape[0]/4 && c.group() != shape[0] {
			t.Fatalf("%d spans of groups of %d rows", spans, c.group())
		}
		want := slices.Clone(base["m.weight"].x)
		c.ready(plain{})(want, 0, 0.7)
		m := &merged{source(kernels.F32, base), unet, map[string][]Step{"m.weight": {{c, 0.7, "a file"}}}, plain{}}
		golden.Near(t, "in spans", floats(t, m, "m.weight"), want, 1e-8)
		golden.Near(t, "by the CPU's kernels", floats(t, m.With(device.Arithmetic()), "m.weight"), want, 1e-6)
		applied := slices.Clone(base["m.weight"].x)
		if err := c.Apply(applied, shape, 0.7); err != nil {
			t.Fatal(err)
		}
		golden.Near(t, "Apply", applied, want, 1e-8)
		if d, err := golden.Distance(base["m.weight"].x, want); err != nil || d < 1e-3 {
			t.Errorf("the change is %.3g, %v", d, err)
		}
	}
	for _, kind := range fullKinds {
		t.Run(kind.name, func(t *testing.T) {
			file := tensors{}
			for p, v := range kind.make(shape[0], shape[1], shape[2:]) {
				file["unet.m."+p] = v
			}
			a, _, err := open(t, file, nil).Match(Targets{unet: {"m.weight": shape}})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, a.Changes(unet, "m.weight")[0])
		})
	}
	target := newTensor(shape)
	t.Run("a new weight", func(t *testing.T) {
		compare(t, applied{target, &replaced{target, matrixOf(ramp(shape...).x, shape[0])}})
	})
	t.Run("sparse", func(t *testing.T) {
		s := &sparse{tensor: target, scale: 1}
		for at := 5; at < target.len(); at += 701 {
			s.elements = append(s.elements, element{at, float32(at % 7)})
		}
		compare(t, applied{target, s})
	})
}
