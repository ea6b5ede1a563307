package lora

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Strengths says how much of an adapter acts where. The zero value is strength 0 everywhere. Values may be negative or
// larger than 1. It is comparable: equal values have equal effects.
type Strengths struct {
	// TextEncoder and TextEncoder2 are those of the two encoders.
	TextEncoder, TextEncoder2 float32
	// Base is that of the UNet outside of its blocks: time and size embeddings.
	Base float32
	// Blocks are those of the UNet's blocks in the order of the original code, as A1111 and SD.Next count them: IN00 to
	// IN08, MID, OUT00 to OUT08. conv_in belongs to IN00, conv_out to OUT08. Blocks past these, which no SDXL base
	// model has, take the last one of their side.
	Blocks [blockSlots]float32
	// Rank cuts the products of low rank to their first so many ranks (DyLoRA); 0 cuts nothing.
	Rank int
}

const (
	sideSlots  = 9 // of the input and of the output
	midSlot    = sideSlots
	outSlot    = sideSlots + 1
	blockSlots = 2*sideSlots + 1
)

// Strength is one strength for everything.
func Strength(s float32) Strengths {
	r := Strengths{TextEncoder: s, TextEncoder2: s}
	r.unet(s)
	return r
}

func (s *Strengths) unet(x float32) {
	s.Base = x
	for i := range s.Blocks {
		s.Blocks[i] = x
	}
}

// For is the strength at which a tensor of a component changes.
func (s Strengths) For(component, tensor string) float32 {
	switch component {
	case textEncoder:
		return s.TextEncoder
	case textEncoder2:
		return s.TextEncoder2
	}
	if slot, ok := slotOf(tensor); ok {
		return s.Blocks[slot]
	}
	return s.Base
}

// slotOf is the index in Blocks of a UNet tensor, false for one outside of the blocks.
func slotOf(tensor string) (int, bool) {
	fields := strings.SplitN(tensor, ".", 5)
	switch fields[0] {
	case "conv_in":
		return 0, true
	case "mid_block":
		return midSlot, true
	case "conv_norm_out", "conv_out":
		return blockSlots - 1, true
	case "down_blocks", "up_blocks":
	default:
		return 0, false
	}
	if len(fields) < 4 {
		return 0, false
	}
	block, err1 := strconv.Atoi(fields[1])
	layer, err2 := strconv.Atoi(fields[3])
	if err1 != nil || err2 != nil || block < 0 || layer < 0 {
		return 0, false
	}
	if strings.HasSuffix(fields[2], "samplers") {
		layer = 2
	}
	slot := 3*min(block, sideSlots) + min(layer, 2)
	if fields[0] == "down_blocks" {
		return min(1+slot, sideSlots-1), true
	}
	return min(outSlot+slot, blockSlots-1), true
}

// twelve are the slots of the vectors of 12 that A1111's block weights have for SDXL, after the first, which is Base:
// those with attention.
var twelve = []int{4, 5, 7, 8, midSlot, outSlot, outSlot + 1, outSlot + 2, outSlot + 3, outSlot + 4, outSlot + 5}

// strengthForms are what ParseStrengths takes, for errors.
const strengthForms = "numbers separated by colons: one for everything, or first text encoders then UNet; then " +
	"te=, te1=, te2=, unet=, down= (in=), mid=, up= (out=), down0= … up2=, in00= … in08=, out00= … out08=, " +
	"lbw= with 1, 12, 19 or 20 numbers and commas, dyn="

// ParseStrengths reads what stands behind a file's name: "0.8", "te=0.5:unet=1", "1:0.8:down=0.2", as in A1111's
// <lora:name:te:unet:dyn> and SD.Next. Later and finer settings go over coarser ones, whatever their order; lbw
// multiplies the strengths of the UNet's blocks and, as its first of 12 or 20 numbers, what is outside of them and the
// text encoders. An empty text is strength 1.
func ParseStrengths(text string) (Strengths, error) {
	fail := func(field, allowed string) (Strengths, error) {
		return Strengths{}, fmt.Errorf("strength %q: %q; allowed: %s", text, field, allowed)
	}
	var positional []float32
	named := map[string]string{}
	for field := range strings.SplitSeq(text, ":") {
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(field, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if alias, ok := aliases[name]; ok {
			name = alias
		}
		if !ok {
			x, err := number(field)
			if err != nil || len(named) > 0 {
				return fail(field, strengthForms)
			}
			positional = append(positional, x)
			continue
		}
		if _, twice := named[name]; twice {
			return fail(field, "each setting once")
		}
		named[name] = value
	}
	s := Strength(1)
	switch len(positional) {
	case 0:
	case 1:
		s = Strength(positional[0])
	case 2, 3:
		s = Strength(positional[0])
		s.unet(positional[1])
		if len(positional) == 3 {
			s.Rank = int(positional[2])
			if float32(s.Rank) != positional[2] || s.Rank < 1 {
				return fail(fmt.Sprint(positional[2]), "as the third number a rank from 1")
			}
		}
	default:
		return fail(text, strengthForms)
	}
	for _, level := range settings() {
		value, ok := named[level.name]
		if !ok {
			continue
		}
		delete(named, level.name)
		if err := level.set(&s, value); err != nil {
			return fail(level.name+"="+value, err.Error())
		}
	}
	for name, value := range named {
		return fail(name+"="+value, strengthForms)
	}
	return s, nil
}

var aliases = map[string]string{"in": "down", "out": "up", "middle": "mid", "m00": "mid", "clip_l": "te1", "clip_g": "te2"}

// number reads a finite number.
func number(s string) (float32, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(s), 32)
	if err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
		err = fmt.Errorf("not finite")
	}
	return float32(x), err
}

// String is the shortest form that [ParseStrengths] reads back to the same value.
func (s Strengths) String() string {
	text := func(x float32) string { return strconv.FormatFloat(float64(x), 'g', -1, 32) }
	if s == Strength(s.Base) {
		return text(s.Base)
	}
	b := fmt.Sprintf("te1=%s:te2=%s:unet=%s", text(s.TextEncoder), text(s.TextEncoder2), text(s.Base))
	for i, x := range s.Blocks {
		if x != s.Base {
			b += ":" + slotName(i) + "=" + text(x)
		}
	}
	if s.Rank > 0 {
		b += ":dyn=" + strconv.Itoa(s.Rank)
	}
	return b
}

// slotName is a slot as a setting.
func slotName(slot int) string {
	switch {
	case slot < midSlot:
		return fmt.Sprintf("in%02d", slot)
	case slot == midSlot:
		return "mid"
	}
	return fmt.Sprintf("out%02d", slot-outSlot)
}
