package engine

import (
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// one is a source of one tensor, "w".
type one struct {
	dtype kernels.DType
	shape []int
	data  []byte
	err   error // of Tensor
}

func (s one) Names() []string                { return []string{"w"} }
func (s one) Storage(string) kernels.Storage { return kernels.Kept }
func (s one) Release() error                 { return nil }
func (s one) Describe(name string) (kernels.DType, []int, error) {
	if name != "w" {
		return 0, nil, errors.New("no tensor of that name")
	}
	return s.dtype, s.shape, nil
}
func (s one) Tensor(string) (kernels.DType, []int, []byte, error) {
	return s.dtype, s.shape, s.data, s.err
}

func TestWeights(t *testing.T) {
	want := kernels.Tensor{Name: "w", Role: kernels.Weight, DType: kernels.F16, Shape: []int{3, 2}}
	good := one{dtype: kernels.F16, shape: []int{3, 2}, data: make([]byte, 12)}
	if err := FindWeight(good, want); err != nil {
		t.Error(err)
	}
	if data, err := ReadWeight(good, want); len(data) != 12 || err != nil {
		t.Errorf("%d bytes, %v, want 12", len(data), err)
	}
	unknown, ids := want, want
	unknown.Name, ids.DType = "v", kernels.I32
	fails(t, "no source", FindWeight(nil, want), "weight w can't be found: the weights have no source")
	fails(t, "unknown", FindWeight(good, unknown), "weight v can't be found: no tensor of that name")
	fails(t, "shape", FindWeight(one{dtype: kernels.F16, shape: []int{2, 3}}, want), "weight w has shape [2 3], the plan wants [3 2]")
	fails(t, "type", FindWeight(one{dtype: kernels.BF16, shape: []int{3, 2}}, want), "weight w is bf16, the plan wants fp16")
	fails(t, "integers", FindWeight(one{dtype: kernels.I32, shape: []int{3, 2}}, ids), "weight w is int32: must be fp32, fp16 or bf16")
	good.data = good.data[:10]
	_, err := ReadWeight(good, want)
	fails(t, "bytes", err, "weight w has 10 bytes, want 12")
	good.err = errors.New("lost")
	_, err = ReadWeight(good, want)
	fails(t, "data", err, "weight w can't be read: lost")
}

// foreign is weights that another device made.
type foreign struct{ kernels.Weights }

func TestCheckPlan(t *testing.T) {
	d := NewDevice("cpu", kernels.Info{})
	if err := d.CheckPlan(everyRole(), foreign{}, true); err != nil {
		t.Error(err)
	}
	fails(t, "no weights", d.CheckPlan(everyRole(), nil, false), "cpu: the plan uses weight weight, and there are no weights")
	fails(t, "foreign weights", d.CheckPlan(everyRole(), foreign{}, false), "cpu: the weights are another device's")
	narrow := everyRole()
	narrow.Tensors[unused].DType = kernels.F16
	fails(t, "type", d.CheckPlan(narrow, foreign{}, true), "cpu: temp value unused fp16 [1 8]: must be fp32, int32 or uint8")
	broken := everyRole()
	broken.Nodes[0].Out[0] = 99
	fails(t, "plan", d.CheckPlan(broken, foreign{}, true), "writes value 99 of 10")
}
