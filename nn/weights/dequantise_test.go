package weights

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// readFloats reads a tensor as float32.
func readFloats(t *testing.T, src kernels.Source, name string) []float32 {
	t.Helper()
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, kernels.Elements(shape))
	floats(out, dtype, data)
	return out
}

// TestDequantise reads what ComfyUI's tools quantised, and compares it with what ComfyUI makes of it: the same float32,
// rounded once to float16 where the tensor is read so. Rotations are compared with float64, which both are close to.
func TestDequantise(t *testing.T) {
	golden, err := Open("testdata/quantised_expected.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	wide := []string{"comfy/large.weight", "comfy/small.weight"} // beyond what float16 holds well
	groups := map[string]int{"comfy/rotated.weight": 256, "comfy/default.weight": 256, "comfy/params.weight": 64, "layers/" + unetPrefix + "c.weight": 16}
	for _, file := range []string{"scaled", "comfy", "layers"} {
		src, err := OpenComponent("testdata/quantised_" + file + ".safetensors")
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		var want []string
		for _, name := range golden.Names() {
			if name, ok := strings.CutPrefix(name, file+"/"); ok && !strings.HasSuffix(name, ".fp16") {
				want = append(want, name)
			}
		}
		if !slices.Equal(src.Names(), want) {
			t.Fatalf("%s: names %v, want %v", file, src.Names(), want)
		}
		for _, name := range want {
			full := file + "/" + name
			dtype, shape, data, err := src.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			if described, size, err := src.Describe(name); err != nil || described != dtype || !slices.Equal(size, shape) || len(data) != kernels.Elements(shape)*dtype.Size() {
				t.Errorf("%s: %v %v, %d bytes, but described as %v %v, error %v", full, dtype, shape, len(data), described, size, err)
			}
			_, wantShape, err := golden.Describe(full)
			if err != nil || !slices.Equal(shape, wantShape) {
				t.Errorf("%s: shape %v, want %v, error %v", full, shape, wantShape, err)
			}
			stored, _, _, err := src.Stored(name)
			if err != nil {
				t.Fatal(err)
			}
			if eight := stored == "I8" || strings.HasPrefix(stored, "F8"); eight && (dtype == kernels.F32) != slices.Contains(wide, full) {
				t.Errorf("%s is read as %v", full, dtype)
			}
			truth := readFloats(t, golden, full)
			if n := groups[full]; n != 0 {
				checkRotated(t, src, name, n, truth)
				continue
			}
			got, half := readFloats(t, src, name), readFloats(t, golden, full+".fp16")
			for i, w := range truth {
				if dtype == kernels.F16 {
					w = kernels.FromF16(kernels.ToF16(w))
				}
				if math.IsNaN(float64(got[i])) || math.Float32bits(got[i]) != math.Float32bits(w) {
					t.Fatalf("%s: element %d is %g, want %g", full, i, got[i], w)
				}
				if stored == "I8" && dtype == kernels.F16 && got[i] != half[i] {
					t.Fatalf("%s: element %d is %g, ComfyUI's float16 is %g", full, i, got[i], half[i])
				}
			}
		}
	}
}

// TestDequantisedSource: the bookkeeping is gone, what is not quantised lies where it lay, and what was made goes with
// Release.
func TestDequantisedSource(t *testing.T) {
	src, err := OpenComponent("testdata/quantised_comfy.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var ne *NameError
	for _, name := range []string{"e4m3.weight_scale", "e4m3.input_scale", "e4m3.comfy_quant", "none"} {
		_, _, _, err := src.Tensor(name)
		_, _, err2 := src.Describe(name)
		if !errors.As(err, &ne) || !errors.As(err2, &ne) || src.Storage(name) != kernels.Made {
			t.Errorf("%s: errors %v, %v", name, err, err2)
		}
	}
	if got := src.Storage("e4m3.weight"); got != kernels.Made {
		t.Errorf("a quantised weight: storage %d", got)
	}
	if got := src.Storage("e4m3.bias"); mapping && got != kernels.Mapped {
		t.Errorf("a tensor of other type: storage %d", got)
	}
	first, again := readFloats(t, src, "e4m3.weight"), src.Source.(*dequantised).weights["e4m3.weight"]
	if again.made == nil {
		t.Error("the weight is not kept")
	}
	if err := src.Release(); err != nil || again.made != nil {
		t.Errorf("Release: error %v, kept %v", err, again.made != nil)
	}
	if !slices.Equal(first, readFloats(t, src, "e4m3.weight")) {
		t.Error("the weight is another after Release")
	}
	plain, err := Open("testdata/float8.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if got, err := Dequantise(plain); err != nil || got != kernels.Source(plain) {
		t.Errorf("a file without scales: %T, error %v", got, err)
	}
}

// quantisedFile is a file of tensors given as type, shape and bytes.
func quantisedFile(tensors map[string][3]any) []byte {
	var header strings.Builder
	var data []byte
	for i, name := range sortedKeys(tensors) {
		t := tensors[name]
		b := []byte(t[2].(string))
		fmt.Fprintf(&header, `%c%q:{"dtype":%q,"shape":%v,"data_offsets":[%d,%d]}`, "{,"[min(i, 1)], name, t[0], t[1], len(data), len(data)+len(b))
		data = append(data, b...)
	}
	header.WriteByte('}')
	b := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	return append(append(b, header.String()...), data...)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

const oneF32, twoF32 = "\x00\x00\x80\x3f", "\x00\x00\x80\x3f\x00\x00\x00\x40"

func TestDequantiseErrors(t *testing.T) {
	int8s := [3]any{"I8", "[2,4]", "\x01\x02\x03\x04\x05\x06\x07\xff"}
	config := func(json string) [3]any { return [3]any{"U8", fmt.Sprintf("[%d]", len(json)), json} }
	one := [3]any{"F32", "[]", oneF32}
	for what, c := range map[string]struct {
		tensors map[string][3]any
		want    string
	}{
		"a format that is not read": {map[string][3]any{"a.weight": int8s, "a.comfy_quant": config(`{"format":"nvfp4"}`), "a.weight_scale": one},
			`tensor "a.weight": quantised as "nvfp4"; allowed: float8_e4m3fn, float8_e5m2, int8_tensorwise`},
		"no format":    {map[string][3]any{"a.weight": int8s, "a.comfy_quant": config(`{}`)}, `tensor "a.comfy_quant": it has no format; allowed: float8`},
		"broken JSON":  {map[string][3]any{"a.weight": int8s, "a.comfy_quant": config(`{"format":`)}, `tensor "a.comfy_quant": not a quantisation's JSON`},
		"not bytes":    {map[string][3]any{"a.weight": int8s, "a.comfy_quant": one}, `4 bytes of F32; allowed: JSON`},
		"another type": {map[string][3]any{"a.weight": {"F16", "[1]", "ab"}, "a.comfy_quant": config(`{"format":"int8_tensorwise"}`), "a.weight_scale": one}, `quantised as int8_tensorwise, but stored as F16; allowed: I8`},
		"no scale":     {map[string][3]any{"a.weight": int8s, "a.comfy_quant": config(`{"format":"int8_tensorwise"}`)}, `I8 without its scale; allowed: a tensor "a.weight_scale"`},
		"too many scales": {map[string][3]any{"a.weight": int8s, "a.weight_scale": {"F32", "[1,2]", twoF32}},
			`tensor "a.weight_scale": shape [1 2] beside a weight of [2 4]; allowed: one scale, or one for each row`},
		"a scale that is no number": {map[string][3]any{"a.weight": int8s, "a.weight_scale": {"F32", "[2,1]", oneF32 + "\x00\x00\xc0\x7f"}}, `scale 1 is NaN; allowed: finite`},
		"an infinite scale":         {map[string][3]any{"a.weight": int8s, "a.scale_weight": {"F32", "[]", "\x00\x00\x80\x7f"}}, `scale 0 is +Inf`},
		"a scale of integers":       {map[string][3]any{"a.weight": int8s, "a.weight_scale": {"I32", "[]", oneF32}}, `element type I32`},
		"scaled bytes":              {map[string][3]any{"a.weight": {"U8", "[2]", "ab"}, "a.weight_scale": one}, `it has a scale, but is stored as U8`},
		"an odd group": {map[string][3]any{"a.weight": int8s, "a.weight_scale": one, "a.comfy_quant": config(`{"format":"int8_tensorwise","convrot":true,"convrot_groupsize":2}`)},
			`rotated in groups of 2, with shape [2 4] of I8; allowed: 4, 16, 64`},
		"a group longer than rows": {map[string][3]any{"a.weight": int8s, "a.weight_scale": one, "a.comfy_quant": config(`{"format":"int8_tensorwise","convrot":true}`)}, `in groups of 256`},
		"a negative group":         {map[string][3]any{"a.weight": int8s, "a.weight_scale": one, "a.comfy_quant": config(`{"format":"int8_tensorwise","convrot":true,"convrot_groupsize":-4}`)}, `in groups of -4`},
		"rotated float8":           {map[string][3]any{"a.weight": {"F8_E4M3", "[1,4]", "abcd"}, "a.comfy_quant": config(`{"format":"float8_e4m3fn","convrot":true,"convrot_groupsize":4}`)}, `of F8_E4M3; allowed: 4,`},
		"metadata":                 {map[string][3]any{"a.weight": int8s}, ""},
	} {
		path := filepath.Join(t.TempDir(), "m.safetensors")
		f, err := Parse(path, quantisedFile(c.tensors))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if what == "metadata" {
			f.metadata, c.want = map[string]string{layersKey: `{"layers":[]}`}, layersKey+" is not as ComfyUI writes it"
		}
		if src, err := Dequantise(f); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, error %v, want the path and %q", what, src, err, c.want)
		}
	}
}

// TestScaleAlone: a scale counts without the marker and without a configuration, beside 16 bits too, and has one number
// or one of each row. A scale beside nothing is an ordinary tensor.
func TestScaleAlone(t *testing.T) {
	f, err := Parse("m", quantisedFile(map[string][3]any{
		"a.weight": {"I8", "[2,2]", "\x40\x80\x20\x01"}, "a.weight_scale": {"F32", "[2]", twoF32},
		"b.weight": {"F16", "[2]", "\x00\x3c\x00\x40"}, "b.scale_weight": {"F32", "[1]", twoF32[4:]}, "b.scale_input": {"F32", "[1]", oneF32},
		"c.weight_scale": {"F32", "[1]", oneF32},
		"weight":         {"F8_E4M3", "[2]", "\x38\x7f"}, "weight_scale": {"F32", "[]", twoF32[4:]},
	}))
	if err != nil {
		t.Fatal(err)
	}
	src, err := Dequantise(f)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.weight", "b.weight", "c.weight_scale", "weight"}; !slices.Equal(src.Names(), want) {
		t.Errorf("names %v, want %v", src.Names(), want)
	}
	for name, want := range map[string][]float32{"a.weight": {64, -128, 64, 2}, "b.weight": {2, 4}} {
		if got := readFloats(t, src, name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := readFloats(t, src, "weight"); got[0] != 2 || !math.IsNaN(float64(got[1])) {
		t.Errorf("weight: %v, want 2 and NaN", got)
	}
}

// TestQuantisedShards has a weight and its scale in two shards of a folder's component.
func TestQuantisedShards(t *testing.T) {
	const stem = "unet/diffusion_pytorch_model"
	dir := layout(t, map[string]string{
		indexFile:                            baseIndex,
		stem + ".safetensors.index.json":     `{"weight_map":{"a.weight":"diffusion_pytorch_model-00001-of-00002.safetensors","a.weight_scale":"diffusion_pytorch_model-00002-of-00002.safetensors"}}`,
		stem + "-00001-of-00002.safetensors": string(quantisedFile(map[string][3]any{"a.weight": {"I8", "[1,4]", "\x01\x02\x03\xff"}})),
		stem + "-00002-of-00002.safetensors": string(quantisedFile(map[string][3]any{
			"a.weight_scale": {"F32", "[1,1]", twoF32[4:]}, "a.comfy_quant": {"U8", "[28]", `{"format":"int8_tensorwise"}`}})),
	})
	folder, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := folder.Component("unet", Variant{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if got, want := readFloats(t, src, "a.weight"), []float32{2, 4, 6, -2}; !slices.Equal(got, want) || len(src.Names()) != 1 {
		t.Errorf("%v: %v, want %v", src.Names(), got, want)
	}
}

// TestFingerprintOfStored: weights that are made of what is stored are told apart by that.
func TestFingerprintOfStored(t *testing.T) {
	sum := func(last string) string {
		f, err := Parse("m", quantisedFile(map[string][3]any{
			"a.weight": {"I8", "[1,4]", "\x01\x02\x03" + last}, "a.weight_scale": {"F32", "[]", oneF32}, "b": {"F8_E5M2", "[1]", last}}))
		if err != nil {
			t.Fatal(err)
		}
		src, err := Dequantise(f)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if err := Fingerprint(h, src); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	if a, b := sum("\x04"), sum("\x05"); a == b || a != sum("\x04") {
		t.Errorf("%s of one file, %s of another", a, b)
	}
}
