package lora

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// built are the changes of one module.
type built struct{ weight, bias []Change }

// build makes the changes of a module from its parts. An error is of the file, a [misfit] of the model it is put on.
func (g *group) build() (built, error) {
	deltas, err := g.weightDeltas()
	if err != nil {
		return built{}, err
	}
	var b built
	if g.has(doraScale) || g.has(magnitude) {
		if len(deltas) == 0 {
			return built{}, g.errorf(doraScale, "", "there is no change for it to norm, the module has %s", g.list())
		}
		c, err := g.decomposed(deltas)
		if err != nil {
			return built{}, err
		}
		b.weight = []Change{c}
	} else {
		for _, d := range deltas {
			b.weight = append(b.weight, g.change(d, g.weight))
		}
	}
	if b.bias, err = g.biasChanges(); err != nil {
		return built{}, err
	}
	for _, p := range slices.Sorted(maps.Keys(g.keys)) {
		if !g.used[p] && p != alpha && p != scale {
			return built{}, g.errorf(p, "", "it does not go with the other parts of the module, %s", g.list())
		}
	}
	if len(b.weight)+len(b.bias) == 0 {
		return built{}, &misfit{"the file has only " + g.list() + " of it, which changes nothing"}
	}
	return b, nil
}

// change wraps a delta; a low-rank one is a change itself.
func (g *group) change(d delta, t tensor) Change {
	if c, ok := d.(*LowRank); ok {
		return c
	}
	return applied{t, d}
}

// kinds are the ways to change a weight, by the parts that announce them.
var kinds = []struct {
	name  string
	parts []part
	build func(*group) (delta, error)
}{
	{"LoRA", []part{up, down, mid}, (*group).lowRank},
	{"LoHa", []part{hadaW1A, hadaW1B, hadaW2A, hadaW2B, hadaT1, hadaT2}, (*group).hadamard},
	{"LoKr", []part{lokrW1, lokrW1A, lokrW1B, lokrW2, lokrW2A, lokrW2B, lokrT2}, (*group).kron},
	{"GLoRA", []part{gloraA1, gloraA2, gloraB1, gloraB2}, (*group).glora},
	{"IA3", []part{ia3OnInput}, (*group).scaled},
	{"OFT", []part{oftBlocks, oftDiag}, (*group).rotation},
	{"a new weight", []part{setWeight}, (*group).replaced},
}

// weightDeltas makes what is added to the weight: one of the kinds, and differences beside it.
func (g *group) weightDeltas() ([]delta, error) {
	var deltas []delta
	var first string
	for _, k := range kinds {
		if !slices.ContainsFunc(k.parts, g.has) {
			continue
		}
		if first != "" {
			return nil, g.errorf(k.parts[0], "one kind", "the module has the parts of both %s and %s: %s", first, k.name, g.list())
		}
		first = k.name
		if k.name == "IA3" && !g.has(ia3Weight) {
			return nil, g.errorf(ia3Weight, "", "it is missing, but the module has %s", g.list())
		}
		d, err := k.build(g)
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, d)
	}
	factor := float32(1)
	if c, ok := firstOf(deltas).(*LowRank); ok {
		factor = c.Scale // A1111 scales the remainder with the product
	}
	for _, p := range []part{diff, dense, normWeight} {
		if !g.has(p) {
			continue
		}
		by := float32(1)
		if p == dense {
			by = factor
		}
		d, err := g.difference(p, g.weight, "weight", by)
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, d)
	}
	if g.has(sparseIndices) || g.has(sparseValues) || g.has(sparseSize) {
		d, err := g.sparse(factor)
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, d)
	}
	return deltas, nil
}

func firstOf(deltas []delta) delta {
	if len(deltas) == 0 {
		return nil
	}
	return deltas[0]
}

// biasChanges makes what is added to the bias.
func (g *group) biasChanges() ([]Change, error) {
	var changes []Change
	for _, p := range []part{diffBias, normBias, upBias} {
		if !g.has(p) {
			continue
		}
		by := float32(1)
		if p == upBias { // PEFT's B·x + bias is scaled as a whole
			m, _, err := g.matrix(down)
			if err == nil {
				by, err = g.factor(m.Rows)
			}
			if err != nil {
				return nil, err
			}
		}
		d, err := g.difference(p, g.bias, "bias", by)
		if isMisfit(err) { // the weight changes without it
			g.left = append(g.left, Unmatched{g.key(p), err.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		changes = append(changes, applied{g.bias, d})
	}
	return changes, nil
}

// isMisfit reports whether an error is about the model and not about the file.
func isMisfit(err error) bool {
	var m *misfit
	return errors.As(err, &m)
}

// weightOnly reports whether the only part of a group is the one that IA3 shares with whole checkpoints.
func (g *group) weightOnly() bool {
	return g.has(ia3Weight) && !g.has(ia3OnInput) && !strings.Contains(g.list(), ",")
}
