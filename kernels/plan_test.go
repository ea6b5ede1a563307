package kernels

import (
	"slices"
	"strings"
	"testing"
)

func value(role Role, shape ...int) Tensor {
	return Tensor{Name: role.String(), Role: role, DType: F32, Shape: shape}
}

// chain is x (step) + w (weight) → temp; temp + state → result, and state is then overwritten by temp + temp.
func chain() *Plan {
	return &Plan{
		Tensors: []Tensor{value(Step, 2), value(Weight, 2), value(Temp, 2), value(State, 2), value(Result, 2), value(Request, 2)},
		Nodes: []Node{
			{Spec: Add{}, Path: "first", In: []Value{0, 1}, Out: []Value{2}},
			{Spec: Add{}, Path: "second", In: []Value{2, 3}, Out: []Value{4}},
			{Spec: Add{}, Path: "third", In: []Value{2, 3}, Out: []Value{3}},
		},
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(p *Plan)
		want   string // "" accepts
	}{
		{"good", func(p *Plan) {}, ""},
		{"empty", func(p *Plan) { *p = Plan{} }, ""},
		{"unread values", func(p *Plan) { p.Nodes = p.Nodes[:1] }, ""},
		{"zero dimension", func(p *Plan) { p.Tensors[5].Shape = []int{2, 0} }, "empty dimension"},
		{"negative dimension", func(p *Plan) { p.Tensors[5].Shape = []int{-1} }, "empty dimension"},
		{"no type", func(p *Plan) { p.Tensors[5].DType = 0 }, "no element type"},
		{"no operation", func(p *Plan) { p.Nodes[1].Spec = nil }, "node 1 (second) has no operation"},
		{"input beyond", func(p *Plan) { p.Nodes[1].In[1] = 6 }, "reads value 6 of 6"},
		{"negative input", func(p *Plan) { p.Nodes[1].In[1] = -1 }, "reads value -1"},
		{"output beyond", func(p *Plan) { p.Nodes[1].Out[0] = 6 }, "writes value 6 of 6"},
		{"temp before it is written", func(p *Plan) { p.Nodes[0].In[0] = 2 }, "before it is written"},
		{"result before it is written", func(p *Plan) { p.Nodes[0].In[0] = 4 }, "before it is written"},
		{"result read after it is written", func(p *Plan) { p.Nodes[2].In[0] = 4 }, ""},
		{"state read after it is written", func(p *Plan) { p.Nodes[0].Out[0], p.Nodes[1].In[0], p.Nodes[2] = 3, 0, p.Nodes[1] }, "after it was written"},
		{"state only written", func(p *Plan) { p.Nodes[1].In[1], p.Nodes[2].In[1] = 0, 0 }, ""},
		{"written twice", func(p *Plan) { p.Nodes[2].Out[0] = 4 }, "a second time"},
		{"state written twice", func(p *Plan) { p.Nodes[1].Out[0], p.Nodes[2].In[1] = 3, 0 }, "a second time"},
		{"weight written", func(p *Plan) { p.Nodes[2].Out[0] = 1 }, "a weight"},
		{"step written", func(p *Plan) { p.Nodes[2].Out[0] = 0 }, "a step"},
		{"request written", func(p *Plan) { p.Nodes[2].Out[0] = 5 }, "a request"},
		{"shape rule", func(p *Plan) { p.Nodes[1].In = p.Nodes[1].In[:1] }, "number of inputs"},
		{"too many outputs", func(p *Plan) { p.Nodes[1].Out = []Value{4, 3} }, "2 outputs, want 1"},
		{"output of another shape", func(p *Plan) { p.Tensors[4].Shape = []int{2, 1} }, "says otherwise"},
		{"output of another type", func(p *Plan) { p.Tensors[4].DType = BF16 }, "says otherwise"},
	}
	for _, test := range tests {
		p := chain()
		test.change(p)
		err := p.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestHoisted(t *testing.T) {
	p := &Plan{
		Tensors: []Tensor{
			value(Request, 2), value(Weight, 2), value(Temp, 2), value(Temp, 2), value(Step, 2), value(Temp, 2), value(State, 2),
			value(Result, 2), value(Temp, 2), value(State, 2),
		},
		Nodes: []Node{
			{Spec: Add{}, In: []Value{0, 1}, Out: []Value{2}}, // request and weight
			{Spec: Add{}, In: []Value{2, 2}, Out: []Value{3}}, // what that gave
			{Spec: Add{}, In: []Value{3, 4}, Out: []Value{5}}, // a step
			{Spec: Add{}, In: []Value{3, 1}, Out: []Value{7}}, // into a result
			{Spec: Add{}, In: []Value{3, 6}, Out: []Value{8}}, // a state
			{Spec: Add{}, In: []Value{3, 3}, Out: []Value{9}}, // into a state, which a run must renew
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Hoisted(), []bool{true, true, false, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("hoisted %v, want %v", got, want)
	}
	size := func(v Value) int64 { return int64(10 + v) }
	want := make([]Lifetime, len(p.Tensors))
	want[2] = Lifetime{12, 0, 1} // between hoisted nodes only
	want[5] = Lifetime{15, 2, 2} // never read
	want[8] = Lifetime{18, 4, 4}
	if got := p.Lifetimes(size); !slices.Equal(got, want) { // 3 is handed to later runs
		t.Errorf("lifetimes %v, want %v", got, want)
	}
}

func TestPlanSums(t *testing.T) {
	p := chain()
	if got := p.FLOPs(); got != 6 {
		t.Errorf("%d operations, want 6", got)
	}
	if in := p.Inputs(p.Nodes[1]); in[0].Role != Temp || in[1].Role != State {
		t.Errorf("inputs %v", in)
	}
	x := Tensor{Name: "x", DType: F16, Shape: []int{2, 3}}
	if x.Len() != 6 || x.Bytes() != 12 || x.String() != "x fp16 [2 3]" || Elements(nil) != 1 {
		t.Errorf("%v: %d elements, %d bytes", x, x.Len(), x.Bytes())
	}
	if Role(99).String() != "Role(99)" || Activation(99).String() != "Activation(99)" {
		t.Errorf("unknown values print as %v and %v", Role(99), Activation(99))
	}
}
