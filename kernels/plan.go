package kernels

import (
	"fmt"
	"slices"
)

// Value numbers a tensor of a plan: an index into Plan.Tensors.
type Value int32

// Role says when a value can change.
type Role uint8

const (
	// Temp is an intermediate of one run.
	Temp Role = iota
	// Weight comes from the checkpoint under its Name and never changes.
	Weight
	// Request is written by the caller once a prompt.
	Request
	// Step is written by the caller before each run.
	Step
	// State is written by the caller or by a run, and keeps its content between runs.
	State
	// Result is computed by a run and can be read after it.
	Result
)

func (r Role) String() string {
	roles := [...]string{"temp", "weight", "request", "step", "state", "result"}
	if int(r) < len(roles) {
		return roles[r]
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// Tensor describes a value. Shape is logical and has no zero or negative dimension.
type Tensor struct {
	Name  string // full checkpoint name of a weight, else what the caller or an error message calls it
	Role  Role
	DType DType
	Shape []int
}

// Len returns the number of elements.
func (t Tensor) Len() int { return Elements(t.Shape) }

// Bytes returns the dense size in the tensor's own type.
func (t Tensor) Bytes() int64 { return int64(t.Len()) * int64(t.DType.Size()) }

func (t Tensor) String() string { return fmt.Sprintf("%s %s %v", t.Name, t.DType, t.Shape) }

// Elements returns the product of the dimensions, 1 for a scalar.
func Elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Spec is one operation: a plain struct whose fields are its attributes and fusions.
type Spec interface {
	// Infer checks the inputs and returns the outputs' types and shapes. Outputs have no name and the role Temp.
	Infer(in []Tensor) ([]Tensor, error)
	// FLOPs counts floating point operations, a multiply-add as two; inputs that Infer accepts.
	FLOPs(in []Tensor) int64
}

// Node applies a spec. Path is the module path that errors and timings name.
type Node struct {
	Spec    Spec
	Path    string
	In, Out []Value
}

// Plan is a program before a device has compiled it. Nodes are in execution order. Every value is written once, before
// it is read; a State is the exception: nodes read what the last run left, then at most one node writes it, after (or
// while) its last reader.
type Plan struct {
	Tensors []Tensor
	Nodes   []Node
}

// Inputs returns the descriptions of a node's inputs.
func (p *Plan) Inputs(n Node) []Tensor {
	in := make([]Tensor, len(n.In))
	for i, v := range n.In {
		in[i] = p.Tensors[v]
	}
	return in
}

// FLOPs adds up all nodes.
func (p *Plan) FLOPs() int64 {
	var sum int64
	for _, n := range p.Nodes {
		sum += n.Spec.FLOPs(p.Inputs(n))
	}
	return sum
}

// Validate checks the rules above and every shape. Devices call it first.
func (p *Plan) Validate() error {
	written := make([]bool, len(p.Tensors))
	for v, t := range p.Tensors {
		for _, d := range t.Shape {
			if d <= 0 {
				return fmt.Errorf("plan: value %d (%v) has an empty dimension", v, t)
			}
		}
		if t.DType.Size() == 0 {
			return fmt.Errorf("plan: value %d (%v) has no element type", v, t)
		}
	}
	for i, n := range p.Nodes {
		for _, v := range n.In {
			if v < 0 || int(v) >= len(p.Tensors) {
				return fmt.Errorf("plan: node %d (%s) reads value %d of %d", i, n.Path, v, len(p.Tensors))
			}
			t := p.Tensors[v]
			computed := t.Role == Temp || t.Role == Result
			if computed && !written[v] {
				return fmt.Errorf("plan: node %d (%s) reads %v before it is written", i, n.Path, t)
			}
			if t.Role == State && written[v] {
				return fmt.Errorf("plan: node %d (%s) reads state %v after it was written", i, n.Path, t)
			}
		}
		if n.Spec == nil {
			return fmt.Errorf("plan: node %d (%s) has no operation", i, n.Path)
		}
		want, err := n.Spec.Infer(p.Inputs(n))
		if err != nil {
			return fmt.Errorf("plan: node %d (%s): %w", i, n.Path, err)
		}
		if len(want) != len(n.Out) {
			return fmt.Errorf("plan: node %d (%s) has %d outputs, want %d", i, n.Path, len(n.Out), len(want))
		}
		for k, v := range n.Out {
			if v < 0 || int(v) >= len(p.Tensors) {
				return fmt.Errorf("plan: node %d (%s) writes value %d of %d", i, n.Path, v, len(p.Tensors))
			}
			t := p.Tensors[v]
			if t.Role == Weight || t.Role == Request || t.Role == Step {
				return fmt.Errorf("plan: node %d (%s) writes %v, a %s", i, n.Path, t, t.Role)
			}
			if written[v] {
				return fmt.Errorf("plan: node %d (%s) writes %v a second time", i, n.Path, t)
			}
			if !slices.Equal(t.Shape, want[k].Shape) || t.DType != want[k].DType {
				return fmt.Errorf("plan: node %d (%s) gives %s %v, value %v says otherwise", i, n.Path, want[k].DType, want[k].Shape, t)
			}
			written[v] = true
		}
	}
	return nil
}

// Hoisted reports for each node whether it depends on weights and request values alone, so that it needs to run only
// after one of those request values was written (cross-attention keys and values, for instance).
func (p *Plan) Hoisted() []bool {
	constant := make([]bool, len(p.Tensors))
	for v, t := range p.Tensors {
		constant[v] = t.Role == Weight || t.Role == Request
	}
	hoisted := make([]bool, len(p.Nodes))
	for i, n := range p.Nodes {
		hoisted[i] = true
		for _, v := range n.In {
			hoisted[i] = hoisted[i] && constant[v]
		}
		for _, v := range n.Out {
			hoisted[i] = hoisted[i] && p.Tensors[v].Role != State
		}
		for _, v := range n.Out {
			constant[v] = hoisted[i]
		}
	}
	return hoisted
}
