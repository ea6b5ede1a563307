package server

import (
	"fmt"
	"image"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Variations of a seed have that seed and one subseed after the other, however many images a job has; the answer and the
// infotext say so, and what is pasted from that makes them again.
func TestSDSubseeds(t *testing.T) {
	for batch := 1; batch <= 3; batch++ {
		b := sdBench(t, func(c *Config) { c.MaxBatch = batch })
		var mu sync.Mutex
		var got []string
		b.base.seedless = true
		b.base.give = func(j engine.Job, _ *image.NRGBA) (*sdxl.Result, error) {
			r := j.Request
			seeds := r.Seeds
			if r.Seed != nil {
				seeds = append(seeds, *r.Seed)
			}
			mu.Lock()
			defer mu.Unlock()
			for i, seed := range seeds {
				got = append(got, fmt.Sprint(seed, *r.Subseed+uint64(i), r.SubseedStrength))
			}
			return &sdxl.Result{Parameters: j.Parameters, Images: slices.Repeat([]*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))}, len(seeds))}, nil
		}
		a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","seed":5,"subseed":100,"subseed_strength":0.25,"batch_size":3,"n_iter":2,"steps":2,"width":64,"height":64}`))
		slices.Sort(got)
		if want := "[5 100 0.25 5 101 0.25 5 102 0.25 5 103 0.25 5 104 0.25 5 105 0.25]"; fmt.Sprint(got) != want {
			t.Errorf("batches of %d: %v, want %s", batch, got, want)
		}
		if !slices.Equal(a.info.AllSeeds, []uint64{5, 5, 5, 5, 5, 5}) || !slices.Equal(a.info.AllSubseeds, []uint64{100, 101, 102, 103, 104, 105}) ||
			a.info.Subseed != 100 || a.info.SubseedStrength != 0.25 || len(a.info.Infotexts) != 6 {
			t.Fatalf("%+v", a.info)
		}
		for i, text := range a.info.Infotexts {
			if !strings.Contains(text, fmt.Sprintf("Seed: 5, Size: 64x64, Model: fake-base, Variation seed: %d, Variation seed strength: 0.25, ", 100+i)) {
				t.Errorf("image %d: %s", i, text)
			}
		}
		got = nil
		again := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", fmt.Sprintf(`{"infotext":%q}`, a.info.Infotexts[4])))
		if fmt.Sprint(got) != "[5 104 0.25]" || len(again.info.Ignored) > 0 {
			t.Errorf("pasted: %v, %v", got, again.info.Ignored)
		}
	}
}
