package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"

	"github.com/goxl/goxl/models/sdxl"
)

// registerSubseed adds the flags of A1111's variation seeds.
func (g *generateFlags) registerSubseed(fs *flag.FlagSet) {
	r := &g.request
	fs.Func("subseed", "A1111's variation seed, a `number` as -seed's for -subseed-strength; image i of a batch has it plus i; without it random, printed, and stored in the image", func(s string) error {
		r.Subseed = nil
		if s == "-1" { // as A1111
			return nil
		}
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return errors.New("must be 0 to 18446744073709551615, or -1 for a random one")
		}
		r.Subseed = &seed
		return nil
	})
	fs.Func("subseed-strength", "how far the noise is turned from the seed's to that of -subseed, a `fraction`, 0 to 1, as A1111's variation strength", func(s string) error {
		strength, err := strconv.ParseFloat(s, 64)
		if err != nil || !(strength >= 0 && strength <= 1) {
			return errors.New("must be 0 to 1")
		}
		r.SubseedStrength = strength
		return nil
	})
}

// chooseSeed fills in random seeds where none are given, and prints them.
func (g *generateFlags) chooseSeed(s streams) {
	r := &g.request
	if r.Seed == nil && len(r.Seeds) == 0 {
		r.Seed = new(sdxl.RandomSeed())
		fmt.Fprintf(s.err, "seed %d\n", *r.Seed)
	}
	if r.Subseed == nil && r.SubseedStrength > 0 {
		r.Subseed = new(sdxl.RandomSeed())
		fmt.Fprintf(s.err, "subseed %d\n", *r.Subseed)
	}
}
