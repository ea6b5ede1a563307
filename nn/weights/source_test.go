package weights

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// f16 is a tensor of n zeros but for the byte at index at.
func f16(n, at int, v byte) Tensor {
	data := make([]byte, 2*n)
	if at >= 0 {
		data[at] = v
	}
	return NewTensor("", kernels.F16, []int{n}, data)
}

func TestFromMap(t *testing.T) {
	broken := errors.New("broken")
	src := FromMap(map[string]Tensor{
		"b":     f16(2, 1, 7),
		"a":     f16(1, -1, 0),
		"short": NewTensor("", kernels.F32, []int{2}, make([]byte, 4)),
		"bad":   {DType: kernels.F32, Shape: []int{1}, Data: func() ([]byte, error) { return nil, broken }},
	})
	if want := []string{"a", "b", "bad", "short"}; !slices.Equal(src.Names(), want) {
		t.Errorf("names %q, want %q", src.Names(), want)
	}
	dtype, shape, data, err := src.Tensor("b")
	if err != nil || dtype != kernels.F16 || !slices.Equal(shape, []int{2}) || data[1] != 7 {
		t.Errorf("b: %v %v %v, error %v", dtype, shape, data, err)
	}
	if _, _, _, err := src.Tensor("short"); err == nil || !strings.Contains(err.Error(), `"short": 4 bytes of data, but shape [2] of fp32 takes 8`) {
		t.Errorf("short: error %v", err)
	}
	if _, _, _, err := src.Tensor("bad"); !errors.Is(err, broken) {
		t.Errorf("bad: error %v", err)
	}
	var ne *NameError
	if _, _, _, err := src.Tensor("c"); !errors.As(err, &ne) {
		t.Errorf("c: error %v", err)
	}
}

func TestRename(t *testing.T) {
	src := FromMap(map[string]Tensor{"encoder.x": f16(1, 0, 1), "position_ids": f16(1, 0, 2), "same": f16(1, 0, 3), "SAME": f16(1, 0, 4)})
	r := Rename(src, func(name string) string {
		if name == "position_ids" {
			return ""
		}
		return "text_model." + strings.ToLower(name)
	})
	if want := []string{"text_model.encoder.x", "text_model.same"}; !slices.Equal(r.Names(), want) {
		t.Errorf("names %q, want %q", r.Names(), want)
	}
	if _, _, data, err := r.Tensor("text_model.encoder.x"); err != nil || data[0] != 1 {
		t.Errorf("renamed: %v, error %v", data, err)
	}
	if _, _, _, err := r.Tensor("text_model.same"); err == nil || !strings.Contains(err.Error(), `both "SAME" and "same"`) {
		t.Errorf("two for one name: error %v", err)
	}
	for _, gone := range []string{"encoder.x", "position_ids"} {
		if _, _, _, err := r.Tensor(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	synth := Synthetic("unet", map[string][]int{"a.weight": {2, 2}}, kernels.F32)
	same := func(s string) string { return s }
	_, _, before, _ := synth.Tensor("a.weight")
	if err := Rename(synth, same).Release(); err != nil {
		t.Error(err)
	}
	if _, _, after, _ := synth.Tensor("a.weight"); &before[0] == &after[0] {
		t.Error("Release did not reach the source")
	}
	if err := Rename(src, same).Release(); err != nil {
		t.Error(err)
	}
}

func TestEqual(t *testing.T) {
	const n = 10_000 // 20,000 bytes
	base := FromMap(map[string]Tensor{"a": f16(n, -1, 0), "b": f16(3, 0, 1)})
	with := func(change func(m map[string]Tensor)) kernels.Source {
		m := map[string]Tensor{"a": f16(n, -1, 0), "b": f16(3, 0, 1)}
		change(m)
		return FromMap(m)
	}
	file := func(dtype string) kernels.Source {
		f, err := Parse("m", raw(`{"ids":{"dtype":"`+dtype+`","shape":[1],"data_offsets":[0,8]}}`, 8))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	bits := FromMap(map[string]Tensor{"ids": f16(4, -1, 0)})
	for _, c := range []struct {
		name string
		a, b kernels.Source
		want bool
	}{
		{"same", base, with(func(map[string]Tensor) {}), true},
		{"head", base, with(func(m map[string]Tensor) { m["a"] = f16(n, 4095, 1) }), false},
		{"tail", base, with(func(m map[string]Tensor) { m["a"] = f16(n, 2*n-4096, 1) }), false},
		{"last byte", base, with(func(m map[string]Tensor) { m["a"] = f16(n, 2*n-1, 1) }), false},
		{"middle is not read", base, with(func(m map[string]Tensor) { m["a"] = f16(n, n, 1) }), true},
		{"short tensor", base, with(func(m map[string]Tensor) { m["b"] = f16(3, 0, 2) }), false},
		{"length", base, with(func(m map[string]Tensor) { m["b"] = f16(4, 0, 1) }), false},
		{"shape", base, with(func(m map[string]Tensor) { t := m["b"]; t.Shape = []int{3, 1}; m["b"] = t }), false},
		{"type", base, with(func(m map[string]Tensor) { t := m["b"]; t.DType = kernels.BF16; m["b"] = t }), false},
		{"extra", base, with(func(m map[string]Tensor) { m["c"] = f16(1, -1, 0) }), false},
		{"name", base, with(func(m map[string]Tensor) { m["c"] = m["b"]; delete(m, "b") }), false},
		{"unused types", file("I64"), file("I64"), true},
		{"unused types differ", file("I64"), file("F64"), false},
		{"unused against used", file("I64"), bits, false},
		{"used against unused", bits, file("I64"), false},
	} {
		got, err := Equal(c.a, c.b)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, error %v; want %v", c.name, got, err, c.want)
		}
	}
	broken := with(func(m map[string]Tensor) { t := m["b"]; t.Shape = []int{9}; m["b"] = t })
	if _, err := Equal(base, broken); err == nil {
		t.Error("a tensor that cannot be read compared")
	}
}
