package sdxl

import (
	"fmt"
	"image"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
)

// TestCardPreviews: on a card, latents are bit for bit those without previews. Those come after every step, in order,
// the last one of the latents themselves.
func TestCardPreviews(t *testing.T) {
	dev := card(t, cuda.Options{})
	m := openDemoFolder(t, dev, kernels.F16)
	rgb, err := m.Spec().latentRGB()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cardRequests(m) {
		r := c.Request
		r.LatentsOnly = true
		want := latentsAlone(t, m, r)[0]
		r, seen, images := previewing(r, 1)
		got, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !slices.Equal(got.Latents.Data, want.Data) {
			t.Errorf("%s: other latents than without previews", c.name)
		}
		if len(*seen) != got.Steps || !slices.IsSorted(*seen) {
			t.Fatalf("%s: previews after %v", c.name, *seen)
		}
		for i, img := range (*images)[got.Steps-1] {
			nearPreview(t, c.name, img, rgb, got.Latents, i, 1.5) // in fp16
		}
	}
}

// BenchmarkCardPreview is a step of SDXL's size on a card, without a preview and with some, by the matrix and by TAESDXL.
func BenchmarkCardPreview(b *testing.B) {
	dev, err := cuda.Open(cuda.Options{})
	if err != nil {
		b.Skip(err)
	}
	defer dev.Close()
	m, err := Open(b.Context(), "synth:base", Options{Host: hostOf(dev), PreviewTAESD: writeTAESD(b, "{}", diffusersWeights, nil)})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for _, side := range []int{512, 1024} {
		for _, c := range []struct {
			method PreviewMethod
			every  int
		}{{PreviewNone, 0}, {PreviewLatent2RGB, 1}, {PreviewLatent2RGB, 5}, {PreviewByTAESD, 1}, {PreviewAuto, 1}} {
			b.Run(fmt.Sprintf("side=%d/method=%s/every=%d", side, c.method, c.every), func(b *testing.B) {
				m.options.PreviewMethod = c.method
				r := Request{Prompt: "a lighthouse", Width: side, Height: side, Steps: 1000, Seed: new(uint64(1)), LatentsOnly: true}
				if c.every > 0 {
					r.Preview = &Preview{Every: c.every, Func: func(int, []*image.NRGBA) {}}
				}
				run, err := m.Start(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				defer run.Close()
				steps := func(n int) {
					for range n {
						if err := run.Step(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := run.Latents(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				steps(3)
				const n = 100
				for b.Loop() {
					steps(n)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/n/float64(b.N), "ms/step")
			})
		}
	}
}
