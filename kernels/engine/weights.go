package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// FindWeight checks that a source has a weight as the plan wants it, without reading it.
func FindWeight(src kernels.Source, want kernels.Tensor) error {
	if src == nil {
		return fmt.Errorf("weight %s can't be found: the weights have no source", want.Name)
	}
	dtype, shape, err := src.Describe(want.Name)
	if err != nil {
		return fmt.Errorf("weight %s can't be found: %w", want.Name, err)
	}
	return MatchWeight(want, dtype, shape)
}

// MatchWeight checks that a weight has the type and the shape that the plan wants, and a type that devices take.
func MatchWeight(want kernels.Tensor, dtype kernels.DType, shape []int) error {
	switch {
	case !slices.Equal(shape, want.Shape):
		return fmt.Errorf("weight %s has shape %v, the plan wants %v", want.Name, shape, want.Shape)
	case dtype != want.DType:
		return fmt.Errorf("weight %s is %v, the plan wants %v", want.Name, dtype, want.DType)
	case dtype != kernels.F32 && dtype != kernels.F16 && dtype != kernels.BF16:
		return fmt.Errorf("weight %s is %v: must be fp32, fp16 or bf16", want.Name, dtype)
	}
	return nil
}

// ReadWeight returns the data of a weight that FindWeight has found.
func ReadWeight(src kernels.Source, want kernels.Tensor) ([]byte, error) {
	_, _, data, err := src.Tensor(want.Name)
	if err != nil {
		return nil, fmt.Errorf("weight %s can't be read: %w", want.Name, err)
	}
	if int64(len(data)) != want.Bytes() {
		return nil, fmt.Errorf("weight %s has %d bytes, want %d", want.Name, len(data), want.Bytes())
	}
	return data, nil
}

// CheckPlan validates a plan, and checks what every device asks of its values: types that callers and kernels take, and
// weights if it uses some. Weights that another device made, which own says, are an error.
func (d *Device) CheckPlan(plan *kernels.Plan, w kernels.Weights, own bool) error {
	if err := plan.Validate(); err != nil {
		return err
	}
	if w != nil && !own {
		return errors.New(d.kind + ": the weights are another device's")
	}
	for _, t := range plan.Tensors {
		switch {
		case t.Role == kernels.Weight && w == nil:
			return fmt.Errorf("%s: the plan uses weight %s, and there are no weights", d.kind, t.Name)
		case t.Role != kernels.Weight && t.DType != kernels.F32 && t.DType != kernels.I32 && t.DType != kernels.U8:
			return fmt.Errorf("%s: %s value %v: must be %v, %v or %v", d.kind, t.Role, t, kernels.F32, kernels.I32, kernels.U8)
		}
	}
	return nil
}
