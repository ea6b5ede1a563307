package unet

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Optional is a positive number, or 0 for null.
type Optional int

// UnmarshalJSON takes null or a positive number.
func (o *Optional) UnmarshalJSON(data []byte) error {
	var n int
	if err := json.Unmarshal(data, &n); err != nil || n < 0 || n == 0 && string(data) != "null" {
		return fmt.Errorf("%s: must be null or a positive whole number", data)
	}
	*o = Optional(n)
	return nil
}

// PerLevel is a number for every level, or a list with one for each.
type PerLevel []int

// UnmarshalJSON takes null, a number or a list of numbers.
func (p *PerLevel) UnmarshalJSON(data []byte) error {
	var n int
	if json.Unmarshal(data, &n) == nil {
		*p = PerLevel{n}
		if string(data) == "null" {
			*p = nil
		}
		return nil
	}
	var list []int
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("%s: must be a number or a list of numbers, one a level", data)
	}
	*p = list
	return nil
}

// At returns the number for level i.
func (p PerLevel) At(i int) int {
	if len(p) == 1 {
		return p[0]
	}
	return p[i]
}

// Depths are transformer blocks by level: a number for every level, or a list with a number for each, or with a list of
// numbers where the attentions of a level differ.
type Depths []PerLevel

// UnmarshalJSON takes null, a number, or a list of numbers and lists of numbers.
func (d *Depths) UnmarshalJSON(data []byte) error {
	var one PerLevel
	if json.Unmarshal(data, &one) == nil && (len(one) == 0 || data[0] != '[') {
		*d = nil
		if len(one) > 0 {
			*d = Depths{one}
		}
		return nil
	}
	var list []PerLevel
	if err := json.Unmarshal(data, &list); err != nil || slices.ContainsFunc(list, func(p PerLevel) bool { return len(p) == 0 }) {
		return fmt.Errorf("%s: must be a number or a list, one a level, of numbers and lists of numbers", data)
	}
	*d = list
	return nil
}

// At returns the numbers of level i: one for all its attentions, or one for each.
func (d Depths) At(i int) PerLevel {
	if len(d) == 1 {
		return d[0]
	}
	return d[i]
}

// MidType is the class of the middle; "" is null, for none.
type MidType string

// The classes of the middle.
const (
	NoMid        MidType = ""                        // as KOALA-700M
	PlainMid     MidType = "UNetMidBlock2D"          // one residual block, as SSD-1B
	CrossAttnMid MidType = "UNetMidBlock2DCrossAttn" // two residual blocks around attention
)

// UnmarshalJSON takes null or a class.
func (m *MidType) UnmarshalJSON(data []byte) error {
	var name *string
	if err := json.Unmarshal(data, &name); err != nil || name != nil && *name != string(PlainMid) && *name != string(CrossAttnMid) {
		return fmt.Errorf("%s: must be %s, %s or null", data, CrossAttnMid, PlainMid)
	}
	*m = NoMid
	if name != nil {
		*m = MidType(*name)
	}
	return nil
}

// validateDepths checks the transformers' blocks of the way down and up.
func (c Config) validateDepths(bad func(key string, value any, allowed string, args ...any) error) error {
	levels := len(c.BlockOutChannels)
	for _, side := range []struct {
		key  string
		list Depths
		more int // attentions beyond those of the way down
	}{{"transformer_layers_per_block", c.TransformerLayers, 0}, {"reverse_transformer_layers_per_block", c.ReverseLayers, 1}} {
		if n := len(side.list); n != levels && (n != 1 || side.more > 0) && (n != 0 || side.more == 0) {
			return bad(side.key, side.list, "a number or a list of %d", levels)
		}
		for i, level := range side.list {
			from := i
			if side.more > 0 {
				from = levels - 1 - i
			}
			if attentions := c.LayersPerBlock.At(from) + side.more; len(level) != 1 && len(level) != attentions {
				return bad(side.key, side.list, "a number or %d numbers for level %d, one an attention", attentions, i)
			}
			if slices.Min(level) < 1 {
				return bad(side.key, side.list, "positive")
			}
			if len(level) > 1 && c.ReverseLayers == nil {
				return bad("reverse_transformer_layers_per_block", "null", "a list, since transformer_layers_per_block has lists")
			}
		}
	}
	return nil
}
