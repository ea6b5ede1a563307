package nn

import (
	"math"
	"strings"
	"testing"
)

func TestTensor(t *testing.T) {
	x := NewTensor(2, 3, 4)
	if x.Len() != 24 || len(x.Data) != 24 {
		t.Fatalf("%d elements, %d values, want 24", x.Len(), len(x.Data))
	}
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	if got := x.At(1, 2, 3); got != 23 {
		t.Errorf("the last element is %v, want 23", got)
	}
	if got := x.At(1, 0, 2); got != 14 {
		t.Errorf("element 1, 0, 2 is %v, want 14", got)
	}
	y := x.Clone()
	y.Data[0], y.Shape[0] = 7, 9
	if x.Data[0] != 0 || x.Shape[0] != 2 {
		t.Error("a clone shares data or shape")
	}
	if s := NewTensor(); s.Len() != 1 || s.Check("s") != nil {
		t.Error("a scalar has one element")
	}
}

func TestTensorCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		x    *Tensor
		want []int
		text string // in the error; no error without
	}{
		{"fits", &Tensor{[]int{2, 2}, make([]float32, 4)}, nil, ""},
		{"fits a shape", NewTensor(1, 2, 3), []int{1, 0, 3}, ""},
		{"nil", nil, []int{1, 0}, "x is nil: must be a tensor [1 *]"},
		{"too few values", &Tensor{[]int{2, 2}, make([]float32, 3)}, nil, "shape [2 2]"},
		{"too many values", &Tensor{[]int{2, 2}, make([]float32, 5)}, nil, "x has 5 values: shape [2 2] has 4"},
		{"empty", &Tensor{[]int{0}, nil}, nil, "shape [0]"},
		{"negative", &Tensor{[]int{-2, -2}, make([]float32, 4)}, nil, "dimensions must be positive"},
		{"product overflows", &Tensor{[]int{math.MaxInt, math.MaxInt}, make([]float32, 1)}, nil, "dimensions must be positive"},
		{"another shape", NewTensor(1, 2, 3), []int{1, 0, 4}, "x has shape [1 2 3]: must be [1 * 4]"},
		{"another rank", NewTensor(1, 2), []int{1, 2, 1}, "must be [1 2 1]"},
	} {
		err := c.x.Check("x", c.want...)
		if c.text == "" && err != nil || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.text)
		}
	}
}
