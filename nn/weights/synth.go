package weights

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// SyntheticSource is random (deterministic) weights: a pure function of name and index, the same here and in
// tools/reference/synth.py, so that models of any size can be compared and timed without a checkpoint. Value i of the
// tensor named component + "/" + key is computed from
//
//	h = splitmix64(fnv1a64(name) + i·0x9E3779B97F4A7C15),  u = (h >> 40)·2^-23 − 1, in [−1, 1)
//
// as 1 + 0.1u in a norm weight (a 1-D tensor named weight), 0.05u in a bias, 0.03u in an embedding table, and otherwise
// u·sqrt(3/fan_in)·g, where g is 0.5 in the last layer of a residual branch and 1 elsewhere; computed in float64,
// rounded to float32, then to the element type, to nearest even both times.
//
// It is safe for concurrent use.
type SyntheticSource struct {
	component string
	dtype     kernels.DType
	shapes    map[string][]int
	names     []string

	mu   sync.Mutex
	made map[string]*lazyTensor
}

// lazyTensor is a tensor that is computed once.
type lazyTensor struct {
	once sync.Once
	data []byte
}

// Synthetic returns synthetic weights of a component ("unet", "vae", "text_encoder", "text_encoder_2") with the given
// keys and shapes. Keys of the text encoders that lack the prefix text_model. get the values of those that have it. A
// tensor is computed on all cores when it is first read, and kept until Release. An element type other than F32, F16
// and BF16, and a negative dimension, are errors of Tensor.
func Synthetic(component string, shapes map[string][]int, dtype kernels.DType) *SyntheticSource {
	return &SyntheticSource{component: component, dtype: dtype, shapes: maps.Clone(shapes),
		names: slices.Sorted(maps.Keys(shapes)), made: map[string]*lazyTensor{}}
}

// Names lists every tensor, sorted.
func (s *SyntheticSource) Names() []string { return slices.Clone(s.names) }

// Tensor returns a tensor, computed if it was not yet.
func (s *SyntheticSource) Tensor(name string) (kernels.DType, []int, []byte, error) {
	shape, n, err := s.describe(name)
	if err != nil {
		return 0, nil, nil, err
	}
	s.mu.Lock()
	m := s.made[name]
	if m == nil {
		m = &lazyTensor{}
		s.made[name] = m
	}
	s.mu.Unlock()
	m.once.Do(func() { m.data = s.make(name, shape, n) })
	return s.dtype, slices.Clone(shape), m.data, nil
}

// Describe implements [kernels.Source]: nothing is computed.
func (s *SyntheticSource) Describe(name string) (kernels.DType, []int, error) {
	shape, _, err := s.describe(name)
	return s.dtype, slices.Clone(shape), err
}

// describe is a tensor's shape and its bytes.
func (s *SyntheticSource) describe(name string) ([]int, int64, error) {
	shape, ok := s.shapes[name]
	if !ok {
		return nil, 0, &NameError{Source: "synthetic " + s.component, Tensor: name}
	}
	n, err := Tensor{Name: name, DType: s.dtype, Shape: shape}.bytes()
	if err != nil {
		return nil, 0, fmt.Errorf("synthetic %s: %w", s.component, err)
	}
	return shape, n, nil
}

// Storage implements [kernels.Source].
func (s *SyntheticSource) Storage(string) kernels.Storage { return kernels.Made }

// Release drops the tensors computed so far; data that Tensor returned stays valid.
func (s *SyntheticSource) Release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.made)
	return nil
}

// tensors describes every tensor for writing, without keeping its data.
func (s *SyntheticSource) tensors() ([]Tensor, error) {
	list := make([]Tensor, len(s.names))
	for i, name := range s.names {
		shape := s.shapes[name]
		t := Tensor{Name: name, DType: s.dtype, Shape: shape}
		n, err := t.bytes()
		if err != nil {
			return nil, fmt.Errorf("synthetic %s: %w", s.component, err)
		}
		t.Data = func() ([]byte, error) { return s.make(name, shape, n), nil }
		list[i] = t
	}
	return list, nil
}

