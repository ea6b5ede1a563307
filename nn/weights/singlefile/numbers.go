package singlefile

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// numbers reads a small tensor.
func (c *Checkpoint) numbers(name string) ([]float64, error) {
	dtype, shape, data, err := c.weights.Tensor(name)
	if err != nil {
		return nil, err
	}
	const most = 1024
	if kernels.Elements(shape) > most {
		return nil, fmt.Errorf("tensor %s is %v: must have at most %d numbers", name, shape, most)
	}
	var values []float64
	stored := kernels.Factor{DType: dtype, Data: data}
	for i := range stored.Len() {
		v := stored.At(i)
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("tensor %s holds %v: must be finite", name, v)
		}
		values = append(values, float64(v))
	}
	return values, nil
}
