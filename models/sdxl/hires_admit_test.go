package sdxl

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
)

// TestHiresWithinMemory: what comes behind the first pass is looked at before its first step: the second pass, the
// upscaler, and ControlNets in both sizes.
func TestHiresWithinMemory(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.safetensors") // whose smallest tile takes more than the passes
	if err := esrgan.Synthesise(esrgan.Config{Kind: esrgan.RRDB, Features: 160, Growth: 8, Blocks: 1, Doublings: 2, Unshuffle: 1}, kernels.F32, large); err != nil {
		t.Fatal(err)
	}
	g := openControlGoldens(t)
	for what, c := range map[string]struct {
		side int
		set  func(*Request)
	}{
		"the second pass": {128, func(r *Request) { r.Hires = &Hires{Steps: 1} }},
		"an upscaler":     {64, func(r *Request) { r.Hires = &Hires{Steps: 1, Scale: 1.25, Upscaler: large} }},
		"with a ControlNet": {128, func(r *Request) {
			r.Hires, r.Controls = &Hires{Steps: 1}, []Control{{Path: g.folder("full"), Image: g.picture("a")}}
		}},
	} {
		free := within(t, 0, false)
		compute := func(l *limited, change func(*Request)) error {
			r := l.request(c.side)
			r.LatentsOnly = true // a decoder that has no room works in tiles
			c.set(&r)
			change(&r)
			_, err := l.base.Generate(t.Context(), r)
			return err
		}
		both, first := func(*Request) {}, func(r *Request) { r.Hires = nil }
		if err := compute(free, first); err != nil {
			t.Fatal(err)
		}
		alone := free.memory().Peak
		if err := compute(free, both); err != nil {
			t.Fatal(err)
		}
		peak := free.memory().Peak
		if peak < alone+mebi/4 {
			t.Fatalf("%s: hires takes %d bytes and the first pass %d: no difference to test", what, peak, alone)
		}
		l := within(t, alone+(peak-alone)/4, false)
		l.refused(what, compute(l, both))
		if err := compute(l, first); err != nil {
			t.Errorf("%s: the first pass alone, after a refusal: %v", what, err)
		}
		if err := compute(within(t, peak+mebi/2, false), both); err != nil {
			t.Errorf("%s: with all the memory that it needs: %v", what, err)
		}
	}
}

// TestHiresOnTheWay: an upscaler that gives too many pixels on the way to the size is refused before the first step.
func TestHiresOnTheWay(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	q, err := m.resolve(Request{Prompt: "a", Width: 1032, Height: 1032, Hires: &Hires{Width: 4136, Height: 4136, Upscaler: esrganFiles + "old.pth"}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := m.host.openUpscaler(esrganFiles+"old.pth", 0)
	if err != nil {
		t.Fatal(err)
	}
	m.upscales.Store(true)
	err = m.admitEnlarging(q, f)
	if bad := (*RequestError)(nil); !errors.As(err, &bad) || bad.Field != "hires.upscaler" {
		t.Errorf("error %v", err)
	}
}
