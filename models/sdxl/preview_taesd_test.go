package sdxl

import (
	"context"
	"errors"
	"image"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
)

// previewModel is the tiny model with a TAESD of previews alone.
func previewModel(t *testing.T, m *models, host *Host, method PreviewMethod) *Model {
	t.Helper()
	p, err := Open(t.Context(), "synth:tiny", Options{
		Host: host, PreviewTAESD: writeTAESD(t, smallTAESD, diffusersWeights, nil), PreviewMethod: method,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestPreviewTAESDIsX0: previews by TAESD are what it decodes of x0, as the UNet predicts it at each step, and images are
// the VAE's, bit for bit those without previews, by every method.
func TestPreviewTAESDIsX0(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	r := scheduled("euler", 1, 48)
	r.LatentsOnly, r.Seed, r.Seeds, r.ImagesPerPrompt = false, nil, []uint64{1, 2}, 2
	want, err := onHost(t, m, host, "tiny").Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range PreviewMethods() {
		p := previewModel(t, m, host, method)
		r, seen, images := previewing(r, 1)
		run := started(t, p, r)
		var x0 []*Tensor
		for run.Next() {
			step := run.Schedule().Steps[run.next]
			x, err := run.Latents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			predicted, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
			if err != nil {
				t.Fatal(err)
			}
			estimate := predicted.Guided(run.Parameters().Guidance)
			for i, v := range estimate.Data {
				estimate.Data[i] = float32(step.A*float64(x.Data[i]) + step.B*float64(v))
			}
			x0 = append(x0, estimate)
			steps(t, run, 1)
		}
		got, err := run.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Latents.Data, want.Latents.Data) || got.Parameters.TAESD != "" {
			t.Errorf("%s: other latents than without previews, or parameters with TAESD %q", method, got.Parameters.TAESD)
		}
		for i, img := range got.Images {
			if !slices.Equal(img.Pix, want.Images[i].Pix) {
				t.Errorf("%s: another image %d than without previews", method, i)
			}
		}
		switch method {
		case PreviewNone:
			if len(*seen) != 0 {
				t.Errorf("%s: previews after %v", method, *seen)
			}
		case PreviewLatent2RGB:
			samePreview(t, string(method), (*images)[0][1], sdxlRGB, x0[0], 1)
		case PreviewByTAESD:
			if !slices.Equal(*seen, []int{1, 2, 3, 4, 5, 6}) {
				t.Fatalf("%s: previews after %v", method, *seen)
			}
			p.TAESD = p.PreviewTAESD // for Decode
			for k, list := range *images {
				decoded, err := p.Decode(t.Context(), x0[k])
				if err != nil {
					t.Fatal(err)
				}
				for i, img := range list {
					samePixels(t, img, decoded[i], 1)
				}
			}
			decoded, err := p.Decode(t.Context(), got.Latents)
			if err != nil {
				t.Fatal(err)
			}
			for i, img := range (*images)[5] {
				samePixels(t, img, decoded[i], 1)
			}
			p.TAESD = nil
		}
	}
}

// samePixels compares images, each byte within a tolerance.
func samePixels(t *testing.T, got, want *image.NRGBA, tolerance int) {
	t.Helper()
	if got.Rect != want.Rect {
		t.Fatalf("an image of %v, want %v", got.Rect, want.Rect)
	}
	for k, v := range want.Pix {
		if d := int(got.Pix[k]) - int(v); d < -tolerance || d > tolerance {
			t.Fatalf("byte %d is %d, want %d", k, got.Pix[k], v)
		}
	}
}

// TestPreviewPace: with PreviewAuto, TAESD's previews come as often as they take a twentieth of the time by what they
// took before; until the first one, the matrix's come, and where the UNet was evicted for one, no other follows.
func TestPreviewPace(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p := previewModel(t, m, hostOf(m.dev), "")
	size := Size{48, 48}
	const step = time.Second
	for what, c := range map[string]struct {
		costs map[Size]time.Duration
		want  string // a letter for each step: T for TAESD, R for the matrix, - for none
	}{
		"unknown":         {nil, "TTTTTT"}, // the clock stands still while a preview is made
		"2 steps":         {map[Size]time.Duration{size: 2 * step / 20}, "RT-T-T"},
		"2 steps, nearly": {map[Size]time.Duration{size: 2*step/20 + 1}, "RRTTTT"}, // the new cost is 0
		"for ever":        {map[Size]time.Duration{size: tooDear}, "RRRRRR"},
		"another size":    {map[Size]time.Duration{{64, 64}: tooDear}, "TTTTTT"},
	} {
		p.costs = c.costs
		kinds := ""
		now := time.Now()
		r := scheduled("euler", 1, 48)
		r.Height = 48
		r, _, images := previewing(r, 1)
		run := started(t, p, r)
		run.pace.now, run.pace.since = func() time.Time { return now }, now
		for run.Next() {
			before := len(*images)
			now = now.Add(step)
			if what == "2 steps" {
				p.costs = map[Size]time.Duration{size: 2 * step / 20}
			}
			steps(t, run, 1)
			switch {
			case len(*images) == before:
				kinds += "-"
			case (*images)[before][0].Rect.Dx() == 48:
				kinds += "T"
			default:
				kinds += "R"
			}
		}
		if kinds != c.want {
			t.Errorf("%s: previews %s, want %s", what, kinds, c.want)
		}
	}

	p.costs = nil
	p.notePreview(size, time.Second, false)
	if got := p.previewCost(size, 3); got != 0 {
		t.Errorf("a cost of %v after the first preview, which loads weights", got)
	}
	p.notePreview(size, time.Second, false)
	if got := p.previewCost(size, 3); got != 3*time.Second {
		t.Errorf("a cost of %v, want that of three images", got)
	}
	p.notePreview(size, time.Second, true)
	if got := p.previewCost(size, 3); got != tooDear {
		t.Errorf("a cost of %v after the UNet was evicted", got)
	}
	if r := (&pace{now: func() time.Time { return time.Unix(math.MaxInt32, 0) }}); r.allows(tooDear) {
		t.Error("no time is too long for one that is too dear")
	}
}

// TestPreviewPaceOfBatch: requests whose steps are joined keep the pace of their previews.
func TestPreviewPaceOfBatch(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p := previewModel(t, m, hostOf(m.dev), "")
	r, _, _ := previewing(scheduled("euler", 1, 48), 1)
	var group []*member
	for range 2 {
		run := started(t, p, r)
		run.pace.since, run.pace.had = time.Unix(1, 0), true
		group = append(group, &member{Run: run})
	}
	all := join(group)
	if err := all.preparePreviews(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !all.pace.had || !all.pace.since.Equal(time.Unix(1, 0)) || all.taesd == nil {
		t.Errorf("had %v, the last one at %v", all.pace.had, all.pace.since)
	}
}

// TestPreviewMethodErrors names methods and files that can't make previews. A refiner has its base's.
func TestPreviewMethodErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	if _, err := Open(t.Context(), "synth:tiny", Options{Host: host, PreviewMethod: "fast"}); err == nil || !strings.Contains(err.Error(), `PreviewMethod is "fast": must be one of ["auto" "latent2rgb" "taesd" "none"]`) {
		t.Errorf("%v", err)
	}
	_, err := Open(t.Context(), "synth:tiny", Options{Host: host, PreviewTAESD: m.folder("tiny-b") + "/vae"})
	var part *PartError
	if !errors.As(err, &part) || part.Part != "preview TAESD" {
		t.Errorf("%v", err)
	}
	if n := len(host.memory.components); n != 0 {
		t.Errorf("%d components are managed after models that did not open", n)
	}
	without, err := Open(t.Context(), "synth:tiny", Options{Host: host, PreviewMethod: PreviewByTAESD})
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	r, _, _ := previewing(small(), 1)
	var bad *RequestError
	if _, err := without.Generate(t.Context(), r); !errors.As(err, &bad) || bad.Field != "preview" || !strings.Contains(err.Error(), "by TAESD: must be of a model that has one") {
		t.Errorf("%v", err)
	}
	if _, err := without.Generate(t.Context(), small()); err != nil {
		t.Errorf("without previews: %v", err)
	}

	base := previewModel(t, m, host, PreviewByTAESD)
	refiner, err := refinerOf(t, base, "synth:tiny-refiner")
	if err != nil {
		t.Fatal(err)
	}
	defer refiner.Close()
	r, seen, images := previewing(Request{Prompt: "a lighthouse", Image: gradient(48, 40), Seed: new(uint64(1)), Steps: 4, Strength: 1}, 2)
	if _, err := refiner.Generate(t.Context(), r); err != nil || !slices.Equal(*seen, []int{2, 4}) || (*images)[0][0].Rect.Dx() != 48 {
		t.Errorf("the refiner: %v, previews after %v", err, *seen)
	}
}

// scarce is a device whose programs of a TAESD find no memory while it is full.
type scarce struct {
	kernels.Device
	full bool
}

func (d *scarce) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	p, err := d.Device.Compile(plan, w, o)
	if slices.ContainsFunc(plan.Tensors, func(t kernels.Tensor) bool { return strings.HasPrefix(t.Name, "decoder.layers.") }) {
		return &scarceProgram{p, d}, err
	}
	return p, err
}

type scarceProgram struct {
	kernels.Program
	device *scarce
}

func (p *scarceProgram) Run(ctx context.Context) error {
	if p.device.full {
		return &kernels.MemoryError{Needed: 2, Allowed: 1}
	}
	return p.Program.Run(ctx)
}

// TestPreviewWithoutRoom: where other models have taken the memory, PreviewAuto goes on without TAESD; PreviewByTAESD
// says so.
func TestPreviewWithoutRoom(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	dev := &scarce{Device: m.dev}
	for _, method := range []PreviewMethod{PreviewAuto, PreviewByTAESD} {
		p := previewModel(t, m, hostOf(dev), method)
		dev.full = false
		r, seen, images := previewing(scheduled("euler", 1, 48), 1)
		run := started(t, p, r)
		dev.full = true
		err := run.Step(t.Context())
		if method == PreviewByTAESD {
			if !errors.Is(err, kernels.ErrMemory) {
				t.Errorf("%s: %v", method, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		dev.full = false
		steps(t, run, 9)
		if _, err := run.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(*seen, []int{1, 2, 3, 4, 5, 6}) {
			t.Errorf("previews after %v", *seen)
		}
		for k, list := range *images {
			if got := list[0].Rect.Dx(); got != 6 {
				t.Errorf("preview %d is %d pixels wide, want one a latent", k, got)
			}
		}
	}
}
