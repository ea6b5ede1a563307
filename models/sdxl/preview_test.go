package sdxl

import (
	"context"
	"errors"
	"image"
	"math"
	"slices"
	"strings"
	"testing"
)

// previewing is a request with previews, and what they were.
func previewing(r Request, every int) (Request, *[]int, *[][]*image.NRGBA) {
	var seen []int
	var images [][]*image.NRGBA
	r.Preview = &Preview{Every: every, Func: func(step int, list []*image.NRGBA) {
		seen, images = append(seen, step), append(images, list)
	}}
	return r, &seen, &images
}

// TestPreviewsChangeNothing has a preview after every step: latents and image are bit for bit those without, whichever
// way the steps are taken, and whatever steps they are.
func TestPreviewsChangeNothing(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	requests := map[string]Request{}
	for name, pair := range pairs() {
		requests[name] = pair[0]
	}
	requests["ancestral noise"] = scheduled("euler_a", 1, 48)
	requests["Heun"] = scheduled("heun", 1, 48)
	requests["a history of four"] = scheduled("pndm", 1, 48)
	requests["images"] = with(func(r *Request) { r.LatentsOnly, r.ImagesPerPrompt = false, 2 })
	for name, r := range requests {
		for way, draw := range draws(base, refiner) {
			if way == "Ensemble" && r.Image != nil {
				continue
			}
			want, err := draw(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			r, seen, images := previewing(r, 0)
			got, err := draw(t.Context(), r)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, way, err)
			}
			if !slices.Equal(got.Latents.Data, want.Latents.Data) {
				t.Errorf("%s, %s: other latents than without previews", name, way)
			}
			for i, img := range got.Images {
				if !slices.Equal(img.Pix, want.Images[i].Pix) {
					t.Errorf("%s, %s: another image than without previews", name, way)
				}
			}
			var all []int
			for step := range got.Steps {
				all = append(all, step+1)
			}
			if !slices.Equal(*seen, all) {
				t.Errorf("%s, %s: previews after %v, want %v", name, way, *seen, all)
			}
			for _, list := range *images {
				if len(list) != got.Parameters.Images || list[0].Rect != image.Rect(0, 0, got.Latents.Shape[3], got.Latents.Shape[2]) {
					t.Fatalf("%s, %s: %d previews, the first of %v", name, way, len(list), list[0].Rect)
				}
			}
		}
	}
}

// TestPreviewsOfTurns steps two runs of a model in turns, with previews of both: the one's are the one's.
func TestPreviewsOfTurns(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for name, pair := range pairs() {
		var alone, turns [2][][]*image.NRGBA
		var runs [2]*Run
		for i, r := range pair {
			r, _, images := previewing(r, 2)
			if _, err := m.Generate(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			alone[i] = *images
		}
		var images [2]*[][]*image.NRGBA
		for i, r := range pair {
			r, _, images[i] = previewing(r, 2)
			runs[i] = started(t, m, r)
		}
		for runs[0].Next() || runs[1].Next() {
			steps(t, runs[0], 1)
			steps(t, runs[1], 2)
		}
		for i := range runs {
			if _, err := runs[i].Finish(t.Context()); err != nil {
				t.Fatal(err)
			}
			turns[i] = *images[i]
			if len(turns[i]) != len(alone[i]) || len(turns[i]) == 0 {
				t.Fatalf("%s: %d previews, %d alone", name, len(turns[i]), len(alone[i]))
			}
			for k, list := range turns[i] {
				for j, img := range list {
					if !slices.Equal(img.Pix, alone[i][k][j].Pix) {
						t.Errorf("%s: preview %d of image %d is another than alone", name, k, j)
					}
				}
			}
		}
	}
}

// TestPreviewIsX0: the pixels are those of x0 by the matrix, as the UNet predicts it at each step. Where a schedule
// ends without noise, the last one is the latents that the run ends with.
func TestPreviewIsX0(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	tiny := m.open("tiny")
	for _, name := range []string{"euler", "dpmpp_2m", "unipc", "ddim", "lcm", "k_euler", "k_dpmpp_2m", "comfy_euler"} {
		r := scheduled(name, 1, 48)
		r.Seed, r.Seeds, r.ImagesPerPrompt = nil, []uint64{1, 2}, 2
		r, _, images := previewing(r, 1)
		var x0 [][]float32
		run := started(t, tiny, r)
		for run.Next() {
			step := run.Schedule().Steps[run.next]
			x, err := run.Latents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
			if err != nil {
				t.Fatal(err)
			}
			estimate := p.Guided(run.Parameters().Guidance)
			for i, v := range estimate.Data {
				estimate.Data[i] = float32(step.A*float64(x.Data[i]) + step.B*float64(v))
				if c := step.Clip; c > 0 {
					estimate.Data[i] = float32(min(max(float64(estimate.Data[i]), -c), c))
				}
			}
			x0 = append(x0, estimate.Data)
			steps(t, run, 1)
		}
		result, err := run.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(*images) != len(x0) {
			t.Fatalf("%s: %d previews of %d steps", name, len(*images), len(x0))
		}
		for k, list := range *images {
			for i, img := range list {
				samePreview(t, name, img, sdxlRGB, &Tensor{Shape: result.Latents.Shape, Data: x0[k]}, i)
			}
		}
		if name == "ddim" { // its last step stops short, at the first timestep's noise level
			continue
		}
		for i, img := range (*images)[len(x0)-1] {
			samePreview(t, name+" at the end", img, sdxlRGB, result.Latents, i)
		}
	}
}

// samePreview compares a preview with the matrix's pixels of latents, within the rounding of float32 in x0.
func samePreview(t *testing.T, what string, img *image.NRGBA, rgb *latentRGB, x *Tensor, i int) {
	t.Helper()
	nearPreview(t, what, img, rgb, x, i, 0.51)
}

// nearPreview compares within a tolerance of 255 levels.
func nearPreview(t *testing.T, what string, img *image.NRGBA, rgb *latentRGB, x *Tensor, i int, tolerance float64) {
	t.Helper()
	c, plane := x.Shape[1], x.Shape[2]*x.Shape[3]
	for at := range plane {
		for k := range 3 {
			v := float64(rgb.bias[k])
			for channel := range c {
				v += float64(rgb.factors[channel][k]) * float64(x.Data[(i*c+channel)*plane+at])
			}
			want := 255 * min(max((v+1)/2, 0), 1)
			if got := float64(img.Pix[4*at+k]); math.Abs(got-want) > tolerance {
				t.Fatalf("%s: pixel %d of image %d has %v for %v", what, at, i, got, want)
			}
		}
		if img.Pix[4*at+3] != 255 {
			t.Fatalf("%s: pixel %d lets through", what, at)
		}
	}
}

// TestPreviewSteps: Every counts from the run's beginning, in an ensemble over all experts.
func TestPreviewSteps(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for every, want := range map[int][]int{1: {1, 2, 3, 4, 5, 6}, 2: {2, 4, 6}, 4: {4}, 6: {6}, 7: nil} {
		for way, draw := range draws(base, refiner) {
			r, seen, _ := previewing(scheduled("euler", 1, 48), every)
			if _, err := draw(t.Context(), r); err != nil || !slices.Equal(*seen, want) {
				t.Errorf("%s, every %d: %v after %v, want %v", way, every, err, *seen, want)
			}
		}
	}
}

// TestPreviewTAESD: a model with a TAESD makes previews by it, the last of which is the image itself, in every way.
func TestPreviewTAESD(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(m.dev), TAESD: writeTAESD(t, smallTAESD, diffusersWeights, nil), PreviewMethod: PreviewByTAESD})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := scheduled("euler", 1, 48)
	r.LatentsOnly, r.Seed, r.Seeds, r.ImagesPerPrompt = false, nil, []uint64{1, 2}, 2
	want, err := p.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r, seen, images := previewing(r, 3)
	got, err := p.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Latents.Data, want.Latents.Data) || !slices.Equal(*seen, []int{3, 6}) {
		t.Errorf("other latents than without previews, or previews after %v", *seen)
	}
	for i, img := range want.Images {
		first, last := (*images)[0][i], (*images)[1][i]
		if first.Rect != img.Rect || slices.Equal(first.Pix, last.Pix) {
			t.Errorf("image %d: a first preview of %v that is the last one too", i, first.Rect)
		}
		for k, v := range img.Pix {
			if d := int(last.Pix[k]) - int(v); d < -1 || d > 1 {
				t.Fatalf("image %d: the last preview has %d for %d at %d", i, last.Pix[k], v, k)
			}
		}
	}
}

