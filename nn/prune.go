package nn

import (
	"slices"

	"github.com/goxl/goxl/kernels"
)

// prune returns the part of a graph that its outputs and states need or, if only is not empty, that one output needs.
// Inputs stay, read or not; the names of other outputs go.
func (g *Graph) prune(only string) (*kernels.Plan, map[string]kernels.Value) {
	plan := g.Plan
	wanted := make([]bool, len(plan.Tensors))
	for v, t := range plan.Tensors {
		wanted[v] = only == "" && (t.Role == kernels.Result || t.Role == kernels.State)
	}
	if only != "" {
		wanted[g.Named[only]] = true
	}
	outputs := slices.Clone(wanted)
	var nodes []kernels.Node
	for _, n := range slices.Backward(plan.Nodes) {
		if slices.ContainsFunc(n.Out, func(v kernels.Value) bool { return wanted[v] }) {
			nodes = append(nodes, n)
			for _, v := range n.In {
				wanted[v] = true
			}
		}
	}
	slices.Reverse(nodes)
	for _, n := range nodes {
		for _, v := range n.Out {
			wanted[v] = true
		}
	}

	out := &kernels.Plan{}
	number := make([]kernels.Value, len(plan.Tensors))
	for v, t := range plan.Tensors {
		input := t.Role == kernels.Request || t.Role == kernels.Step || t.Role == kernels.State
		if !wanted[v] && !input {
			continue
		}
		if t.Role == kernels.Result && !outputs[v] {
			t.Role = kernels.Temp
		}
		number[v] = kernels.Value(len(out.Tensors))
		out.Tensors = append(out.Tensors, t)
	}
	renumber := func(values []kernels.Value) []kernels.Value {
		values = slices.Clone(values)
		for i, v := range values {
			values[i] = number[v]
		}
		return values
	}
	for _, n := range nodes {
		n.In, n.Out = renumber(n.In), renumber(n.Out)
		out.Nodes = append(out.Nodes, n)
	}
	named := map[string]kernels.Value{}
	for name, v := range g.Named {
		if t := plan.Tensors[v]; t.Role != kernels.Result || outputs[v] {
			named[name] = number[v]
		}
	}
	return out, named
}
