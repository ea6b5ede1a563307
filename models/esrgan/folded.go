package esrgan

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/goxl/goxl/kernels"
)

// folded is a checkpoint whose tensors compute more than their layer does.
//
// A dense block is x + 0.2·conv5(…), and the third of an RRDB is followed by x0 + 0.2·y: the factors are in conv5's
// weights. Those of the third block also have 0.2 times the identity in the middle of the kernel, for the channels of the
// block's input, so that its epilogue adds x0 alone. The sums are the same but for their rounding.
//
// The last convolution of a compact network gives channels in the order of the pixels that they become: row, column,
// colour. Its file's order is colour, row, column (torch nn.PixelShuffle).
type folded struct {
	kernels.Source
	config Config
}

var fifth = regexp.MustCompile(`^body\.\d+\.rdb([123])\.conv5\.(weight|bias)$`)

// change says what is done to a tensor: nil is nothing.
func (f *folded) change(name string) func(shape []int, at func(i int) float32, out []float32) {
	c := f.config
	if parts := fifth.FindStringSubmatch(name); parts != nil && c.Kind == RRDB {
		third, weight := parts[1] == "3", parts[2] == "weight"
		factor := 0.2
		if third {
			factor = 0.2 * 0.2
		}
		return func(shape []int, at func(i int) float32, out []float32) {
			for i := range out {
				v := factor * float64(at(i))
				if third && weight && i%9 == 4 && i/9/shape[1] == i/9%shape[1] {
					v += 0.2
				}
				out[i] = float32(v)
			}
		}
	}
	last := "body." + strconv.Itoa(2*c.Blocks+2)
	if c.Kind == SRVGG && (name == last+".weight" || name == last+".bias") {
		return func(shape []int, at func(i int) float32, out []float32) {
			row, pixels := kernels.Elements(shape[1:]), c.Shuffle*c.Shuffle
			for i := range out {
				channel := i / row
				out[i] = at((channel%3*pixels+channel/3)*row + i%row)
			}
		}
	}
	return nil
}

// Describe implements kernels.Source: what is changed is float32, in which nothing is lost.
func (f *folded) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := f.Source.Describe(name)
	if err == nil && f.change(name) != nil {
		dtype = kernels.F32
	}
	return dtype, shape, err
}

// Tensor implements kernels.Source.
func (f *folded) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := f.Source.Tensor(name)
	change := f.change(name)
	if err != nil || change == nil {
		return dtype, shape, data, err
	}
	if dtype != kernels.F32 && dtype != kernels.F16 && dtype != kernels.BF16 {
		return 0, nil, nil, fmt.Errorf("weight %s is %v: must be fp32, fp16 or bf16", name, dtype)
	}
	stored := kernels.Factor{DType: dtype, Data: data}
	values := make([]float32, kernels.Elements(shape))
	change(shape, stored.At, values)
	out := make([]byte, 0, 4*len(values))
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return kernels.F32, shape, out, nil
}

// Storage implements kernels.Source: what is changed is made anew.
func (f *folded) Storage(name string) kernels.Storage {
	if f.change(name) != nil {
		return kernels.Made
	}
	return f.Source.Storage(name)
}
