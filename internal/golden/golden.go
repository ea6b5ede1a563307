// Package golden reads the reference outputs under testdata and compares numbers with them. It serves tests only.
package golden

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/nlpodyssey/safetensors"
)

// File is a safetensors file of reference tensors.
type File struct {
	t        testing.TB
	path     string
	tensors  safetensors.SafeTensors
	Metadata map[string]string // script, versions, seed and what the tensors are
}

// Open reads a file; a missing or damaged one fails the test.
func Open(t testing.TB, path string) *File {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := safetensors.Deserialize(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	_, metadata, err := safetensors.ReadMetadata(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &File{t: t, path: path, tensors: tensors, Metadata: metadata.Metadata()}
}

// Has reports whether the file holds a tensor.
func (f *File) Has(name string) bool {
	_, ok := f.tensors.Tensor(name)
	return ok
}

func (f *File) view(name string, dtype safetensors.DType) (safetensors.TensorView, []int) {
	f.t.Helper()
	v, ok := f.tensors.Tensor(name)
	if !ok {
		f.t.Fatalf("%s: no tensor %s", f.path, name)
	}
	if v.DType() != dtype {
		f.t.Fatalf("%s: %s is %v, want %v", f.path, name, v.DType(), dtype)
	}
	shape := make([]int, len(v.Shape()))
	for i, d := range v.Shape() {
		shape[i] = int(d)
	}
	return v, shape
}

// Floats returns an F32 tensor.
func (f *File) Floats(name string) ([]float32, []int) {
	f.t.Helper()
	v, shape := f.view(name, safetensors.F32)
	out := make([]float32, len(v.Data())/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.Data()[4*i:]))
	}
	return out, shape
}

// Ints returns an I64 tensor of small numbers.
func (f *File) Ints(name string) ([]int32, []int) {
	f.t.Helper()
	v, shape := f.view(name, safetensors.I64)
	out := make([]int32, len(v.Data())/8)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint64(v.Data()[8*i:]))
	}
	return out, shape
}

// Doubles returns an F64 tensor.
func (f *File) Doubles(name string) []float64 {
	f.t.Helper()
	v, _ := f.view(name, safetensors.F64)
	out := make([]float64, len(v.Data())/8)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(v.Data()[8*i:]))
	}
	return out
}

// Bytes returns a U8 tensor.
func (f *File) Bytes(name string) ([]byte, []int) {
	f.t.Helper()
	v, shape := f.view(name, safetensors.U8)
	return v.Data(), shape
}

// Distance is ‖got − want‖ / ‖want‖. It is an error if the lengths differ, if got holds NaN or Inf, or if want does or
// is all zero.
func Distance(got, want []float32) (float64, error) {
	if len(got) != len(want) {
		return 0, fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	var diff, norm float64
	for i, w := range want {
		g := float64(got[i])
		if math.IsNaN(g) || math.IsInf(g, 0) {
			return 0, fmt.Errorf("value %d is %v, want %v", i, g, w)
		}
		diff += (g - float64(w)) * (g - float64(w))
		norm += float64(w) * float64(w)
	}
	if !(norm > 0) || math.IsInf(norm, 0) {
		return 0, fmt.Errorf("the reference has the norm %v", math.Sqrt(norm))
	}
	return math.Sqrt(diff / norm), nil
}

// Near fails the test if got is further from want than tolerance, relative to want's norm, and logs the share of it
// that was used.
func Near(t testing.TB, what string, got, want []float32, tolerance float64) {
	t.Helper()
	d, err := Distance(got, want)
	switch {
	case err != nil:
		t.Errorf("%s: %v", what, err)
	case !(d <= tolerance):
		t.Errorf("%s: relative error %.3g, allowed %.3g", what, d, tolerance)
	default:
		t.Logf("%s: relative error %.3g, %.0f %% of what is allowed", what, d, 100*d/tolerance)
	}
}

// ChannelsLast reorders [N, C, H, W] to [N, H, W, C].
func ChannelsLast(x []float32, shape []int) []float32 {
	n, c, plane := shape[0], shape[1], shape[2]*shape[3]
	out := make([]float32, len(x))
	for i := range n {
		for k := range c {
			for j := range plane {
				out[(i*plane+j)*c+k] = x[(i*c+k)*plane+j]
			}
		}
	}
	return out
}
