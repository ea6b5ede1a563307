package embedding

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// tensor is numbers 0, 1, 2 … of a shape.
func tensor(name string, dtype kernels.DType, shape ...int) weights.Tensor {
	n := kernels.Elements(shape)
	data := make([]byte, n*dtype.Size())
	for i := range n {
		if dtype == kernels.F16 {
			binary.LittleEndian.PutUint16(data[2*i:], kernels.ToF16(float32(i%100)))
		} else {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(i%100)))
		}
	}
	return weights.NewTensor(name, dtype, shape, data)
}

func write(t *testing.T, name string, tensors ...weights.Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := weights.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	path := write(t, "bad.hands.safetensors", tensor("clip_l", kernels.F16, 2, 768), tensor("clip_g", kernels.F32, 2, 1280), tensor("step", kernels.F32, 1))
	e, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if e.Name != "bad.hands" || e.L.N != 2 || e.L.Width != 768 || e.G.N != 2 || e.G.Width != 1280 || e.L.Data[768] != 68 || e.G.Data[99] != 99 {
		t.Errorf("%q has %d×%d and %d×%d", e.Name, e.L.N, e.L.Width, e.G.N, e.G.Width)
	}
	if e, err = Open(path, "x"); err != nil || e.Name != "x" {
		t.Errorf("%v, %v", e, err)
	}
	one, err := Open(write(t, "g.safetensors", tensor("<cat>", kernels.F32, 1280)), "")
	if err != nil || one.G.N != 1 || one.L.N != 0 {
		t.Errorf("%+v, %v", one, err)
	}
}

// TestJoin: the two files that diffusers' load_textual_inversion takes are one embedding, in any order.
func TestJoin(t *testing.T) {
	open := func(tensors ...weights.Tensor) *Embedding {
		e, err := Open(write(t, "half.safetensors", tensors...), "")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first, second := tensor("<cat>", kernels.F32, 2, 768), tensor("<cat>", kernels.F32, 3, 1280)
	for _, pair := range [][2]weights.Tensor{{first, second}, {second, first}} {
		e := open(pair[0])
		if !e.Join(open(pair[1])) || e.L.N != 2 || e.L.Width != 768 || e.G.N != 3 || e.G.Width != 1280 || e.L.Data[768] != 68 || e.G.Data[1280] != 80 {
			t.Errorf("%d×%d and %d×%d", e.L.N, e.L.Width, e.G.N, e.G.Width)
		}
		if e.Join(open(pair[0])) {
			t.Error("a whole embedding takes another half")
		}
	}
	if e := open(first); e.Join(open(first)) || e.G.N != 0 {
		t.Error("two halves of one encoder are joined")
	}
	if e := open(first); e.Join(open(tensor("clip_l", kernels.F32, 1, 768), tensor("clip_g", kernels.F32, 1, 1280))) || e.L.N != 2 {
		t.Error("half an embedding is joined with a whole one")
	}
}

func TestOtherFiles(t *testing.T) {
	nan := weights.NewTensor("clip_l", kernels.F32, []int{1, 1}, binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN()))))
	for what, c := range map[string]struct {
		says    string
		tensors []weights.Tensor
	}{
		"a pickle's":  {"Stable Diffusion 2", []weights.Tensor{tensor("string_to_param.*", kernels.F32, 3, 1024), tensor("string_to_token.*", kernels.F32, 1)}},
		"T5":          {"T5", []weights.Tensor{tensor("t5", kernels.F32, 1, 4096)}},
		"a LoRA":      {"LoRA", []weights.Tensor{tensor("lora_unet_x.lora_up.weight", kernels.F32, 4, 4)}},
		"odd width":   {"of 5 numbers", []weights.Tensor{tensor("x", kernels.F32, 1, 5)}},
		"two tensors": {"the tensors a, b", []weights.Tensor{tensor("a", kernels.F32, 1, 768), tensor("b", kernels.F32, 1, 768)}},
		"three axes":  {"shape [1 2 768]", []weights.Tensor{tensor("clip_l", kernels.F32, 1, 2, 768)}},
		"NaN":         {"NaN", []weights.Tensor{nan}},
	} {
		_, err := Open(write(t, "e.safetensors", c.tensors...), "")
		var bad *weights.FileError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "e.safetensors") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestBundled(t *testing.T) {
	path := write(t, "lora.safetensors", tensor("bundle_emb.my.cat.clip_l", kernels.F32, 1, 768), tensor("bundle_emb.my.cat.clip_g", kernels.F32, 1, 1280),
		tensor("bundle_emb.dog.string_to_param.*", kernels.F32, 2, 1280), tensor("lora_unet_x.alpha", kernels.F32, 1))
	file, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list, err := Bundled(file, path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"dog", "my.cat"}, names); diff != "" {
		t.Error(diff)
	}
	if list[0].G.N != 2 || list[1].L.N != 1 || list[1].G.N != 1 {
		t.Errorf("%+v", list)
	}
}
