package taesd

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// doubled computes 2y−1 of the decoder's output y in its last convolution, so that an image leaves it in −1…1 as the
// VAE's does (diffusers: mul(2).sub(1)): its weights are doubled, which is exact, and its bias b becomes 2b−1.
type doubled struct {
	kernels.Source
	weight, bias string
}

func newDoubled(src kernels.Source, m *Model) *doubled {
	last := fmt.Sprintf("decoder.layers.%d.", len(m.Decoder.Layers)-1)
	return &doubled{src, last + "weight", last + "bias"}
}

// Describe implements kernels.Source: what is doubled is float32, in which nothing is lost.
func (s *doubled) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := s.Source.Describe(name)
	if err == nil && (name == s.weight || name == s.bias) {
		dtype = kernels.F32
	}
	return dtype, shape, err
}

// Tensor implements kernels.Source.
func (s *doubled) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	if err != nil || name != s.weight && name != s.bias {
		return dtype, shape, data, err
	}
	if dtype != kernels.F32 && dtype != kernels.F16 && dtype != kernels.BF16 {
		return 0, nil, nil, fmt.Errorf("weight %s is %v: must be fp32, fp16 or bf16", name, dtype)
	}
	var minus float32
	if name == s.bias {
		minus = 1
	}
	stored := kernels.Factor{DType: dtype, Data: data}
	out := make([]byte, 0, 4*kernels.Elements(shape))
	for i := range kernels.Elements(shape) {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(2*stored.At(i)-minus))
	}
	return kernels.F32, shape, out, nil
}

// Storage implements kernels.Source: what is doubled is made anew.
func (s *doubled) Storage(name string) kernels.Storage {
	if name == s.weight || name == s.bias {
		return kernels.Made
	}
	return s.Source.Storage(name)
}