// TestPreviewCancels ends the context in a preview: no other follows, and the model goes on.
func TestPreviewCancels(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for name, draw := range draws(base, refiner) {
		ctx, cancel := context.WithCancel(t.Context())
		r := scheduled("euler", 1, 48)
		calls := 0
		r.Preview = &Preview{Func: func(int, []*image.NRGBA) {
			calls++
			if calls == 2 {
				cancel()
			}
		}}
		if _, err := draw(ctx, r); !errors.Is(err, context.Canceled) || calls != 2 {
			t.Errorf("%s: %v after %d previews", name, err, calls)
		}
		cancel()
		idle(t, name, base)
	}
}

// TestPreviewErrors refuses previews that nobody sees, and those of models whose latents have other channels.
func TestPreviewErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	see := func(int, []*image.NRGBA) {}
	for want, p := range map[string]*Preview{
		"preview is without a function":                 {},
		"preview is every -1 steps: must be every 1 or": {Every: -1, Func: see},
	} {
		r := small()
		r.Preview = p
		var bad *RequestError
		if _, err := m.Resolve(r); !errors.As(err, &bad) || bad.Field != "preview" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	s := *m.Spec()
	s.VAE.LatentChannels = 16
	if _, err := s.latentRGB(); err == nil || !strings.Contains(err.Error(), "16 latent channels: must be of a model of 4") {
		t.Error(err)
	}
	s.defaults.rgb = &latentRGB{factors: make([][3]float32, 16)}
	if rgb, err := s.latentRGB(); err != nil || rgb != s.defaults.rgb {
		t.Error(rgb, err)
	}
	s = *m.Spec()
	if rgb, err := s.latentRGB(); err != nil || rgb != sdxlRGB {
		t.Error(rgb, err)
	}
	s.VAE.LatentsMean = []float64{0, 0, 0, 0}
	if rgb, err := s.latentRGB(); err != nil || rgb != playgroundRGB {
		t.Error(rgb, err)
	}
}

// TestPreviewsTakeNoMemory: runs with previews take no more of the device's memory than the first one did.
func TestPreviewsTakeNoMemory(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r, _, _ := previewing(scheduled("euler", 1, 48), 1)
	used := func() int64 {
		if _, err := m.Generate(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		memory, err := m.host.device.Memory()
		if err != nil {
			t.Fatal(err)
		}
		return memory.Used
	}
	first := used()
	for range 5 {
		if n := used(); n != first {
			t.Fatalf("%d bytes in use, %d after the first run", n, first)
		}
	}
}
