package sdxl

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/nn"
)

// TestSubseedNoise compares the first noise of runs with A1111's.
func TestSubseedNoise(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	g := golden.Open(t, testdata+"/goldens/subseeds.safetensors")
	for _, c := range []struct {
		seed, subseed uint64
		strength      string
	}{{7, 1000, "0.25"}, {7, 1000, "1.0"}, {1<<63 + 5, 3, "0.6"}, {12, 11, "0.5"}} {
		name := fmt.Sprint(c.seed, c.subseed, " ", c.strength)
		want, shape := g.Floats(name)
		r := small()
		r.Height, r.Width = 8*shape[2], 8*shape[3]
		if n := shape[0]; n > 1 {
			r.Seed, r.Seeds, r.ImagesPerPrompt = nil, slices.Repeat([]uint64{c.seed}, n), n
		} else {
			r.Seed = &c.seed
		}
		r.Subseed = &c.subseed
		if _, err := fmt.Sscan(c.strength, &r.SubseedStrength); err != nil {
			t.Fatal(err)
		}
		run, err := m.Start(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		got, err := run.Latents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got.Data {
			if have := float64(v) / run.Schedule().InitNoiseSigma; math.Abs(have-float64(want[i])) > 2e-6*max(1, math.Abs(have)) {
				t.Fatalf("%s: value %d is %v, want %v", name, i, have, want[i])
			}
		}
	}
}

// TestSubseeds has a strength of 0 change nothing, whatever the subseed, image i of a batch the subseed that follows, and
// image-to-image and an ensemble the same noise as any other.
func TestSubseeds(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	m, refiner := models.open("tiny"), models.open("tiny-refiner")
	latents := func(change func(*Request)) *Tensor {
		t.Helper()
		r := small()
		r.LatentsOnly, r.Subseed = true, new(uint64(50))
		change(&r)
		got, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return got.Latents
	}
	plain := latents(func(r *Request) { r.Subseed = nil })
	if zero := latents(func(*Request) {}); !slices.Equal(zero.Data, plain.Data) {
		t.Error("a strength of 0 changes the noise")
	}
	for name, change := range map[string]func(*Request){
		"text-to-image":  func(*Request) {},
		"image-to-image": func(r *Request) { r.Image, r.Width, r.Height, r.Strength = gradient(48, 40), 0, 0, 0.9 },
	} {
		both := latents(func(r *Request) {
			change(r)
			r.Seed, r.Seeds, r.ImagesPerPrompt, r.SubseedStrength = nil, []uint64{7, 7}, 2, 0.3
		})
		second := latents(func(r *Request) {
			change(r)
			r.Subseed, r.SubseedStrength = new(uint64(51)), 0.3
		})
		if half := len(second.Data); !slices.Equal(both.Data[half:], second.Data) || slices.Equal(both.Data[:half], second.Data) {
			t.Errorf("%s: the second image has not the next subseed", name)
		}
	}
	r := small()
	r.SubseedStrength = 0.3
	got, err := Ensemble(t.Context(), r, Expert{m, 0.5}, Expert{Model: refiner})
	if err != nil || got.Parameters.Subseed == 0 || got.Parameters.SubseedStrength != 0.3 {
		t.Fatalf("%v, %+v", err, got)
	}
	r.Subseed = &got.Parameters.Subseed
	again, err := Ensemble(t.Context(), r, Expert{m, 0.5}, Expert{Model: refiner})
	if err != nil || !slices.Equal(again.Latents.Data, got.Latents.Data) {
		t.Errorf("the subseed that was drawn gives another image: %v", err)
	}
}

// TestBadSubseeds refuses what can't be, by the field.
func TestBadSubseeds(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	for _, change := range []func(*Request){
		func(r *Request) { r.SubseedStrength = -0.1 },
		func(r *Request) { r.SubseedStrength = 1.1 },
		func(r *Request) { r.SubseedStrength = math.NaN() },
		func(r *Request) { r.SubseedStrength, r.Latents = 0.1, nn.NewTensor(1, 4, 5, 6) },
		func(r *Request) { r.SubseedStrength, r.Image, r.DenoisingStart = 0.1, gradient(48, 40), 0.5 },
	} {
		r := small()
		change(&r)
		if _, err := base.Resolve(r); err == nil || !strings.Contains(err.Error(), "subseed_strength is ") {
			t.Errorf("%v: %v", r.SubseedStrength, err)
		}
	}
}
