package cases

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

func oddElementwise() []Case {
	var cases []Case
	for _, a := range []kernels.Activation{kernels.Identity, kernels.SiLU, kernels.GELU, kernels.QuickGELU, kernels.ReLU, kernels.SoftClamp, kernels.LeakyReLU, kernels.GEGLU} {
		for _, n := range []int{2, 6, 34, 130} {
			c := Case{Name: fmt.Sprintf("activate/odd %v %d", a, n), Spec: kernels.Activate{Act: a}}.with(true, x("x", 3, n))
			cases = append(cases, c.fill(0, Fill{Scale: 3}))
		}
		c := Case{Name: fmt.Sprintf("activate/saturated %v", a), Spec: kernels.Activate{Act: a}}.with(true, x("x", 5, 18))
		cases = append(cases, c.fill(0, Fill{Values: []float32{-1e4, -200, -89, -88, -20, -5, -1e-3, 0, 1e-3, 5, 20, 88, 89, 200, 1e4, -1, 1}}))
	}
	for i, n := range oddSizes {
		m := oddSizes[len(oddSizes)-1-i]
		cases = append(cases,
			Case{Name: fmt.Sprintf("add/odd %d", n), Spec: kernels.Add{}}.with(true, x("x", 2, n)).with(true, x("y", 2, n)),
			Case{Name: fmt.Sprintf("add/odd rows %d", n), Spec: kernels.Add{Rows: true}}.with(true, x("x", 3, 2, m, n)).with(true, x("y", 3, n)),
			Case{Name: fmt.Sprintf("add masked/odd %d", n), Spec: kernels.AddMasked{}}.with(true, x("x", 2, m, 3, n)).with(true, x("y", 2, m, 3, n)).with(true, x("mask", 2, 3*m)),
			Case{Name: fmt.Sprintf("add masked/odd %d groups of %d", m, n), Spec: kernels.AddMasked{}}.with(true, x("x", 2, 3, m*n)).with(true, x("y", 2, 3, m*n)).with(true, x("mask", 2, 3*m)),
			Case{Name: fmt.Sprintf("prelu/odd %d", n), Spec: kernels.PReLU{}}.with(true, x("x", 2, m, n)).with(true, bias(WeightTypes[i%3], n)),
			Case{Name: fmt.Sprintf("concat/odd %d+%d", n, m), Spec: kernels.Concat{}}.with(true, x("x", 2, 3, n)).with(true, x("y", 2, 3, m)),
			Case{Name: fmt.Sprintf("concat/odd tokens %d+%d", n, m), Spec: kernels.Concat{Tokens: true}}.with(true, x("x", 2, n, 5)).with(true, x("y", 2, m, 5)),
			Case{Name: fmt.Sprintf("resize/odd %d to %d", n, m), Spec: kernels.Resize{H: m, W: n + 1}}.with(true, x("x", 2, n, m, 3)))
	}
	return append(cases,
		Case{Name: "prelu/eights", Spec: kernels.PReLU{}}.with(true, x("x", 3, 7, 64)).with(true, bias(kernels.F16, 64)),
		Case{Name: "resize/twice", Spec: kernels.Resize{H: 14, W: 10}}.with(true, x("x", 3, 7, 5, 8)),
		Case{Name: "resize/odd 9 to 17", Spec: kernels.Resize{H: 17, W: 17}}.with(true, x("x", 1, 9, 9, 4)))
}

// oddRows choose rows by number, outside of the table too.
func oddRows() []Case {
	var cases []Case
	for i, c := range oddSizes {
		cases = append(cases,
			embedding(fmt.Sprintf("odd %d", c), WeightTypes[i%3], 1+i%3, 7, 11, 7+i%2, c, 10, 0, 3, 3, 9),
			Case{Name: fmt.Sprintf("gather/odd %d", c), Spec: kernels.Gather{}}.
				with(true, x("x", 3, 7, c)).with(true, ids("rows", []int{3}, 6, 0, int32(i))))
	}
	for _, bad := range []int32{-1, 11, 1 << 30, -1 << 31} {
		c := embedding(fmt.Sprintf("id %d of 11", bad), kernels.F32, 1, 3, 11, 3, 8, 1, bad, 2)
		c.Fails = true
		g := Case{Name: fmt.Sprintf("gather/row %d of 11", bad), Spec: kernels.Gather{}, Fails: true}.
			with(true, x("x", 1, 11, 8)).with(true, ids("rows", []int{1}, bad))
		cases = append(cases, c, g)
	}
	return cases
}

