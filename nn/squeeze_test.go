package nn

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestBindSqueezes takes 1×1 convolutions for matrices and matrices for 1×1 convolutions, and nothing else for the
// other.
func TestBindSqueezes(t *testing.T) {
	type conv struct {
		Proj *Conv2d `weight:"proj"`
	}
	type linear struct {
		Proj *Linear `weight:"proj"`
	}
	stored := func(m any) kernels.Source { return weights.Synthetic("test", Shapes(m), kernels.F32) }
	for name, c := range map[string]struct {
		src    kernels.Source
		module any
		shape  string // nothing where it is refused
		want   string // the error
	}{
		"a convolution as a matrix":       {stored(&conv{NewConv2d(6, 4, 1)}), &linear{NewLinear(6, 4, true)}, "[4 6]", ""},
		"a matrix as a convolution":       {stored(&linear{NewLinear(6, 4, true)}), &conv{NewConv2d(6, 4, 1)}, "[4 6 1 1]", ""},
		"a wider one as a matrix":         {stored(&conv{NewConv2d(6, 4, 3)}), &linear{NewLinear(6, 4, true)}, "", "proj.weight [4 6 3 3], want [4 6]"},
		"a matrix as a wider one":         {stored(&linear{NewLinear(6, 4, true)}), &conv{NewConv2d(6, 4, 3)}, "", "proj.weight [4 6], want [4 6 3 3]"},
		"another matrix as one":           {stored(&linear{NewLinear(5, 4, true)}), &conv{NewConv2d(6, 4, 1)}, "", "proj.weight [4 5], want [4 6 1 1]"},
		"another convolution as a matrix": {stored(&conv{NewConv2d(5, 4, 1)}), &linear{NewLinear(6, 4, true)}, "", "proj.weight [4 5 1 1], want [4 6]"},
	} {
		bound, err := Bind(c.module, c.src)
		if err != nil {
			if c.shape != "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q%s", name, err, c.want, c.shape)
			}
			continue
		}
		_, tensor, data, err := bound.Tensor("proj.weight")
		_, described, derr := bound.Describe("proj.weight")
		if err := errors.Join(err, derr); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _, unbound, err := c.src.Tensor("proj.weight")
		if fmt.Sprint(tensor) != c.shape || fmt.Sprint(described) != c.shape || err != nil || !bytes.Equal(data, unbound) {
			t.Errorf("%s: shape %v, described as %v, want %s and the same bytes", name, tensor, described, c.shape)
		}
	}
}
