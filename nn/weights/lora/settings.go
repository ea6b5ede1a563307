package lora

import (
	"fmt"
	"strconv"
	"strings"
)

// setting is a named part of a strength.
type setting struct {
	name string
	set  func(s *Strengths, value string) error
}

// settings are those that [ParseStrengths] takes, coarse ones first.
func settings() []setting {
	var all []setting
	add := func(name string, to func(s *Strengths, x float32)) {
		all = append(all, setting{name, func(s *Strengths, value string) error {
			x, err := number(value)
			if err != nil {
				return fmt.Errorf("a number")
			}
			to(s, x)
			return nil
		}})
	}
	slots := func(first, end int) func(s *Strengths, x float32) {
		return func(s *Strengths, x float32) {
			for i := first; i < end; i++ {
				s.Blocks[i] = x
			}
		}
	}
	add("te", func(s *Strengths, x float32) { s.TextEncoder, s.TextEncoder2 = x, x })
	add("te1", func(s *Strengths, x float32) { s.TextEncoder = x })
	add("te2", func(s *Strengths, x float32) { s.TextEncoder2 = x })
	add("unet", (*Strengths).unet)
	add("down", slots(0, midSlot))
	add("mid", slots(midSlot, outSlot))
	add("up", slots(outSlot, blockSlots))
	for b := range 3 { // a block of diffusers is three of the original code; conv_in is the first
		add(fmt.Sprintf("down%d", b), slots(3*b+1, min(3*b+4, midSlot)))
		add(fmt.Sprintf("up%d", b), slots(outSlot+3*b, outSlot+3*b+3))
	}
	for i := range blockSlots {
		if i != midSlot {
			add(slotName(i), slots(i, i+1))
		}
	}
	return append(all, setting{"lbw", (*Strengths).blockWeights}, setting{"dyn", (*Strengths).cutRank})
}

func (s *Strengths) cutRank(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return fmt.Errorf("a rank from 1")
	}
	s.Rank = n
	return nil
}

// blockWeights multiplies the strengths with a vector in the layout of A1111's block weights.
func (s *Strengths) blockWeights(value string) error {
	var x []float32
	for field := range strings.SplitSeq(value, ",") {
		v, err := number(field)
		if err != nil {
			return fmt.Errorf("numbers with commas")
		}
		x = append(x, v)
	}
	base := float32(1)
	switch len(x) {
	case 1:
		base = x[0]
		for i := range s.Blocks {
			s.Blocks[i] *= x[0]
		}
	case 1 + len(twelve):
		base = x[0]
		for i, slot := range twelve {
			s.Blocks[slot] *= x[1+i]
		}
	case blockSlots, 1 + blockSlots:
		if len(x) > blockSlots {
			base, x = x[0], x[1:]
		}
		for i := range s.Blocks {
			s.Blocks[i] *= x[i]
		}
	default:
		return fmt.Errorf("1, %d, %d or %d numbers", 1+len(twelve), blockSlots, 1+blockSlots)
	}
	s.Base *= base
	s.TextEncoder *= base
	s.TextEncoder2 *= base
	return nil
}