// make computes a tensor of n bytes on all cores.
func (s *SyntheticSource) make(key string, shape []int, n int64) []byte {
	if strings.HasPrefix(path.Base(s.component), "text_encoder") && !strings.HasPrefix(key, "text_model.") && !strings.HasPrefix(key, "text_projection.") {
		key = "text_model." + key
	}
	offset, scale := distribution(key, shape)
	seed := fnv1a64(s.component + "/" + key)
	data := make([]byte, n)
	elem := s.dtype.Size()
	const chunk = 1 << 18 // bytes; enough to pay for a goroutine
	workers := min(runtime.GOMAXPROCS(0), (len(data)+chunk-1)/chunk)
	if workers <= 1 {
		fill(data, s.dtype, seed, offset, scale)
		return data
	}
	var wg sync.WaitGroup
	per := (len(data)/elem + workers - 1) / workers
	for first := 0; first < len(data)/elem; first += per {
		part := data[first*elem : min(len(data), (first+per)*elem)]
		wg.Go(func() { fill(part, s.dtype, seed+uint64(first)*splitmixGamma, offset, scale) })
	}
	wg.Wait()
	return data
}

// distribution returns the offset and scale of a tensor's values: value = offset + scale·u.
func distribution(key string, shape []int) (offset, scale float64) {
	module, leaf := "", key
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		module, leaf = key[:i], key[i+1:]
	}
	switch {
	case leaf == "weight" && len(shape) == 1:
		return 1, 0.1
	case leaf == "bias":
		return 0, 0.05
	case strings.HasSuffix(key, "_embedding.weight"):
		return 0, 0.03
	}
	fanIn := 1
	for i, d := range shape {
		if i > 0 {
			fanIn *= d
		}
	}
	scale = math.Sqrt(3 / float64(fanIn))
	if leaf == "weight" && endsBranch(module) {
		scale *= 0.5
	}
	return 0, scale
}

// endsBranch reports whether a module is the last layer of a residual branch.
func endsBranch(module string) bool {
	for _, last := range []string{"to_out.0", "ff.net.2", "conv2", "proj_out", "out_proj", "fc2"} {
		if strings.HasSuffix(module, "."+last) {
			return true
		}
	}
	return false
}

const splitmixGamma = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio

// value is offset + scale·u with u from splitmix64(x).
func value(x uint64, offset, scale float64) float32 {
	x += splitmixGamma
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	u := float64(int64((x^x>>31)>>40))*0x1p-23 - 1
	return float32(offset + float64(scale*u)) // the conversion forbids a fused multiply-add, which rounds otherwise
}

// fill writes the values of the indices from x = seed + index·splitmixGamma on.
func fill(data []byte, dtype kernels.DType, x uint64, offset, scale float64) {
	switch dtype {
	case kernels.F32:
		for ; len(data) >= 4; data = data[4:] {
			binary.LittleEndian.PutUint32(data, math.Float32bits(value(x, offset, scale)))
			x += splitmixGamma
		}
	case kernels.F16:
		for ; len(data) >= 2; data = data[2:] {
			f := value(x, offset, scale)
			b := math.Float32bits(f)
			h := uint16(b>>16&0x8000) | uint16((b&0x7fffffff+0xfff+b>>13&1-0x38000000)>>13)
			if b&0x7fffffff < 0x38800000 { // below 2^-14, where the fast path above is wrong; it is right up to 65520
				h = kernels.ToF16(f)
			}
			binary.LittleEndian.PutUint16(data, h)
			x += splitmixGamma
		}
	case kernels.BF16:
		for ; len(data) >= 2; data = data[2:] {
			binary.LittleEndian.PutUint16(data, kernels.ToBF16(value(x, offset, scale)))
			x += splitmixGamma
		}
	}
}

func fnv1a64(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
