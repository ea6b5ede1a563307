package kerneltest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/ref"
)

// Merges checks what low-rank products make of a matrix, of every type and of odd sizes: it is read through a product
// with rows of the identity, which is exact. An element may be what any sum in float32 rounds to that is as near to the exact
// one as ref.Merge says, which for 16 bits is the value that the exact sum rounds to or, near a tie, its neighbour.
func Merges(t testing.TB, d kernels.Device, o kernels.Options) {
	t.Helper()
	precision := o.Precision
	if precision == 0 {
		precision = cases.Precision(d)
	}
	for _, c := range []struct {
		rows, columns int
		ranks         []int
	}{{1, 8, []int{1}}, {70, 136, []int{3}}, {133, 72, []int{32, 5}}, {17, 40, []int{700}}, {491, 264, []int{32}}, {9, 1416, []int{40}}, {12, 24, nil}} {
		for _, dtype := range []kernels.DType{kernels.F16, kernels.BF16, kernels.F32} {
			what := fmt.Sprintf("%v [%d %d] ranks %v", dtype, c.rows, c.columns, c.ranks)
			differ, err := merge(d, o, precision, dtype, c.rows, c.columns, c.ranks)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			t.Logf("%s: %d elements differ from the exact sum", what, differ)
		}
	}
}

// merge counts the elements that differ from the exact sum, which an error says to be more than they may.
func merge(d kernels.Device, o kernels.Options, precision, dtype kernels.DType, rows, columns int, ranks []int) (differ int, err error) {
	ctx := context.Background()
	weight := kernels.Tensor{Name: "w", Role: kernels.Weight, DType: dtype, Shape: []int{rows, columns}}
	var read []int // columns: of many every fifth, and the last
	for c := columns - 1; c >= 0; c-- {
		if columns <= 140 || c%5 == 0 || c >= columns-8 {
			read = append(read, c)
		}
	}
	plan := &kernels.Plan{
		Tensors: []kernels.Tensor{
			{Name: "x", Role: kernels.Step, DType: kernels.F32, Shape: []int{len(read), columns}}, weight,
			{Name: "y", Role: kernels.Result, DType: kernels.F32, Shape: []int{len(read), rows}},
		},
		Nodes: []kernels.Node{{Spec: kernels.Linear{}, Path: "read", In: []kernels.Value{0, 1}, Out: []kernels.Value{2}}},
	}
	source := randomTensors(plan, 3)
	r := rand.New(rand.NewPCG(4, uint64(rows)))
	types := []kernels.DType{kernels.F32, kernels.F16, kernels.BF16}
	normal := func(n, i int) kernels.Factor {
		x := make([]float32, n)
		for k := range x {
			x[k] = float32(0.1 * r.NormFloat64())
		}
		return factor(types[i%3], x)
	}
	var products []kernels.LowRank
	for i, rank := range ranks {
		products = append(products, kernels.LowRank{Rank: rank, Scale: 0.7 - float32(i), Up: normal(rows*rank, i+rank), Down: normal(rank*columns, i+rank/3)})
	}
	w, err := d.NewWeights(source)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p, err := d.Compile(plan, w, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	identity := make([]byte, plan.Tensors[0].Bytes())
	for i, c := range read {
		setFloat(kernels.F32, identity, i*columns+c, 1)
	}
	got := make([]byte, plan.Tensors[2].Bytes())
	if err := errors.Join(w.Update(ctx, &kernels.Update{LowRank: map[string][]kernels.LowRank{"w": products}}),
		p.Write(0, identity), p.Run(ctx), p.Read(ctx, 2, got)); err != nil {
		return 0, err
	}
	sums, bound := ref.Merge(dtype, weight.Shape, source.data["w"], products)
	round := func(x float64) float32 { // as the file's type and the device's precision have it
		return rounded(precision, rounded(dtype, float32(x)))
	}
	for k := range len(read) * rows {
		row, column := k%rows, read[k/rows]
		i := row*columns + column
		f := math.Float32frombits(binary.LittleEndian.Uint32(got[4*k:]))
		if low, high := round(sums[i]-bound[i]), round(sums[i]+bound[i]); !(low <= f && f <= high) {
			return differ, fmt.Errorf("element [%d %d] is %g, must be %g to %g", row, column, f, low, high)
		}
		if f != round(sums[i]) {
			differ++
		}
	}
	return differ, nil
}

func rounded(dtype kernels.DType, f float32) float32 {
	switch dtype {
	case kernels.F16:
		return kernels.FromF16(kernels.ToF16(f))
	case kernels.BF16:
		return kernels.FromBF16(kernels.ToBF16(f))
	}
	return f
}