func oddDenoise() []Case {
	var cases []Case
	for _, dim := range []int{2, 3, 5, 8, 256, 320, 321} {
		for i, cosFirst := range []bool{true, false} {
			s := kernels.Sinusoid{Dim: dim, CosFirst: cosFirst, FreqShift: float64(i * min(1, dim/2-1))}
			c := Case{Name: fmt.Sprintf("sinusoid/%d cosine first=%t", dim, cosFirst), Spec: s}.with(true, x("t", 2, 6))
			c.In[0].Role = kernels.Step
			cases = append(cases, c.fill(0, Fill{Values: []float32{0, 1, 981, 999, 1024, 0.25, 500.5, 6, 2.5}}))
		}
	}
	for i, n := range oddSizes {
		cases = append(cases,
			Case{Name: fmt.Sprintf("scale/odd %d", n), Spec: kernels.ScaleRepeat{Times: 1 + i%3}}.
				with(true, x("x", 1+i%2, n, 3)).with(true, numbers("scale", -0.37)),
			Case{Name: fmt.Sprintf("pixels/odd %d", n), Spec: kernels.ToPixels{}}.with(true, x("x", 1+i%2, n, 5, 3)),
			Case{Name: fmt.Sprintf("pixels/from odd %d", n), Spec: kernels.FromPixels{}}.with(true, pixels("v", 1+i%2, n, 5, 4)),
			guidance(fmt.Sprintf("odd %d", n), kernels.Guidance{}, 0, 2+2*(i%3), n, 3),
			guidance(fmt.Sprintf("odd rescaled %d", n), kernels.Guidance{Rescale: true}, 0.7, 2+2*(i%3), n, 3))
	}
	levels := make([]float32, 0, 3*257) // every byte's value, the middles between two, and beyond the ends
	for i := range 257 {
		levels = append(levels, float32(2*i)/255-1, float32(2*i+1)/255-1, float32(i-128))
	}
	cases = append(cases, Case{Name: "pixels/levels", Spec: kernels.ToPixels{}}.with(true, x("x", 1, 1, 257, 3)).fill(0, Fill{Values: levels}))
	cases = append(cases, guidance("off", kernels.Guidance{Rescale: true}, 0, 4, 5, 5, 4))
	for history := range 5 {
		for _, clip := range []float32{0, 0.8} {
			shape := []int{1 + history%3, 5, 7, 4}
			name := fmt.Sprintf("history %d clip %v", history, clip)
			all := solver(name, history, coefficients(history, nil, clip), shape...)
			cases = append(cases, all)

			unread := []int{noiseColumn} // and the oldest of the history
			sparse := solver(name+", unread operands", history, coefficients(history, unread, clip), shape...).fill(2, Fill{Values: nan})
			if history > 0 {
				unread = append(unread, noiseColumn+history)
				sparse = sparse.fill(3, Fill{Values: coefficients(history, unread, clip)}).fill(3+history, Fill{Values: nan})
			}
			cases = append(cases, sparse)

			inPlace := all
			inPlace.Name += ", in place"
			inPlace.Into = []int{0}
			for k := range history {
				inPlace.Into = append(inPlace.Into, 4+k)
			}
			cases = append(cases, inPlace)
		}
	}
	// m alone unread: x0 from x, m's own column zero; then nothing read but one history.
	noModel := coefficients(0, []int{modelColumn}, 0)
	noModel[1] = 0
	one := make([]float32, kernels.Solver{History: 1}.Coefficients())
	one[3+historyColumn], one[3+5+0] = 1, 1
	return append(cases,
		solver("model unread", 0, noModel, 1, 3, 3, 4).fill(1, Fill{Values: nan}),
		solver("estimate unread", 1, one, 1, 3, 3, 4).fill(1, Fill{Values: nan}).fill(2, Fill{Values: nan}))
}

// Columns of a solver's matrix.
const (
	modelColumn = 2 + iota
	noiseColumn
	historyColumn
)

// coefficients are dense numbers of unit scale with zeros in the unread columns.
func coefficients(history int, unread []int, clip float32) []float32 {
	c := []float32{1.25, -0.75, clip}
	for row := range 1 + history {
		for col := range 4 + history {
			c = append(c, 1-float32((3*row+5*col)%7)/4+1.0/16)
		}
	}
	for _, col := range unread {
		for row := range 1 + history {
			c[3+row*(4+history)+col] = 0
		}
	}
	return c
}
