package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// single inspects a checkpoint in one file, or a UNet alone, which takes says how to use. One that lacks nothing is
// opened and tried as generate does.
func (i *inspection) single(path, takes string) [][2]string {
	c, err := singlefile.Open(path)
	if err != nil {
		i.problem(err)
		return nil
	}
	facts := [][2]string{{"flag", takes}, {"prediction", c.Prediction()}}
	for _, component := range []string{singlefile.TextEncoder, singlefile.TextEncoder2, singlefile.UNet, singlefile.VAE} {
		if src := c.Component(component); src != nil {
			i.rows = append(i.rows, describeTensors(component, "-", filepath.Base(path), src))
		}
	}
	missing := c.Missing()
	if n := len(c.Unclaimed); n > 0 && (len(missing) > 0 || c.Kind.Form == weights.BareUNet) { // opening says so too
		i.notes = append(i.notes, note(fmt.Sprintf("%s that no part of the model has: %s", plural(n, "tensor"), strings.Join(c.Unclaimed, ", "))))
	}
	i.notes = append(i.notes, c.Notes...)
	if err := c.Close(); err != nil {
		i.problem(err)
	}
	if len(missing) == 0 {
		return append(facts, i.open(path)...)
	}
	facts = append(facts, [2]string{"not in it", strings.Join(missing, ", ")})
	if c.Kind.Form == weights.Checkpoint {
		i.notes = append(i.notes, "what is not in it is taken from a model given with -base, a VAE also from -vae")
	}
	return facts
}
