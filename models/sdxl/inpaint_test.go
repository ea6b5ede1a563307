package sdxl

import (
	"errors"
	"image"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/scheduler"
)

// inpainted is small with an image of which the left half is repainted, or what change makes of it.
func inpainted(change func(*Request)) Request {
	r := small()
	r.Image, r.Mask, r.Strength, r.Steps, r.Guidance = gradient(48, 40), leftHalf(48, 40), 0.7, 6, new(3.0)
	if change != nil {
		change(&r)
	}
	return r
}

// generated is a request's result.
func generated(t *testing.T, m *Model, r Request) *Result {
	t.Helper()
	result, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// outside checks that a result has the source's pixels where a mask is black, and others where it is not.
func outside(t *testing.T, what string, got, source, mask *image.NRGBA) {
	t.Helper()
	kept, changed := 0, 0
	for i := 0; i < len(mask.Pix); i += 4 {
		same := [3]uint8(got.Pix[i:]) == [3]uint8(source.Pix[i:])
		switch {
		case mask.Pix[i] == 0 && !same:
			t.Fatalf("%s: pixel %d outside of the mask is %v, want the source's %v", what, i/4, got.Pix[i:i+3], source.Pix[i:i+3])
		case mask.Pix[i] == 0:
			kept++
		case !same:
			changed++
		}
	}
	if kept == 0 || changed == 0 {
		t.Errorf("%s: %d pixels are kept and %d changed, want some of both", what, kept, changed)
	}
}

// TestInpaintSchedulers inpaints and redraws with every sampler: latents that are not repainted end as the image's own,
// and pixels are the image's.
func TestInpaintSchedulers(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source, mask := opaque(gradient(48, 40)), opaque(leftHalf(48, 40))
	moments, err := m.EncodeImage(t.Context(), source, scheduler.NewGenerator(7))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scheduler.Names() {
		r := inpainted(func(r *Request) { r.Scheduler = name })
		p, err := m.Spec().Resolve(r)
		if err != nil {
			var wrong *RequestError
			if !errors.As(err, &wrong) {
				t.Errorf("%s: %v", name, err)
			}
			continue // of text-to-image alone, or of more steps
		}
		got := generated(t, m, r)
		if got.Parameters.Task != Inpaint || got.Parameters.String() != withHash(p, got.Parameters).String() {
			t.Errorf("%s: parameters %v, want %v", name, got.Parameters, p)
		}
		outside(t, name, got.Images[0], source, mask)
		for i, v := range got.Latents.Data {
			if i%6 >= 3 && v != moments.Data[i] {
				t.Fatalf("%s: latent %d is %v, want the image's %v", name, i, v, moments.Data[i])
			}
		}
		r.Mask = nil
		if plain := generated(t, m, r); plain.Parameters.Task != ImageToImage || slices.Equal(plain.Latents.Data, got.Latents.Data) {
			t.Errorf("%s: image-to-image gives what inpainting does", name)
		}
	}
}

// withHash is the parameters with what a run alone knows.
func withHash(p, run Parameters) Parameters {
	p.ModelHash, p.Device, p.Precision = run.ModelHash, run.Device, run.Precision
	return p
}

// TestInpaintBatches has each image of Seeds, each request of a batch, and each of runs in turns, as it is alone.
func TestInpaintBatches(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	m := models.open("tiny")
	one := func(seed uint64) Request { return inpainted(func(r *Request) { r.Seed = &seed }) }
	a, b := generated(t, m, one(3)), generated(t, m, one(4))
	both := generated(t, m, inpainted(func(r *Request) { r.Seed, r.Seeds, r.ImagesPerPrompt = nil, []uint64{3, 4}, 2 }))
	if !slices.Equal(both.Images[0].Pix, a.Images[0].Pix) || !slices.Equal(both.Images[1].Pix, b.Images[0].Pix) {
		t.Error("images of Seeds are not as if generated alone")
	}
	plain := func(r *Request) { r.Mask = nil }
	soft := func(r *Request) { r.SoftMask, r.Mask = true, gradient(48, 40) }
	black := func(r *Request) { r.MaskInvert, r.Mask = false, image.NewGray(image.Rect(0, 0, 48, 40)) }
	counted := countSteps(t, cpu.Options{Threads: 1})
	requests := []Request{one(3), one(4), inpainted(plain), inpainted(soft), inpainted(black)}
	steps := counted.steps
	got := batchOf(t, counted.Model, requests, nil)
	if taken := counted.steps - steps; taken >= 4*4 {
		t.Errorf("a batch takes %d steps, want them taken together", taken)
	}
	for i, r := range requests {
		asAlone(t, counted.Model, []string{"a mask", "another seed", "no mask", "a soft mask", "a black mask"}[i], r, got[i])
	}
	runs := []*Run{started(t, m, one(3)), started(t, m, one(4))}
	for runs[0].Next() || runs[1].Next() {
		for _, run := range runs {
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, want := range []*Result{a, b} {
		result, err := runs[i].Finish(t.Context())
		if err != nil || !slices.Equal(result.Images[0].Pix, want.Images[0].Pix) {
			t.Errorf("run %d in turns is another than alone: %v", i, err)
		}
	}
}

// TestInpaintOverflow computes steps again that gave NaN in fp16: the result is that of steps that did not.
func TestInpaintOverflow(t *testing.T) {
	t.Parallel()
	plain := cpuDevice(t)
	results := map[bool]*Result{}
	for _, spoiled := range []bool{false, true} {
		d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, after: 1}
		if spoiled {
			d.spoils = []kernels.DType{kernels.F16}
		}
		host, err := NewHost(d, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(t.Context(), "synth:tiny", Options{Host: host, Precision: kernels.F16})
		if err != nil {
			t.Fatal(err)
		}
		results[spoiled] = generated(t, m, inpainted(func(r *Request) { r.Scheduler = "euler_a" }))
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := results[true]; got.Parameters.Precision != "bf16" || !slices.Equal(got.Latents.Data, results[false].Latents.Data) {
		t.Errorf("precision %q, or other latents than without NaN", got.Parameters.Precision)
	}
}

// TestInpaintEnds ends runs early, shows previews, and stops: pixels outside are the source's all the same.
func TestInpaintEnds(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source, mask := opaque(gradient(48, 40)), opaque(leftHalf(48, 40))
	whole := generated(t, m, inpainted(nil))
	previews := 0
	seen := generated(t, m, inpainted(func(r *Request) {
		r.Preview = &Preview{Func: func(int, []*image.NRGBA) { previews++ }}
		r.OnStep = func(int, *Tensor) error { return nil }
	}))
	if previews != 4 || !slices.Equal(seen.Images[0].Pix, whole.Images[0].Pix) {
		t.Errorf("%d previews, want 4, and the image of a run without", previews)
	}
	outside(t, "interrupt", generated(t, m, inpainted(func(r *Request) { r.Interrupt = 2 })).Images[0], source, mask)
	stopped := generated(t, m, stopping(inpainted(nil), 2))
	if stopped.Parameters.Interrupted == nil {
		t.Error("the run is not stopped")
	}
	outside(t, "stop", stopped.Images[0], source, mask)
	for i, v := range stopped.Latents.Data {
		if i%6 >= 3 && v != whole.Latents.Data[i] {
			t.Fatalf("latent %d after Stop is %v, want the image's %v", i, v, whole.Latents.Data[i])
		}
	}
}

// TestInpaintEnsemble has a refiner go on within the mask, as diffusers' pipelines do one after the other.
func TestInpaintEnsemble(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	base, refiner := models.open("tiny"), models.open("tiny-refiner")
	g := golden.Open(t, testdata+"/goldens/inpaint.safetensors")
	source, mask := inpaintImage(g, "image"), inpaintImage(g, "mask")
	r := Request{Prompt: "a red lighthouse", Steps: 6, Guidance: new(5.0), Seed: new(uint64(7)), Strength: 1, Image: source, Mask: mask}
	experts := []Expert{{Model: base, DenoisingEnd: 0.5}, {Model: refiner}}
	got, err := Ensemble(t.Context(), r, experts...)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := g.Floats("second expert.latents")
	golden.Near(t, "latents", got.Latents.Data, want, 5e-5)
	outside(t, "ensemble", got.Images[0], source, mask)
	r.Mask = image.NewGray(image.Rect(0, 0, 72, 64))
	if got, err = Ensemble(t.Context(), r, experts...); err != nil || got.Steps != 0 || !slices.Equal(got.Images[0].Pix, source.Pix) {
		t.Errorf("a black mask: %v, %+v", err, got)
	}
}

// TestInpaintImages is about sizes, masks, fills and borders.
func TestInpaintImages(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source := opaque(gradient(48, 40))
	free := func(change func(*Request)) Request {
		return inpainted(func(r *Request) { r.Width, r.Height = 0, 0; change(r) })
	}
	black := generated(t, m, free(func(r *Request) { r.Mask = image.NewGray(image.Rect(0, 0, 48, 40)) }))
	if !slices.Equal(black.Images[0].Pix, source.Pix) || black.Steps != 0 || !strings.Contains(strings.Join(black.Warnings, ""), "nothing is repainted") {
		t.Errorf("a black mask: %d steps, warnings %q, or another image", black.Steps, black.Warnings)
	}
	other := generated(t, m, free(func(r *Request) { r.Mask = leftHalf(96, 80) }))
	if !slices.Equal(other.Images[0].Pix, generated(t, m, free(func(r *Request) {
		r.Mask = resample.Lanczos(opaque(leftHalf(96, 80)), 48, 40)
	})).Images[0].Pix) || !strings.Contains(strings.Join(other.Warnings, ""), "96×80 pixels, is resized to the image's 48×40") {
		t.Errorf("a mask of another size: %q, or not resized", other.Warnings)
	}
	inverted := generated(t, m, free(func(r *Request) { r.MaskInvert = true }))
	right := opaque(leftHalf(48, 40))
	for i := range right.Pix {
		right.Pix[i] = 255 - right.Pix[i]
	}
	outside(t, "inverted", inverted.Images[0], source, right)

	wide := generated(t, m, free(func(r *Request) { r.Mask, r.Outpaint = nil, Border{Left: 16, Bottom: 8} }))
	if got := wide.Images[0].Rect.Size(); got != image.Pt(64, 48) || wide.Parameters.Mask || wide.Parameters.Width != 64 {
		t.Fatalf("outpainting gives %v, %v", got, wide.Parameters)
	}
	if !slices.Equal(cut(wide.Images[0], image.Rect(16, 0, 64, 40)).Pix, source.Pix) {
		t.Error("outpainting changes the image within")
	}

	seen := map[string]InpaintFill{}
	for _, fill := range InpaintFills() {
		x := generated(t, m, free(func(r *Request) { r.InpaintFill = fill }))
		outside(t, string(fill), x.Images[0], source, opaque(leftHalf(48, 40)))
		if same, ok := seen[string(x.Images[0].Pix)]; ok {
			t.Errorf("the fills %s and %s give one image", same, fill)
		}
		seen[string(x.Images[0].Pix)] = fill
	}
	nearest := generated(t, m, inpainted(func(r *Request) {
		r.Image = gradient(90, 50)
		r.Mask, r.Width, r.Height, r.Resize = nil, 48, 40, ResizeFill
	}))
	same := generated(t, m, inpainted(func(r *Request) { r.Image, r.Mask = resample.Fill(opaque(gradient(90, 50)), 48, 40), nil }))
	if nearest.Parameters.Resize != ResizeFill || same.Parameters.Resize != "" || !slices.Equal(nearest.Images[0].Pix, same.Images[0].Pix) {
		t.Error("an image is not resized as A1111's Resize and fill does")
	}
}
