package kerneltest

import (
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
)

// TestElementsAtEdges holds that of an image both sides of each edge are judged: where its rows end, and where a sample
// does.
func TestElementsAtEdges(t *testing.T) {
	for _, shape := range [][]int{{2, 128, 128, 320}, {2, 64, 48, 4}, {3, 1024, 640, 3}} {
		judged := map[int]bool{}
		c := cases.Case{Name: "edges", Big: true}
		width := shape[3]
		for _, e := range elements(c, shape) {
			judged[e/width] = true
		}
		rows, sample := shape[2], shape[1]*shape[2]
		for _, row := range []int{0, rows - 1, rows, sample - 1, sample, shape[0]*sample - 1} {
			if !judged[row] {
				t.Errorf("%v: position %d is not judged", shape, row)
			}
		}
	}
}

// TestPlain holds the yardstick of the 16-bit precisions to what a device of 16 bits does: weights are rounded before
// they are used, and so is the result.
func TestPlain(t *testing.T) {
	for precision, round := range map[kernels.DType]func(float32) float32{
		kernels.F16:  func(v float32) float32 { return kernels.FromF16(kernels.ToF16(v)) },
		kernels.BF16: func(v float32) float32 { return kernels.FromBF16(kernels.ToBF16(v)) },
		kernels.F32:  func(v float32) float32 { return v },
	} {
		for _, dtype := range cases.WeightTypes {
			c := cases.Case{Name: "plain", Spec: kernels.Linear{}, In: []kernels.Tensor{
				{Name: "x", Role: kernels.State, DType: kernels.F32, Shape: []int{3, 5}},
				{Name: "weight", Role: kernels.Weight, DType: dtype, Shape: []int{2, 5}},
			}, Fill: []cases.Fill{{Scale: 1}, {Scale: 0.4}}}
			_, in := c.Operands(precision)
			stored := slices.Clone(in[1].F)
			var want []float32
			for row := range 3 {
				for n := range 2 {
					var sum float32
					for k := range 5 {
						sum += in[0].F[row*5+k] * round(in[1].F[n*5+k])
					}
					want = append(want, round(sum))
				}
			}
			got, err := plain(c, in, 0, []int{0, 1, 2, 3, 4, 5}, precision)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("weights of %v in %v: %v, %v, want %v", dtype, precision, got, err, want)
			}
			if !slices.Equal(in[1].F, stored) {
				t.Errorf("weights of %v in %v: those that the truth is computed from were rounded", dtype, precision)
			}
		}
	}
}

// TestElements checks that corners are always judged and indices ascend within the output.
func TestElements(t *testing.T) {
	for _, c := range cases.All() {
		out, err := c.Spec.Infer(c.In)
		if err != nil {
			t.Fatal(err)
		}
		e := elements(c, out[0].Shape)
		if !c.Big {
			if e != nil {
				t.Errorf("%s: judged at %d elements, want all", c.Name, len(e))
			}
			continue
		}
		n := out[0].Len()
		if e[0] != 0 || e[len(e)-1] != n-1 || !slices.IsSorted(e) || len(slices.Compact(slices.Clone(e))) != len(e) || len(e) < min(n, 40) || len(e) > judgedRows*judgedCols {
			t.Errorf("%s: %d elements from %d to %d of %d", c.Name, len(e), e[0], e[len(e)-1], n)
		}
	}
}
