package weights

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestWriteRoundTrip(t *testing.T) {
	tensors := []Tensor{
		NewTensor("z.weight", kernels.F16, []int{2, 2}, []byte{1, 2, 3, 4, 5, 6, 7, 8}),
		NewTensor("b", kernels.BF16, []int{}, []byte{9, 10}),
		NewTensor("a <é>\"\\\n", kernels.F16, []int{1}, []byte{11, 12}),
		NewTensor("c", kernels.F32, []int{1}, []byte{13, 14, 15, 16}),
		NewTensor("empty", kernels.F32, []int{0, 5}, nil),
	}
	metadata := map[string]string{"format": "pt", "note": "<&>"}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.safetensors")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !maps.Equal(f.Metadata(), metadata) || len(f.Names()) != len(tensors) {
		t.Errorf("metadata %v, names %q", f.Metadata(), f.Names())
	}
	for _, want := range tensors {
		dtype, shape, data, err := f.Tensor(want.Name)
		wantData, _ := want.Data()
		if err != nil || dtype != want.DType || !slices.Equal(shape, want.Shape) || !bytes.Equal(data, wantData) {
			t.Errorf("%q: %v %v %v, error %v", want.Name, dtype, shape, data, err)
		}
	}
	// The widest type first, then by name, as the reference implementation orders them.
	offset := func(name string) int { return f.entries[name].begin }
	if !(offset("c") <= offset("empty") && offset("empty") <= offset("b") && offset("b") < offset(tensors[2].Name) && offset(tensors[2].Name) < offset("z.weight")) {
		t.Error("order is not the reference's")
	}
	if offset("c")%8 != 0 {
		t.Errorf("data starts at %d", offset("c"))
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	empty := filepath.Join(dir, "empty.safetensors")
	if err := Write(empty, nil, nil); err != nil {
		t.Fatal(err)
	}
	if e, err := Open(empty); err != nil || len(e.Names()) != 0 {
		t.Errorf("no tensors: error %v", err)
	} else {
		e.Close()
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestWriteBytes compares with the bytes that the Python package safetensors 0.8.0 writes for the same tensors:
// save({"b": float16 [1, 2], "a": float32 [[3]]}, {"k": "v"}).
func TestWriteBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	err := Write(path, []Tensor{
		NewTensor("b", kernels.F16, []int{2}, []byte{0, 0x3c, 0, 0x40}),
		NewTensor("a", kernels.F32, []int{1, 1}, []byte{0, 0, 0x40, 0x40}),
	}, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = "\x88\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}` +
		"  " + "\x00\x00\x40\x40\x00\x3c\x00\x40"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	one := func(name string, dtype kernels.DType, shape []int, data int) []Tensor {
		return []Tensor{NewTensor(name, dtype, shape, make([]byte, data))}
	}
	broken := errors.New("disk gone")
	for _, c := range []struct {
		name, want string
		tensors    []Tensor
	}{
		{"short data", "3 bytes of data", one("a", kernels.F16, []int{2}, 3)},
		{"type", "int32; allowed", one("a", kernels.I32, []int{2}, 8)},
		{"negative", "shape [-2]", one("a", kernels.F16, []int{-2}, 4)},
		{"rank", "at most 8 dimensions", one("a", kernels.F16, make([]int, 9), 0)},
		{"reserved name", "reserved", one("__metadata__", kernels.F16, []int{1}, 2)},
		{"not UTF-8", "UTF-8", one("\xff", kernels.F16, []int{1}, 2)},
		{"twice", "used twice", append(one("a", kernels.F16, []int{1}, 2), one("a", kernels.F16, []int{1}, 2)...)},
		{"source fails", "disk gone", []Tensor{{Name: "a", DType: kernels.F16, Shape: []int{1}, Data: func() ([]byte, error) { return nil, broken }}}},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.safetensors")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Write(path, c.tensors, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with the path and %q", c.name, err, c.want)
		}
		if old, _ := os.ReadFile(path); string(old) != "old" {
			t.Errorf("%s: the old file is gone", c.name)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: %d files are left", c.name, len(entries))
		}
	}
	if err := Write(filepath.Join(t.TempDir(), "none", "m.safetensors"), nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: error %v", err)
	}
}

func TestTensorsOfSources(t *testing.T) {
	shapes := map[string][]int{"a.weight": {3, 5}, "a.bias": {3}}
	synth := Synthetic("vae", shapes, kernels.F16)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1.safetensors"), filepath.Join(dir, "2.safetensors")
	list, err := Tensors(synth)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(first, list, nil); err != nil {
		t.Fatal(err)
	}
	if len(synth.made) != 0 {
		t.Error("written tensors were kept")
	}
	f, err := Open(first)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if equal, err := Equal(f, synth); !equal || err != nil {
		t.Errorf("file and source differ, error %v", err)
	}
	if list, err = Tensors(f); err != nil {
		t.Fatal(err)
	}
	if err := Write(second, list, nil); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(first)
	b, _ := os.ReadFile(second)
	if !bytes.Equal(a, b) {
		t.Error("a copy has other bytes")
	}
	if _, err := Tensors(FromMap(map[string]Tensor{"a": f16(1, 0, 0), "b": NewTensor("", kernels.F16, []int{2}, nil)})); err == nil {
		t.Error("a source that cannot be read was taken")
	}
}
