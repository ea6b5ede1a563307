package kerneltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// tensors is a source of random weights in memory.
type tensors struct {
	byName map[string]kernels.Tensor
	data   map[string][]byte
	refuse string // a tensor that has no data
	stuck  bool   // Release fails
}

var errRefused = errors.New("refused")

// randomTensors has every weight of a plan, of normal deviates over the root of the fan-in.
func randomTensors(plan *kernels.Plan, seed uint64) *tensors {
	s := &tensors{byName: map[string]kernels.Tensor{}, data: map[string][]byte{}}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, t := range plan.Tensors {
		if t.Role != kernels.Weight || s.data[t.Name] != nil {
			continue
		}
		_, columns := kernels.Matrix(t.Shape)
		data := make([]byte, t.Bytes())
		for i := range t.Len() {
			setFloat(t.DType, data, i, float32(r.NormFloat64()/math.Sqrt(float64(columns))))
		}
		s.byName[t.Name], s.data[t.Name] = t, data
	}
	return s
}

// Names implements kernels.Source.
func (s *tensors) Names() []string {
	var names []string
	for name := range s.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Describe implements kernels.Source.
func (s *tensors) Describe(name string) (kernels.DType, []int, error) {
	t, ok := s.byName[name]
	if !ok {
		return 0, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, t.Shape, nil
}

// Tensor implements kernels.Source.
func (s *tensors) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, err := s.Describe(name)
	if name == s.refuse {
		err = errRefused
	}
	return dtype, shape, s.data[name], err
}

// Storage implements kernels.Source.
func (s *tensors) Storage(string) kernels.Storage { return kernels.Kept }

// Release implements kernels.Source.
func (s *tensors) Release() error {
	if s.stuck {
		return errRefused
	}
	return nil
}

func setFloat(dtype kernels.DType, data []byte, i int, f float32) {
	switch dtype {
	case kernels.F16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToF16(f))
	case kernels.BF16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToBF16(f))
	default:
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(f))
	}
}

// factor rounds numbers to a type.
func factor(dtype kernels.DType, x []float32) kernels.Factor {
	f := kernels.Factor{DType: dtype, Data: make([]byte, len(x)*dtype.Size())}
	for i, v := range x {
		setFloat(dtype, f.Data, i, v)
	}
	return f
}
