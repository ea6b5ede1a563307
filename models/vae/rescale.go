package vae

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// streamShift is how many binary orders smaller float16 programs keep the residual stream, and what the first
// convolution of each block gives. The published SDXL autoencoder leaves float16's range there, which ends at 65,504. A
// 32nd ends at 2,100,000 of the model's own units, ten times what the tests go past; beyond that bfloat16 takes over.
// Below, float16 has full precision from 6e-5, 0.002 of the model's units, and steps of 2e-6 of those further down:
// nothing beside values of 0.1 and more, whose own rounding is larger. The same for the weights: of a tensor of
// magnitude 0.01 the 32nd is 3e-4, whose smallest elements are kept to 3e-8.
const streamShift = 5

// rescaled computes the same function with a residual stream that is 2^-shift of the model's. Everything that reads the
// stream is a norm, which undoes the factor if its epsilon has the square of it, or linear: shortcuts and samplers,
// which hand it on and need it for their biases alone. All factors are powers of two, so that in float32 not a bit
// changes.
type rescaled struct {
	kernels.Source
	shift int
}

// factor is the binary logarithm of what a tensor is multiplied with.
func (s *rescaled) factor(name string) int {
	for _, tensor := range []string{
		".conv_in.weight", ".conv1.weight", ".conv2.weight", ".to_out.0.weight", ".conv_in.bias", ".conv1.bias", ".conv2.bias", ".to_out.0.bias",
		".conv_shortcut.bias", ".downsamplers.0.conv.bias", ".upsamplers.0.conv.bias",
	} {
		if strings.HasSuffix(name, tensor) {
			return -s.shift
		}
	}
	return 0
}

// Describe implements kernels.Source: what is scaled is float32, in which nothing is lost.
func (s *rescaled) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := s.Source.Describe(name)
	if err == nil && s.factor(name) != 0 {
		dtype = kernels.F32
	}
	return dtype, shape, err
}

// Tensor implements kernels.Source.
func (s *rescaled) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	by := s.factor(name)
	if err != nil || by == 0 {
		return dtype, shape, data, err
	}
	var at func(i int) float32
	switch dtype {
	case kernels.F32:
		at = func(i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])) }
	case kernels.F16:
		at = func(i int) float32 { return kernels.FromF16(binary.LittleEndian.Uint16(data[2*i:])) }
	case kernels.BF16:
		at = func(i int) float32 { return kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:])) }
	default:
		return 0, nil, nil, fmt.Errorf("weight %s is %v: must be fp32, fp16 or bf16", name, dtype)
	}
	n, factor := kernels.Elements(shape), float32(math.Ldexp(1, by))
	out := make([]byte, 4*n)
	var wg sync.WaitGroup
	parts := min(runtime.GOMAXPROCS(0), 1+n>>16)
	for part := range parts {
		wg.Go(func() {
			for i := n * part / parts; i < n*(part+1)/parts; i++ {
				binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(at(i)*factor))
			}
		})
	}
	wg.Wait()
	return kernels.F32, shape, out, nil
}

// Storage implements kernels.Source: what is scaled is made anew.
func (s *rescaled) Storage(name string) kernels.Storage {
	if s.factor(name) != 0 {
		return kernels.Made
	}
	return s.Source.Storage(name)
}
