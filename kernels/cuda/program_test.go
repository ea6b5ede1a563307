package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	oracle "github.com/goxl/goxl/kernels/ref"
)

// waves is a source whose tensors are fixed waves of unit scale over the fan-in.
type waves struct{ zeros }

func (w waves) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := w.zeros[name]
	if !ok {
		return w.zeros.Tensor(name)
	}
	return t.DType, t.Shape, floatBytes(wave(t.Len(), len(name), 1.4/math.Sqrt(float64(t.Shape[len(t.Shape)-1])))), nil
}

func wave(n, seed int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * math.Sin(float64(i)*1.7+float64(seed)))
	}
	return x
}

func floatBytes(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, f := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

func floats(b []byte) []float32 {
	x := make([]float32, len(b)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return x
}

// checkPrograms tests what a single node does not show: states over several runs, hoisting, a shared arena, swapping,
// copies, and Finite's errors.
func checkPrograms(t *testing.T, d *Device) {
	ctx := context.Background()
	plan := chain()
	source := waves{sourceOf(plan)}
	w, err := d.NewWeights(source)
	if err != nil {
		t.Fatal(err)
	}
	compile := func() kernels.Program {
		t.Helper()
		p, err := d.Compile(plan, w, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(p kernels.Program, v kernels.Value) []float32 {
		t.Helper()
		b := make([]byte, plan.Tensors[v].Bytes())
		must(p.Read(ctx, v, b))
		return floats(b)
	}
	const prompt, x, y, coefficients = 0, 3, 6, 7
	a, b := compile(), compile()
	request, state := wave(48, 1, 1), wave(80, 2, 1)
	step := []float32{1, -0.5, 0, 0, 1, 0, 0} // x' = x − y/2
	for _, p := range []kernels.Program{a, b} {
		must(p.Write(prompt, floatBytes(request)))
		must(p.Write(x, floatBytes(state)))
		must(p.Write(coefficients, floatBytes(step)))
	}
	matrix := func(name string, rows, columns int) oracle.Tensor {
		_, _, data, err := source.Tensor(name)
		must(err)
		return oracle.Tensor{Shape: []int{rows, columns}, F: floats(data)}
	}
	expect := func(request, x []float32) (y, next []float32) {
		t.Helper()
		run := func(s kernels.Spec, in ...oracle.Tensor) oracle.Tensor {
			out, err := oracle.Run(s, in)
			must(err)
			return out[0]
		}
		h := run(kernels.Linear{}, oracle.Tensor{Shape: []int{2, 24}, F: request}, matrix("w", 40, 24))
		now := oracle.Tensor{Shape: []int{2, 40}, F: x}
		out := run(kernels.Linear{}, run(kernels.Add{}, now, h), matrix("v", 40, 40))
		return out.F, run(kernels.Solver{}, now, out, out, oracle.Tensor{Shape: []int{7}, F: step}).F
	}
	tolerance := 0.02 // some forty units in the last place of sums near 1; bfloat16's are eight times as large
	if d.Info().Precisions[0] == kernels.BF16 {
		tolerance *= 8
	}
	near := func(what string, got, want []float32) {
		t.Helper()
		for i := range want {
			if e := math.Abs(float64(got[i] - want[i])); !(e <= tolerance) {
				t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
			}
		}
	}
	// Two programs alternate in one arena.
	xa, xb := state, state
	for range 4 {
		ya, na := expect(request, xa)
		must(a.Run(ctx))
		near("a's result", read(a, y), ya)
		near("a's state", read(a, x), na)
		_, nb := expect(request, xb)
		must(b.Run(ctx))
		near("b's state", read(b, x), nb)
		xa, xb = read(a, x), read(b, x)
	}
	if !slices.Equal(xa, xb) {
		t.Error("two programs of one plan differ")
	}
	// A new request takes effect; swapping the weights changes no bit.
	other := wave(48, 5, 1)
	must(a.Write(prompt, floatBytes(other)))
	must(a.Run(ctx))
	ya, _ := expect(other, xa)
	near("result of another request", read(a, y), ya)
	kept := read(a, y)
	must(w.SetResident(ctx, false))
	must(a.Write(x, floatBytes(xa)))
	must(a.Run(ctx))
	if !slices.Equal(kept, read(a, y)) {
		t.Error("results differ after the weights came back")
	}
	// From one program to another.
	must(b.CopyFrom(x, a, y))
	if !slices.Equal(read(b, x), kept) {
		t.Error("CopyFrom copied something else")
	}
	// Finite names the node whose output is not finite, and changes no value.
	must(a.Finite(ctx))
	bad := slices.Clone(other)
	bad[30] = float32(math.NaN())
	must(a.Write(prompt, floatBytes(bad)))
	must(a.Run(ctx))
	now := read(a, x)
	for _, want := range []bool{true, false} {
		if now := a.NonFinite(); now != want {
			t.Errorf("NonFinite says %v, want %v", now, want)
		}
		if nonFinite, err := a.Sync(ctx); nonFinite != want || err != nil {
			t.Errorf("Sync says %v, %v, want %v", nonFinite, err, want)
		}
	}
	for range 2 {
		if err := a.Finite(ctx); err == nil || !strings.HasPrefix(err.Error(), "hoisted ") {
			t.Errorf("Finite says %v, want an error that names the hoisted node", err)
		}
	}
	if again := read(a, x); string(floatBytes(again)) != string(floatBytes(now)) {
		t.Error("Finite changed a state")
	}
	must(a.Write(prompt, floatBytes(request)))
	bad = slices.Clone(state)
	bad[7] = 1e30 // infinite in the first 16-bit value made of it, if that is float16, and in the product anyway
	must(a.Write(x, floatBytes(bad)))
	must(a.Run(ctx))
	if err := a.Finite(ctx); d.Info().Precisions[0] == kernels.F16 && (err == nil || !strings.HasPrefix(err.Error(), "sum ")) {
		t.Errorf("Finite says %v, want an error that names the sum", err)
	}
	must(a.Write(x, floatBytes(state)))
	must(a.Run(ctx))
	must(a.Finite(ctx))
	if nonFinite, err := a.Sync(ctx); nonFinite != (d.Info().Precisions[0] == kernels.F16) || err != nil {
		t.Errorf("Sync says %v, %v, though a run before the last one was not finite", nonFinite, err)
	}
	near("after all that", read(a, y), func() []float32 { y, _ := expect(request, state); return y }())
	must(errors.Join(a.Close(), b.Close(), w.Close()))
}

func TestPrograms(t *testing.T) {
	for _, p := range []kernels.DType{kernels.F16, kernels.BF16} {
		t.Run(p.String(), func(t *testing.T) { checkPrograms(t, card(t, Options{Precision: p})) })
	}
}
