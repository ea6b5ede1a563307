package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
	oracle "github.com/goxl/goxl/kernels/ref"
)

// knownAnswers is a plan of the self-check's tests and its inputs, which have eight significant bits, so that both
// 16-bit types hold them exactly. It is the source of its weights.
type knownAnswers struct {
	plan   kernels.Plan
	values []oracle.Tensor // by value; empty for what the device computes
	tests  []knownAnswer
	state  uint64
}

// knownAnswer is a node whose answer the reference computes from the same operands. result is a float32 copy of the
// node's output, or 0, which is never a result, for a node that only another node reads.
type knownAnswer struct {
	name        string
	spec        kernels.Spec
	in          []kernels.Value
	out, result kernels.Value
}

// newKnownAnswers has shapes that launch the kernels of a model: GEMMs that take TMA tiles on Hopper, with rows,
// columns and depth that fill no tile; a LayerNorm by itself and one that is folded into a GEMM; attention of one tile
// of keys and of several; images with odd sides.
func newKnownAnswers() *knownAnswers {
	q := &knownAnswers{state: 0x9e3779b97f4a7c15}
	const rows, k, out, tokens, text, heads = 150, 200, 208, 200, 77, 2 // heads of 64
	weight := func(scale float64, shape ...int) kernels.Value { return q.random(kernels.Weight, scale, shape...) }
	x, residual := q.input(1, rows, k), q.input(1, rows, k)
	h := q.test("linear layer with bias and residual", kernels.Linear{Bias: true, Residual: true}, []int{1, rows, k}, x, weight(1./16, k, k), weight(1, k), residual)
	gamma, beta := weight(1, k), weight(1, k)
	q.test("layer norm", kernels.LayerNorm{Eps: 1e-5}, []int{1, rows, k}, h, gamma, beta)
	norm := q.node("", kernels.LayerNorm{Eps: 1e-5}, []int{1, rows, k}, h, gamma, beta)
	q.test("linear layer of a layer norm", kernels.Linear{Bias: true}, []int{1, rows, out}, norm, weight(1./16, out, k), weight(1, out))
	q.test("linear layer with GEGLU", kernels.Linear{Bias: true, Act: kernels.GEGLU}, []int{1, rows, out}, h, weight(1./16, 2*out, k), weight(1, 2*out))
	query, key, value := q.input(1, tokens, heads*64), q.input(1, tokens, heads*64), q.input(1, tokens, heads*64)
	q.test("attention of 200 keys", kernels.Attention{Heads: heads}, []int{1, tokens, heads * 64}, query, key, value)
	q.test("attention of 77 keys", kernels.Attention{Heads: heads}, []int{1, tokens, heads * 64}, query, q.input(1, text, heads*64), q.input(1, text, heads*64))
	const height, width, c, o = 21, 23, 120, 1088
	q.test("group norm of a small image", kernels.GroupNorm{Groups: 8, Eps: 1e-5}, []int{1, 9, 11, c}, q.input(1, 9, 11, c), weight(1, c), weight(1, c))
	image := q.test("group norm with SiLU", kernels.GroupNorm{Groups: 8, Eps: 1e-5, Act: kernels.SiLU}, []int{1, height, width, c}, q.input(1, height, width, c), weight(1, c), weight(1, c))
	filter, bias := weight(1./16, o, c, 3, 3), weight(1, o)
	pad := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	q.test("3×3 convolution", kernels.Conv2d{Stride: 1, Pad: pad, Bias: true}, []int{1, height, width, o}, image, filter, bias)
	q.test("3×3 convolution with stride 2", kernels.Conv2d{Stride: 2, Pad: pad, Bias: true}, []int{1, (height + 1) / 2, (width + 1) / 2, o}, image, filter, bias)
	q.test("3×3 convolution to few channels", kernels.Conv2d{Stride: 1, Pad: pad, Bias: true}, []int{1, height, width, fewColumns}, image, weight(1./16, fewColumns, c, 3, 3), weight(1, fewColumns))
	return q
}

func (q *knownAnswers) add(role kernels.Role, shape []int, data []float32) kernels.Value {
	v := kernels.Value(len(q.plan.Tensors))
	q.plan.Tensors = append(q.plan.Tensors, kernels.Tensor{Name: fmt.Sprint(role, " ", v), Role: role, DType: kernels.F32, Shape: shape})
	q.values = append(q.values, oracle.Tensor{Shape: shape, F: data})
	return v
}

// random is a value of pseudo-random numbers between −2 and 2, times scale, a power of 2.
func (q *knownAnswers) random(role kernels.Role, scale float64, shape ...int) kernels.Value {
	data := make([]float32, kernels.Elements(shape))
	for i := range data {
		q.state ^= q.state << 13
		q.state ^= q.state >> 7
		q.state ^= q.state << 17
		data[i] = float32(scale) * float32(int(q.state>>40%255)-127) / 64
	}
	return q.add(role, shape, data)
}

// input is a random activation as a 16-bit temporary.
func (q *knownAnswers) input(shape ...int) kernels.Value {
	v := q.random(kernels.Step, 1, shape...)
	t := q.add(kernels.Temp, shape, q.values[v].F)
	q.plan.Nodes = append(q.plan.Nodes, kernels.Node{Spec: kernels.Activate{}, Path: "self-check", In: []kernels.Value{v}, Out: []kernels.Value{t}})
	return t
}

// node adds an operation with a 16-bit result.
func (q *knownAnswers) node(name string, s kernels.Spec, shape []int, in ...kernels.Value) kernels.Value {
	out := q.add(kernels.Temp, shape, nil)
	q.tests = append(q.tests, knownAnswer{name: name, spec: s, in: in, out: out})
	q.plan.Nodes = append(q.plan.Nodes, kernels.Node{Spec: s, Path: "self-check, " + name, In: in, Out: []kernels.Value{out}})
	return out
}

// test is node with a result to compare.
func (q *knownAnswers) test(name string, s kernels.Spec, shape []int, in ...kernels.Value) kernels.Value {
	out := q.node(name, s, shape, in...)
	result := q.add(kernels.Result, shape, nil)
	q.tests[len(q.tests)-1].result = result
	q.plan.Nodes = append(q.plan.Nodes, kernels.Node{Spec: kernels.Activate{}, Path: "self-check", In: []kernels.Value{out}, Out: []kernels.Value{result}})
	return out
}

// Names implements kernels.Source.
func (q *knownAnswers) Names() []string {
	var names []string
	for _, t := range q.plan.Tensors {
		if t.Role == kernels.Weight {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Describe implements kernels.Source.
func (q *knownAnswers) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, _, err := q.Tensor(name)
	return dtype, shape, err
}

// Storage implements kernels.Source.
func (q *knownAnswers) Storage(string) kernels.Storage { return kernels.Made }

// Release implements kernels.Source.
func (q *knownAnswers) Release() error { return nil }

// Tensor implements kernels.Source.
func (q *knownAnswers) Tensor(name string) (kernels.DType, []int, []byte, error) {
	for v, t := range q.plan.Tensors {
		if t.Role == kernels.Weight && t.Name == name {
			return t.DType, t.Shape, encoded(q.values[v].F), nil
		}
	}
	return 0, nil, nil, fmt.Errorf("the self-check has no tensor %q", name)
}

func encoded(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, f := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}
