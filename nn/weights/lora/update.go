package lora

import (
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Update is what a device needs to lay adapters over a component's weights in place: the factors of tensors that only
// change by products of low rank, and for all others a source that makes them ([Merge]). It is nil if nothing changes.
// src is the weights' own source, which stays the caller's. The factors are the files' own, as they lie there: neither
// the files nor src may be closed while the update is in force.
func Update(src kernels.Source, component string, set []Selected) *kernels.Update {
	steps := Steps(component, set)
	if len(steps) == 0 {
		return nil
	}
	u := &kernels.Update{Source: &merged{src, component, steps, plain{}}, LowRank: map[string][]kernels.LowRank{}}
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		if products := lowRanks(steps[name]); products != nil {
			u.LowRank[name] = products
		} else {
			u.Whole = append(u.Whole, name)
		}
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
		all = append(all, kernels.LowRank{Up: factor(c.Up), Down: factor(c.Down), Rank: c.Rank(), Scale: s.Strength * c.Scale})
	}
	return all
}

func factor(m Matrix) kernels.Factor { return kernels.Factor{DType: m.DType, Data: m.Data} }
