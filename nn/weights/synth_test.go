package weights

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestSyntheticMatchesReference(t *testing.T) {
	raw, err := os.ReadFile("testdata/synth.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Tensors []struct {
			Component, Key, DType, Data, SHA256 string
			Shape                               []int
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Tensors) < 30 {
		t.Fatalf("golden holds %d tensors", len(golden.Tensors))
	}
	for _, g := range golden.Tensors {
		dtype, err := kernels.ParsePrecision(g.DType)
		if err != nil {
			t.Fatal(err)
		}
		src := Synthetic(g.Component, map[string][]int{g.Key: g.Shape}, dtype)
		_, _, data, err := src.Tensor(g.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, want := hex.EncodeToString(data), g.Data
		if g.SHA256 != "" {
			sum := sha256.Sum256(data)
			got, want = hex.EncodeToString(sum[:]), g.SHA256
		}
		if got != want {
			t.Errorf("%s/%s %v: got %.80s…, want %.80s…", g.Component, g.Key, dtype, got, want)
		}
	}
}

// TestSyntheticPrecisions checks that the short ways of rounding agree with package kernels, over every kind of value.
func TestSyntheticPrecisions(t *testing.T) {
	shapes := map[string][]int{"a.weight": {300, 40, 3, 3}, "b.weight": {5000}, "c.bias": {5000}, "d_embedding.weight": {500, 20}}
	wide := Synthetic("unet", shapes, kernels.F32)
	for dtype, round := range map[kernels.DType]func(float32) uint16{kernels.F16: kernels.ToF16, kernels.BF16: kernels.ToBF16} {
		src := Synthetic("unet", shapes, dtype)
		for _, name := range src.Names() {
			_, _, want, _ := wide.Tensor(name)
			_, _, got, err := src.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(got) / 2 {
				f := math.Float32frombits(binary.LittleEndian.Uint32(want[4*i:]))
				if h := binary.LittleEndian.Uint16(got[2*i:]); h != round(f) {
					t.Fatalf("%s[%d] %v: got %#04x, want %#04x for %g", name, i, dtype, h, round(f), f)
				}
			}
		}
	}
}

func TestSyntheticTextModelPrefix(t *testing.T) {
	const key = "encoder.layers.0.mlp.fc1.weight"
	shapes := map[string][]int{key: {3, 3}, "text_model." + key: {3, 3}}
	src := Synthetic("text_encoder", shapes, kernels.F32)
	_, _, short, _ := src.Tensor(key)
	_, _, long, _ := src.Tensor("text_model." + key)
	if !bytes.Equal(short, long) {
		t.Error("a key without text_model. has other values")
	}
}

func TestSyntheticErrors(t *testing.T) {
	for _, c := range []struct {
		dtype kernels.DType
		shape []int
		name  string
		want  string
	}{
		{kernels.F32, []int{2}, "other", "no tensor"},
		{kernels.I32, []int{2}, "a", "int32; allowed"},
		{0, []int{2}, "a", "allowed"},
		{kernels.F32, []int{-1}, "a", "shape [-1]"},
		{kernels.F32, []int{math.MaxInt32, math.MaxInt32, math.MaxInt32}, "a", "shape"},
	} {
		_, _, _, err := Synthetic("unet", map[string][]int{"a": c.shape}, c.dtype).Tensor(c.name)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v %s: error %v, want one with %q", c.dtype, c.shape, c.name, err, c.want)
		}
	}
	if _, err := Tensors(Synthetic("unet", map[string][]int{"a": {-1}}, kernels.F32)); err == nil {
		t.Error("Tensors took a negative dimension")
	}
}

func TestSyntheticConcurrent(t *testing.T) {
	src := Synthetic("unet", map[string][]int{"a.weight": {400, 400}, "b.weight": {0, 3}}, kernels.F16)
	_, _, want, _ := src.Tensor("a.weight")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%4 == 3 {
				src.Release()
			}
			_, shape, got, err := src.Tensor("a.weight")
			if err != nil || !bytes.Equal(got, want) || shape[0] != 400 {
				t.Errorf("tensor differs (error %v)", err)
			}
		})
	}
	wg.Wait()
	if _, _, data, err := src.Tensor("b.weight"); err != nil || len(data) != 0 {
		t.Errorf("empty tensor: %d bytes, error %v", len(data), err)
	}
}

func BenchmarkSynthetic(b *testing.B) {
	for _, dtype := range []kernels.DType{kernels.F16, kernels.F32} {
		b.Run(dtype.String(), func(b *testing.B) {
			const n = 1 << 22
			src := Synthetic("unet", map[string][]int{"a.weight": {n / 1024, 1024}}, dtype)
			for b.Loop() {
				src.Release()
				src.Tensor("a.weight")
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		})
	}
}

// TestSyntheticDescribes asks for everything but values: nothing is computed, whatever name the tensors go by, and what is wrong is the same error.
func TestSyntheticDescribes(t *testing.T) {
	shapes := map[string][]int{"a.weight": {1 << 20, 1 << 10}, "b.bias": {7}} // the first would take seconds
	s, same := Synthetic("unet", shapes, kernels.F16), Synthetic("unet", shapes, kernels.F16)
	dtype, shape, err := Rename(s, func(name string) string { return "x." + name }).Describe("x.a.weight")
	if err != nil || dtype != kernels.F16 || len(shape) != 2 || shape[0] != 1<<20 {
		t.Errorf("x.a.weight is %v %v, %v", dtype, shape, err)
	}
	if equal, err := Equal(s, same); err != nil || !equal {
		t.Errorf("the same formula: equal is %v, %v", equal, err)
	}
	for name, other := range map[string]kernels.Source{
		"another component": Synthetic("vae", map[string][]int{"b.bias": {7}}, kernels.F16),
		"another type":      Synthetic("unet", map[string][]int{"b.bias": {7}}, kernels.BF16),
		"another shape":     Synthetic("unet", map[string][]int{"b.bias": {8}}, kernels.F16),
	} {
		if equal, err := Equal(Synthetic("unet", map[string][]int{"b.bias": {7}}, kernels.F16), other); err != nil || equal {
			t.Errorf("%s: equal is %v, %v", name, equal, err)
		}
	}
	if len(s.made)+len(same.made) > 0 {
		t.Errorf("%d and %d tensors were computed", len(s.made), len(same.made))
	}
	_, _, err = s.Describe("c")
	_, _, _, want := s.Tensor("c")
	if err == nil || err.Error() != want.Error() {
		t.Errorf("an unknown tensor: %v, want %v", err, want)
	}
}
