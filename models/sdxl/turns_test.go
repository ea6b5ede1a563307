package sdxl

import (
	"fmt"
	"image"
	"math"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn"
)

// with is small changed.
func with(change func(*Request)) Request {
	r := small()
	r.LatentsOnly = true
	change(&r)
	return r
}

// scheduled is a request with a scheduler of its own, at a size of its own.
func scheduled(name string, seed uint64, width int) Request {
	return with(func(r *Request) { r.Scheduler, r.Seed, r.Width, r.Steps = name, &seed, width, 6 })
}

// gradient is an image with every value in it.
func gradient(width, height int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i / 7)
	}
	return img
}

// latentsAlone are what each request gives alone.
func latentsAlone(t *testing.T, m *Model, requests ...Request) (list []*Tensor) {
	t.Helper()
	for _, r := range requests {
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, result.Latents)
	}
	return list
}

// started begins a run, to be closed at the end of the test.
func started(t *testing.T, m *Model, r Request) *Run {
	t.Helper()
	run, err := m.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.Close)
	return run
}

// steps takes so many steps, or those that are left.
func steps(t *testing.T, r *Run, n int) {
	t.Helper()
	for ; n > 0 && r.Next(); n-- {
		if err := r.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// finished checks the final latents of a run.
func finished(t *testing.T, what string, r *Run, want *Tensor) {
	t.Helper()
	result, err := r.Finish(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !slices.Equal(result.Latents.Shape, want.Shape) || !slices.Equal(result.Latents.Data, want.Data) {
		t.Errorf("%s: other latents than alone", what)
	}
}

// pairs are requests whose runs are stepped in turns.
func pairs() map[string][2]Request {
	falling := with(func(r *Request) { r.GuidancePerStep, r.Steps, r.Scheduler = []float64{7, 1, 1, 4}, 6, "dpmpp_2m" })
	images := with(func(r *Request) { r.Image, r.Strength, r.Steps = gradient(48, 40), 0.8, 8 })
	batch := with(func(r *Request) {
		r.Seed, r.Seeds, r.ImagesPerPrompt, r.Scheduler = nil, []uint64{1, 2}, 2, "dpmpp_2m_sde"
	})
	return map[string][2]Request{
		"the same twice":         {scheduled("euler", 1, 48), scheduled("euler", 1, 48)},
		"one size":               {scheduled("euler", 1, 48), scheduled("euler", 2, 48)},
		"two sizes":              {scheduled("euler", 1, 48), scheduled("euler", 2, 64)},
		"history, one size":      {scheduled("dpmpp_2m", 1, 48), scheduled("dpmpp_2m", 2, 48)},
		"history of two lengths": {scheduled("unipc", 1, 48), scheduled("lms", 2, 48)},
		"history and none":       {scheduled("lms", 1, 48), scheduled("euler", 2, 64)},
		"SDE noise":              {scheduled("dpmpp_2m_sde", 1, 48), scheduled("dpmpp_2m_sde", 2, 48)},
		"ancestral noise, Heun":  {scheduled("euler_a", 1, 48), scheduled("heun", 2, 48)},
		"guidance that changes":  {falling, scheduled("dpmpp_2m", 2, 48)},
		"both change":            {falling, falling},
		"an image":               {images, scheduled("unipc", 2, 48)},
		"a batch of seeds":       {batch, scheduled("dpmpp_2m_sde", 2, 48)},
	}
}

// TestTurns steps two runs of a model in turns of every kind: each gives what it gives alone. Meanwhile the model
// predicts, encodes and decodes.
func TestTurns(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for name, pair := range pairs() {
		t.Run(name, func(t *testing.T) {
			want := latentsAlone(t, m, pair[0], pair[1])
			for _, turn := range [][2]int{{1, 1}, {2, 3}} {
				a, b := started(t, m, pair[0]), started(t, m, pair[1])
				for a.Next() || b.Next() {
					steps(t, a, turn[0])
					steps(t, b, turn[1])
				}
				what := fmt.Sprint(name, " ", turn)
				finished(t, what+" first", a, want[0])
				finished(t, what+" second", b, want[1])
			}
			a, b := started(t, m, pair[0]), started(t, m, pair[1])
			for a.Next() || b.Next() {
				steps(t, a, 1)
				x, err := b.Latents(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				before := slices.Clone(x.Data)
				if _, err := b.Predict(t.Context(), x, 500, 1); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(before, x.Data) {
					t.Fatal("Predict changed its argument")
				}
				if _, _, err := m.EncodePrompt(t.Context(), 0, Prompt{Prompt: "a bridge"}); err != nil {
					t.Fatal(err)
				}
				if _, err := m.Decode(t.Context(), x); err != nil {
					t.Fatal(err)
				}
				steps(t, b, 1)
			}
			finished(t, name+" first, with other calls", a, want[0])
			finished(t, name+" second, with other calls", b, want[1])
		})
	}
}

// TestTurnsOfBaseAndRefiner steps runs of two models that share a host, and the autoencoder.
func TestTurnsOfBaseAndRefiner(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	text := scheduled("dpmpp_2m", 1, 48)
	refined := with(func(r *Request) {
		r.Image, r.Width, r.Height, r.Strength, r.Steps, r.Scheduler = gradient(64, 40), 0, 0, 0.8, 8, "unipc"
	})
	want, wantRefined := latentsAlone(t, base, text), latentsAlone(t, refiner, refined)
	a, b := started(t, base, text), started(t, refiner, refined)
	for a.Next() || b.Next() {
		steps(t, a, 1)
		steps(t, b, 1)
	}
	finished(t, "base", a, want[0])
	finished(t, "refiner", b, wantRefined[0])
}

// TestSetLatentsInTurns sets the latents of a run while it is parked, and while it is live: the same comes of it, also
// where steps overflow afterwards.
func TestSetLatentsInTurns(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	given := nn.NewTensor(1, 4, 5, 6)
	for i := range given.Data {
		given.Data[i] = float32(math.Sin(float64(i)))
	}
	r := scheduled("dpmpp_2m_sde", 1, 48)
	var want *Tensor
	for _, spoils := range [][]kernels.DType{nil, {kernels.F16}} {
		d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: spoils}
		m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, parked := range []bool{false, true} {
			run, other := started(t, m, r), started(t, m, scheduled("unipc", 2, 48))
			steps(t, run, 2)
			if parked {
				steps(t, other, 1)
			}
			changed := given.Clone()
			if err := run.SetLatents(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			clear(changed.Data) // the run has a copy
			if x, err := run.Latents(t.Context()); err != nil || !slices.Equal(x.Data, given.Data) {
				t.Errorf("parked %v: %v, or other latents than were set", parked, err)
			}
			steps(t, run, 9)
			if want == nil {
				if want, err = run.Latents(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			finished(t, fmt.Sprint("spoils ", spoils, ", parked ", parked), run, want)
			run.Close()
			other.Close()
		}
	}
}

// TestCloseInTurns closes one of two runs, live or parked: the other goes on.
func TestCloseInTurns(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := scheduled("dpmpp_2m_sde", 1, 48)
	want := latentsAlone(t, m, r)[0]
	for _, live := range []bool{false, true} {
		run, other := started(t, m, r), started(t, m, scheduled("unipc", 2, 64))
		steps(t, other, 2)
		steps(t, run, 2)
		if live {
			steps(t, other, 1)
		}
		other.Close()
		other.Close()
		steps(t, run, 9)
		finished(t, fmt.Sprint("live ", live), run, want)
		given := nn.NewTensor(1, 4, 5, 8)
		for what, call := range map[string]func() error{
			"Step":       func() error { return other.Step(t.Context()) },
			"Latents":    func() error { _, err := other.Latents(t.Context()); return err },
			"SetLatents": func() error { return other.SetLatents(t.Context(), given) },
			"Predict":    func() error { _, err := other.Predict(t.Context(), given, 500, 1); return err },
			"Finish":     func() error { _, err := other.Finish(t.Context()); return err },
		} {
			if err := call(); err == nil || err.Error() != "sdxl: the run is closed" {
				t.Errorf("%s of a closed run: %v", what, err)
			}
		}
		if m.host.liveRun(m.UNet.Network) == other {
			t.Error("the closed run is live")
		}
		run.Close()
	}
}

// TestGuidanceBegins has no guidance at first: the steps are those of a run without, then of one with it.
func TestGuidanceBegins(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	guided := func(scales ...float64) Request {
		return with(func(r *Request) { r.GuidancePerStep, r.Scheduler = scales, "euler" })
	}
	want := latentsAlone(t, m, guided(1, 0, 6))[0]
	first, second := started(t, m, guided(1)), started(t, m, guided(8, 8, 6))
	steps(t, first, 2)
	steps(t, second, 2)
	x, err := first.Latents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.SetLatents(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	steps(t, second, 9)
	finished(t, "guidance begins", second, want)
}

// TestEmbeddingsAreCopied changes prompt embeddings under a run that has begun, and parks it.
func TestEmbeddingsAreCopied(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	e, _, err := m.EncodePrompt(t.Context(), 0, Prompt{Prompt: "a bridge"})
	if err != nil {
		t.Fatal(err)
	}
	r := with(func(r *Request) { r.Prompt, r.Embeddings = "", e })
	want := latentsAlone(t, m, r)[0]
	run, other := started(t, m, r), started(t, m, scheduled("euler", 1, 64))
	steps(t, run, 1)
	for _, x := range []*Tensor{e.Prompt, e.Pooled, e.Negative, e.NegativePooled} {
		clear(x.Data)
	}
	steps(t, other, 1)
	steps(t, run, 9)
	finished(t, "embeddings changed", run, want)
}

// TestFinishOnTheWay decodes what is there after some steps, and goes on.
func TestFinishOnTheWay(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := scheduled("dpmpp_2m_sde", 1, 48)
	want := latentsAlone(t, m, r)[0]
	r.LatentsOnly = false
	run := started(t, m, r)
	for i := range 6 {
		result, err := run.Finish(t.Context())
		if err != nil || result.Steps != i || len(result.Images) != 1 {
			t.Fatalf("after %d steps: %v, %v", i, err, result)
		}
		steps(t, run, 1)
	}
	finished(t, "after previews", run, want)
}
