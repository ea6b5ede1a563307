package lora

import (
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Update is what a device needs to lay adapters over a component's weights in place: the factors of tensors that only
// change by products of low rank, and for all others a source that makes them ([Merge]). It is nil if nothing changes.
// src is the weights' own source, which stays the caller's. The factors are in memory, in float32.
func Update(src kernels.Source, component string, set []Selected) *kernels.Update {
	steps := Steps(component, set)
	if len(steps) == 0 {
		return nil
	}
	u := &kernels.Update{Source: &merged{src, component, steps}, LowRank: map[string][]kernels.LowRank{}}
	names := slices.Sorted(maps.Keys(steps))
	products := make([][]kernels.LowRank, len(names))
	// A factor of a full model is some 300,000 numbers: of the size of a span.
	parallel(len(names), rowBytes/4/rowGroup, func(first, end int) {
		for i := first; i < end; i++ {
			products[i] = lowRanks(steps[names[i]])
		}
	})
	for i, name := range names {
		if products[i] == nil {
			u.Whole = append(u.Whole, name)
			continue
		}
		u.LowRank[name] = products[i]
	}
	return u
}

// lowRanks are steps as products, nil if one of them is another kind of change.
func lowRanks(steps []Step) []kernels.LowRank {
	all := make([]kernels.LowRank, 0, len(steps))
	for _, s := range steps {
		c, ok := s.Change.(*LowRank)
		if !ok {
			return nil
		}
		all = append(all, kernels.LowRank{Up: widen(c.Up), Down: widen(c.Down), Rank: c.Rank(), Scale: s.Strength * c.Scale})
	}
	return all
}
