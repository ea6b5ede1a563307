package engine

import (
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Place is where a value lies, in bytes: in the program's own memory, or in the arena that a device's programs share. A
// weight, and a temporary that no node writes, have no bytes.
type Place struct {
	Offset, Bytes int64
	Arena         bool
}

// Layout is where all values of a program lie. Its own memory begins with what callers write, requests first, so that
// what a run begins with can be kept with few copies; results and what hoisted nodes hand to later runs follow.
type Layout struct {
	Places   []Place // by kernels.Value
	Requests int64   // bytes of own memory up to the last request
	Inputs   int64   // bytes of own memory up to the last request, step or state
	Own      int64   // bytes of own memory
	Arena    int64   // bytes of arena
	Scratch  []int64 // offsets in the arena, in the order of Needs.Scratch
}

// Needs is what a device asks of a layout, in bytes.
type Needs struct {
	Size  func(kernels.Value) int64 // of a value as the device stores it
	Align int64                     // of every value and of scratch
	// FirstOwn and FirstArena are free at the beginning, both a multiple of Align.
	FirstOwn, FirstArena int64
	Scratch              []kernels.Lifetime // more blocks for the arena
}

// Place gives every value of a plan its place.
func (n Needs) Place(plan *kernels.Plan) Layout {
	blocks := plan.Lifetimes(n.Size)
	values := len(blocks)
	offsets, arena := kernels.Arena(append(blocks, n.Scratch...), n.Align)
	for i := range offsets {
		offsets[i] += n.FirstArena
	}
	l := Layout{Places: make([]Place, values), Own: n.FirstOwn, Arena: n.FirstArena + arena, Scratch: offsets[values:]}
	written := make([]bool, values)
	for _, node := range plan.Nodes {
		for _, v := range node.Out {
			written[v] = true
		}
	}
	own := func(roles ...kernels.Role) int64 {
		for v, t := range plan.Tensors {
			if !slices.Contains(roles, t.Role) || t.Role == kernels.Temp && (blocks[v].Bytes > 0 || !written[v]) {
				continue
			}
			size := n.Size(kernels.Value(v))
			l.Places[v] = Place{Offset: l.Own, Bytes: size}
			l.Own += (size + n.Align - 1) / n.Align * n.Align
		}
		return l.Own
	}
	l.Requests = own(kernels.Request)
	l.Inputs = own(kernels.Step, kernels.State)
	own(kernels.Result, kernels.Temp)
	for v, b := range blocks {
		if b.Bytes > 0 {
			l.Places[v] = Place{Offset: offsets[v], Bytes: b.Bytes, Arena: true}
		}
	}
	return l
}
