package engine

import (
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// everyRole is a plan with a value of each role: a temporary that nothing writes, one that runs from node 1 to node 2,
// and one that a hoisted node hands to later runs.
func everyRole() *kernels.Plan {
	value := func(name string, r kernels.Role, n int) kernels.Tensor {
		return kernels.Tensor{Name: name, Role: r, DType: kernels.F32, Shape: []int{1, n}}
	}
	plan := &kernels.Plan{Tensors: []kernels.Tensor{
		value("result", kernels.Result, 8), value("state", kernels.State, 8), value("step", kernels.Step, 8), value("request", kernels.Request, 8),
		value("weight", kernels.Weight, 8), value("hoisted", kernels.Temp, 8), value("temp", kernels.Temp, 8), value("unused", kernels.Temp, 8),
		value("other", kernels.Request, 3), {Name: "ids", Role: kernels.Step, DType: kernels.I32, Shape: []int{8}},
	}}
	add := func(path string, x, y, to kernels.Value) {
		plan.Nodes = append(plan.Nodes, kernels.Node{Spec: kernels.Add{}, Path: path, In: []kernels.Value{x, y}, Out: []kernels.Value{to}})
	}
	add("hoisted", request, weight, hoisted)
	add("temp", step, hoisted, temp)
	add("result", temp, temp, result)
	add("state", state, result, state)
	return plan
}

const (
	result kernels.Value = iota
	state
	step
	request
	weight
	hoisted
	temp
	unused
	other
	ids
)

// TestAccess lists what callers may write, read and copy, and what they get wrong.
func TestAccess(t *testing.T) {
	plan := everyRole()
	if err := plan.Validate(); err != nil {
		t.Fatal(err)
	}
	d := NewDevice("cpu", kernels.Info{})
	p, q, foreign := NewProgram(d, plan), NewProgram(d, plan), NewProgram(NewDevice("cpu", kernels.Info{}), plan)
	if err := errors.Join(p.CheckWrite(request, 32), p.CheckWrite(step, 32), p.CheckWrite(state, 32), p.CheckRead(state, 32), p.CheckRead(result, 32),
		p.CheckCopy(request, &q, state), p.CheckCopy(step, &q, result), p.CheckCopy(state, &p, result)); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"writing a result":          {p.CheckWrite(result, 32), "cpu: value result fp32 [1 8] is a result and cannot be written"},
		"writing a weight":          {p.CheckWrite(weight, 32), "is a weight and cannot be written"},
		"writing a temporary":       {p.CheckWrite(temp, 32), "is a temp and cannot be written"},
		"writing too little":        {p.CheckWrite(request, 28), "cpu: writing request fp32 [1 8]: 28 bytes, want 32"},
		"writing no value":          {p.CheckWrite(99, 0), "cpu: value 99 of a plan that has 10"},
		"reading a request":         {p.CheckRead(request, 32), "is a request and cannot be read"},
		"reading too much":          {p.CheckRead(state, 36), "cpu: reading state fp32 [1 8] into 36 bytes, want 32"},
		"reading no value":          {p.CheckRead(-1, 0), "value -1 of a plan that has 10"},
		"copying to a result":       {p.CheckCopy(result, &q, state), "cannot be written"},
		"copying from a step":       {p.CheckCopy(state, &q, step), "is a step and cannot be read"},
		"copying another size":      {p.CheckCopy(other, &q, state), "cpu: writing other fp32 [1 3] from state fp32 [1 8]: type or size differs"},
		"copying another type":      {p.CheckCopy(ids, &q, state), "type or size differs"},
		"copying of another device": {p.CheckCopy(state, &foreign, state), "cpu: writing state fp32 [1 8] from a program of another device"},
		"copying of another kind":   {p.CheckCopy(state, nil, state), "from a program of another device"},
	} {
		fails(t, what, c.err, c.want)
	}
	if !q.MarkClosed() || q.MarkClosed() {
		t.Error("closing twice is not distinguished from once")
	}
	for what, err := range map[string]error{"run": q.Open(), "write": q.CheckWrite(state, 32), "read": q.CheckRead(state, 32), "copy from": p.CheckCopy(state, &q, state)} {
		if !errors.Is(err, ErrClosed) || err.Error() != "cpu: the program is closed" {
			t.Errorf("%s of a closed program: %v", what, err)
		}
	}
}

// TestHoist: hoisted nodes are computed by the first run, and by one after a request was written or weights changed.
func TestHoist(t *testing.T) {
	p := NewProgram(NewDevice("cpu", kernels.Info{}), everyRole())
	for i, c := range []struct {
		wrote kernels.Value
		want  bool
	}{{state, true}, {step, false}, {request, true}, {state, false}} {
		if is := p.Wrote(c.wrote); is != (c.wrote == request) {
			t.Errorf("write %d: a request is %v", i, is)
		}
		if p.Hoist(3) != c.want {
			t.Errorf("run %d computes hoisted nodes: %v, want %v", i, p.Hoist(3), c.want)
		}
		p.Hoisted(3)
	}
	if !p.Hoist(4) {
		t.Error("other weights do not make the hoisted nodes be computed")
	}
	if p.Hoisted(4); p.Hoist(4) {
		t.Error("hoisted nodes are computed again with the same weights")
	}
}

// TestLayout: requests come first, then steps and states, then what runs leave; what lives for some nodes is in the
// arena behind what the device keeps free, and blocks of scratch beside it.
func TestLayout(t *testing.T) {
	plan := everyRole()
	l := Needs{
		Size:     func(v kernels.Value) int64 { return plan.Tensors[v].Bytes() },
		Align:    64,
		FirstOwn: 128, FirstArena: 256,
		Scratch: []kernels.Lifetime{{Bytes: 100, First: 1, Last: 1}, {Bytes: 64, First: 3, Last: 3}},
	}.Place(plan)
	for v, want := range map[kernels.Value]Place{
		request: {Offset: 128, Bytes: 32}, other: {Offset: 192, Bytes: 12}, state: {Offset: 256, Bytes: 32}, step: {Offset: 320, Bytes: 32}, ids: {Offset: 384, Bytes: 32},
		result: {Offset: 448, Bytes: 32}, hoisted: {Offset: 512, Bytes: 32}, weight: {}, unused: {},
	} {
		if l.Places[v] != want {
			t.Errorf("%s lies at %+v, want %+v", plan.Tensors[v].Name, l.Places[v], want)
		}
	}
	if l.Requests != 256 || l.Inputs != 448 || l.Own != 576 {
		t.Errorf("requests end at %d, inputs at %d, all at %d; want 256, 448, 576", l.Requests, l.Inputs, l.Own)
	}
	if at := l.Places[temp]; !at.Arena || at.Bytes != 32 || at.Offset != 256+128 {
		t.Errorf("the temporary lies at %+v, want behind 128 bytes of scratch", at)
	}
	if l.Scratch[0] != 256 || l.Scratch[1] != 256 || l.Arena != 256+192 {
		t.Errorf("scratch at %v of an arena of %d bytes, want 256 twice of 448", l.Scratch, l.Arena)
	}
}
