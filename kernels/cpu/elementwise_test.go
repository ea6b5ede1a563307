package cpu

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestElementwise(t *testing.T) {
	x, y := random(2, 0, 2, 31, 9, 66), random(1, 0, 2, 31, 9, 66)
	quick := func(x float64) float64 { return x / (1 + math.Exp(-float64(quickMul)*x)) }
	for act, f := range map[kernels.Activation]func(float64) float64{
		kernels.Identity: func(x float64) float64 { return x }, kernels.SiLU: siluTrue, kernels.GELU: trueGELU, kernels.QuickGELU: quick,
	} {
		compute(t, act.String(), kernels.Activate{Act: act}, []operand{x}, 2*eps32, mapped(x.x, f))
	}
	geglu := make([]float64, len(x.x)/2)
	for i := range geglu {
		r, c := i/33, i%33
		geglu[i] = float64(x.x[r*66+c]) * trueGELU(float64(x.x[r*66+33+c]))
	}
	compute(t, "geglu", kernels.Activate{Act: kernels.GEGLU}, []operand{x}, 2*eps32, geglu)

	sum, rows, row := f64(x.x), f64(x.x), random(1, 0, 2, 66)
	for i := range sum {
		sum[i] += float64(y.x[i])
		rows[i] += float64(row.x[i/(31*9*66)*66+i%66])
	}
	compute(t, "add", kernels.Add{}, []operand{x, y}, 2*eps32, sum)
	compute(t, "add rows", kernels.Add{Rows: true}, []operand{x, row}, 2*eps32, rows)

	z := random(1, 0, 2, 31, 9, 7)
	joined := make([]float64, 2*31*9*73)
	for i := range joined {
		if r, c := i/73, i%73; c < 66 {
			joined[i] = float64(x.x[r*66+c])
		} else {
			joined[i] = float64(z.x[r*7+c-66])
		}
	}
	compute(t, "concat", kernels.Concat{}, []operand{x, z}, 0, joined)

	resized := make([]float64, 2*62*20*7)
	for i := range resized {
		b, r, col, c := i/(62*20*7), i/(20*7)%62, i/7%20, i%7
		resized[i] = float64(z.x[((b*31+r*31/62)*9+col*9/20)*7+c])
	}
	compute(t, "resize", kernels.Resize{H: 62, W: 20}, []operand{z}, 0, resized)
}

func TestTables(t *testing.T) {
	ids := operand{shape: []int{2, 3}, ids: []int32{0, 4, 2, 1, 1, 3}}
	for _, dtype := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
		tokens, positions := random(1, 0, 5, 11).weight(dtype), random(1, 0, 4, 11).weight(dtype)
		want := make([]float64, 2*3*11)
		for i := range want {
			want[i] = float64(tokens.x[int(ids.ids[i/11])*11+i%11]) + float64(positions.x[i/11%3*11+i%11])
		}
		compute(t, "embedding "+dtype.String(), kernels.Embedding{}, []operand{ids, tokens, positions}, eps32, want)
	}
	x := random(1, 0, 2, 5, 11)
	want := append(f64(x.x[4*11:5*11]), f64(x.x[5*11:6*11])...)
	compute(t, "gather", kernels.Gather{}, []operand{x, {shape: []int{2}, ids: []int32{4, 0}}}, 0, want)

	// What is outside a table is an error that names the node and the number.
	for _, c := range []struct {
		ids  []int32
		rows []int32
		want string
	}{
		{[]int32{0, 5, 1}, []int32{0}, "text.embeddings: token id 5 at 1 of sequence 0: must be 0 to 4"},
		{[]int32{0, -1, 1}, []int32{0}, "text.embeddings: token id -1"},
		{[]int32{0, 4, 1}, []int32{3}, "text.pool: row 3 of sequence 0: must be 0 to 2"},
	} {
		var p planner
		v := p.value(kernels.Request, kernels.I32, "ids", 1, 3)
		rows := p.value(kernels.Request, kernels.I32, "rows", 1)
		e := p.node(t, "text.embeddings", kernels.Embedding{}, kernels.Temp, v,
			p.weight("tokens", make([]float32, 5), kernels.F16, 5, 1), p.weight("positions", make([]float32, 3), kernels.F16, 3, 1))
		p.node(t, "text.pool", kernels.Gather{}, kernels.Result, e[0], rows)
		prog := p.compile(t, newTestDevice(t, Options{}))
		write(t, prog, v, c.ids)
		write(t, prog, rows, c.rows)
		if err := prog.Run(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ids %v, rows %v: error %v, want %q", c.ids, c.rows, err, c.want)
		}
	}
}
