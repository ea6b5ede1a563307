package main

import (
	"context"
	"flag"
	"image"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

var mutations = flag.Int("mutations", 30, "mutated folders, of a base and of a refiner each, that TestInspectAgrees looks at")

// draws opens a model and draws one step of the smallest image: from text unless it is a refiner, and from an image.
// The prompt is the one of Trial, since a weight near the end of float32's range overflows with some prompts alone.
func draws(ctx context.Context, dev kernels.Device, dir string) error {
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		return err
	}
	p, err := sdxl.Open(ctx, dir, sdxl.Options{Host: host})
	if err != nil {
		return err
	}
	defer p.Close()
	info := p.Info()
	side := max(8, info.ScaleFactor)
	r := sdxl.Request{Prompt: "a lighthouse", Steps: 1, Strength: 1, Width: side, Height: side}
	if !info.Refiner {
		if _, err := p.Generate(ctx, r); err != nil {
			return err
		}
	}
	r.Image = image.NewNRGBA(image.Rect(0, 0, side, side))
	_, err = p.Generate(ctx, r)
	return err
}

// TestInspectAgrees changes one thing after the other in a model folder: inspect finds it usable exactly if it draws.
func TestInspectAgrees(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	usable := 0
	for seed, kind := range []string{"base", "refiner"} {
		m := newMutant(t, synthesised(t, kind), uint64(seed))
		for range *mutations {
			what := m.mutate()
			a, err := goxl(t, "inspect", m.dir), draws(t.Context(), dev, m.dir)
			if (a.status == 0) != (err == nil) {
				t.Errorf("%s, %s: inspect ends with %d, drawing with: %v\n%s%s", kind, what, a.status, err, a.out, a.err)
			}
			if err == nil {
				usable++
			}
			m.restore()
		}
	}
	if all := 2 * *mutations; usable < all/10 || usable > all*9/10 {
		t.Errorf("%d of %d mutated folders draw", usable, all)
	}
}
