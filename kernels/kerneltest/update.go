package kerneltest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/ref"
)

// tensors is a source of random weights in memory.
type tensors struct {
	byName map[string]kernels.Tensor
	data   map[string][]byte
	refuse string // a tensor that has no data
}

var errRefused = errors.New("refused")

// randomTensors has every weight of a plan, of normal deviates over the root of the fan-in.
func randomTensors(plan *kernels.Plan, seed uint64) *tensors {
	s := &tensors{byName: map[string]kernels.Tensor{}, data: map[string][]byte{}}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, t := range plan.Tensors {
		if t.Role != kernels.Weight || s.data[t.Name] != nil {
			continue
		}
		_, columns := kernels.Matrix(t.Shape)
		data := make([]byte, t.Bytes())
		for i := range t.Len() {
			setFloat(t.DType, data, i, float32(r.NormFloat64()/math.Sqrt(float64(columns))))
		}
		s.byName[t.Name], s.data[t.Name] = t, data
	}
	return s
}

// Names implements kernels.Source.
func (s *tensors) Names() []string {
	var names []string
	for name := range s.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Describe implements kernels.Source.
func (s *tensors) Describe(name string) (kernels.DType, []int, error) {
	t, ok := s.byName[name]
	if !ok {
		return 0, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, t.Shape, nil
}

// Tensor implements kernels.Source.
func (s *tensors) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, err := s.Describe(name)
	if name == s.refuse {
		err = errRefused
	}
	return dtype, shape, s.data[name], err
}

// Storage implements kernels.Source.
func (s *tensors) Storage(string) kernels.Storage { return kernels.Kept }

// Release implements kernels.Source.
func (s *tensors) Release() error { return nil }

func setFloat(dtype kernels.DType, data []byte, i int, f float32) {
	switch dtype {
	case kernels.F16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToF16(f))
	case kernels.BF16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToBF16(f))
	default:
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(f))
	}
}

// exactProducts are products of powers of two that leave every sum exact in float32, so that all devices give the same
// bits: W is a multiple of 2⁻²⁴ below 8, or rounded to 16 bits anyway.
func exactProducts(shape []int, n int) []kernels.LowRank {
	rows, columns := kernels.Matrix(shape)
	products := make([]kernels.LowRank, 0, n)
	for k := range n {
		p := kernels.LowRank{Rank: 2 + 3*k, Scale: 0.5}
		p.Up, p.Down = make([]float32, rows*p.Rank), make([]float32, p.Rank*columns)
		for row := range rows { // one term of each row is not zero
			p.Up[row*p.Rank+row%p.Rank] = []float32{0.25, -0.125}[row%2]
		}
		for i := range p.Down {
			p.Down[i] = []float32{0.5, -1, 0, 0.25, 1}[(i+k)%5]
		}
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
	}{{1, 8, []int{1}}, {70, 136, []int{3}}, {133, 72, []int{32, 5}}, {17, 40, []int{700}}, {491, 264, []int{32}}, {12, 24, nil}} {
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
	normal := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(scale * r.NormFloat64())
		}
		return x
	}
	var products []kernels.LowRank
	for i, rank := range ranks {
		products = append(products, kernels.LowRank{Rank: rank, Scale: 0.7 - float32(i), Up: normal(rows*rank, 0.1), Down: normal(rank*columns, 0.1)})
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
