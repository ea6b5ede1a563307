package kerneltest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// exactProducts are products of powers of two that leave every sum exact in float32, so that all devices give the same
// bits: W is a multiple of 2⁻²⁴ below 8, or rounded to 16 bits anyway.
func exactProducts(shape []int, n int) []kernels.LowRank {
	rows, columns := kernels.Matrix(shape)
	products := make([]kernels.LowRank, 0, n)
	for k := range n {
		p := kernels.LowRank{Rank: 2 + 3*k, Scale: 0.5}
		up, down := make([]float32, rows*p.Rank), make([]float32, p.Rank*columns)
		for row := range rows { // one term of each row is not zero
			up[row*p.Rank+row%p.Rank] = []float32{0.25, -0.125}[row%2]
		}
		for i := range down {
			down[i] = []float32{0.5, -1, 0, 0.25, 1}[(i+k)%5]
		}
		p.Up, p.Down = factor(kernels.F16, up), factor(kernels.F32, down)
		products = append(products, p)
	}
	return products
}

// Updates checks that weights take updates: programs of two compilations compute after each, also where weights left the
// device in between, bit by bit what a program does whose weights were made with the updated tensors; after an update
// that failed or was cancelled they compute what they did before; and what the weights take of the device's memory
// comes back. The plan has weights of 16 bits or, if they are float32, ones that exact sums can be added to.
func Updates(t testing.TB, d kernels.Device, plan *kernels.Plan, o kernels.Options) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	source, other := randomTensors(plan, 1), randomTensors(plan, 2)
	names := source.Names()
	all := &kernels.Update{Source: other, Whole: names}
	some, low := &kernels.Update{Source: other}, &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	both := &kernels.Update{Source: other, LowRank: map[string][]kernels.LowRank{}}
	for i, name := range names {
		if i%3 == 0 {
			some.Whole = append(some.Whole, name)
		}
		if data := source.data[name]; source.byName[name].DType == kernels.F32 { // to multiples of 2⁻²⁰
			for k := range len(data) / 4 {
				f := math.Float32frombits(binary.LittleEndian.Uint32(data[4*k:]))
				setFloat(kernels.F32, data, k, float32(math.Round(float64(f)*0x1p20)*0x1p-20))
			}
		}
		low.LowRank[name] = exactProducts(source.byName[name].Shape, i%3) // of some none
		if i%2 == 0 {
			both.Whole = append(both.Whole, name)
		} else {
			both.LowRank[name] = exactProducts(source.byName[name].Shape, 1)
		}
	}
	run := func(p kernels.Program, write bool) []byte {
		t.Helper()
		out, err := outputs(ctx, plan, p, write)
		must(err)
		return out
	}
	want := map[*kernels.Update][]byte{}
	for _, u := range []*kernels.Update{nil, all, some, low, both} {
		w, err := d.NewWeights(ref.Updated(source, u))
		must(err)
		p, err := d.Compile(plan, w, o)
		must(err)
		want[u] = run(p, true)
		must(errors.Join(p.Close(), w.Close()))
		if u != nil && bytes.Equal(want[u], want[nil]) {
			t.Fatal("an update changes nothing")
		}
	}
	w, err := d.NewWeights(source)
	must(err)
	var programs [2]kernels.Program
	for i := range programs {
		programs[i], err = d.Compile(plan, w, o)
		must(err)
		if !bytes.Equal(run(programs[i], true), want[nil]) {
			t.Fatal("two programs of one plan differ")
		}
	}
	computes := func(what string, u *kernels.Update) {
		t.Helper()
		for i, p := range programs {
			if !bytes.Equal(run(p, false), want[u]) {
				t.Errorf("%s: program %d computes something else than one of weights with the updated tensors", what, i)
			}
		}
	}
	bytesAtFirst := w.Bytes()
	must(w.Update(ctx, all))
	computes("all tensors from elsewhere", all)
	must(w.Update(ctx, some))
	computes("some tensors from elsewhere", some)
	must(w.Update(ctx, low))
	computes("products", low)
	must(w.SetResident(ctx, false))
	computes("products, after the weights came back", low)
	must(w.Update(ctx, both))
	computes("tensors from elsewhere and products", both)
	must(w.SetResident(ctx, false))
	must(w.Update(ctx, some))
	computes("an update of what is not resident", some)
	must(w.Update(ctx, nil))
	computes("as at first", nil)
	if n := w.Bytes(); n != bytesAtFirst {
		t.Errorf("weights take %d bytes after updates, %d at first", n, bytesAtFirst)
	}

	// What goes wrong leaves the update before.
	must(w.Update(ctx, low))
	other.refuse = names[len(names)-1]
	if err := w.Update(ctx, all); !errors.Is(err, errRefused) {
		t.Errorf("an update without a tensor's data: %v, want %v", err, errRefused)
	}
	other.refuse = ""
	computes("after an update that failed", low)
	other.stuck = true
	if err := w.Update(ctx, all); !errors.Is(err, errRefused) {
		t.Errorf("an update whose source can't be released: %v, want %v", err, errRefused)
	}
	other.stuck = false
	computes("after an update whose source could not be released", low)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Update(cancelled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an update that was cancelled: %v, want %v", err, context.Canceled)
	}
	computes("after an update that was cancelled", low)
	if err := w.Update(ctx, &kernels.Update{Source: other, Whole: []string{"nothing"}}); err == nil {
		t.Error("an update of a tensor that the weights do not have is taken")
	}
	computes("after an update that does not fit", low)
	must(w.Update(ctx, &kernels.Update{}))
	computes("after an update of nothing", nil)
	p, err := d.Compile(plan, w, o)
	must(err)
	must(w.Update(ctx, both))
	programs[0], p = p, programs[0]
	if _, err := outputs(ctx, plan, programs[0], true); err != nil {
		t.Fatal(err)
	}
	computes("a program that was compiled before the update", both)
	must(errors.Join(p.Close(), programs[0].Close(), programs[1].Close(), w.Close()))
	if err := w.Update(ctx, nil); err == nil {
		t.Error("closed weights take an update")
	}
}

// outputs runs a program and returns all of its results. Inputs are waves, written if asked for.
func outputs(ctx context.Context, plan *kernels.Plan, p kernels.Program, write bool) (all []byte, err error) {
	for v, t := range plan.Tensors {
		if !write && t.Role != kernels.State || t.Role != kernels.Request && t.Role != kernels.Step && t.Role != kernels.State {
			continue
		}
		data := make([]byte, t.Bytes())
		for i := range t.Len() {
			if t.DType == kernels.F32 {
				setFloat(t.DType, data, i, float32(math.Sin(1.7*float64(i)+float64(v))))
			}
		}
		if err := p.Write(kernels.Value(v), data); err != nil {
			return nil, err
		}
	}
	if err := p.Run(ctx); err != nil {
		return nil, err
	}
	for v, t := range plan.Tensors {
		if t.Role != kernels.Result {
			continue
		}
		data := make([]byte, t.Bytes())
		if err := p.Read(ctx, kernels.Value(v), data); err != nil {
			return nil, err
		}
		for i := range len(data) / 4 {
			if f := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])); t.DType == kernels.F32 && !(math.Abs(float64(f)) <= math.MaxFloat32) {
				return nil, fmt.Errorf("element %d of %v is %g", i, t, f)
			}
		}
		all = append(all, data...)
	}
	return all, nil
}
