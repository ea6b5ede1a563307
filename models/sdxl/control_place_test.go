package sdxl

import (
	"image"
	"image/draw"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/resample"
)

// TestControlGoesWithItsImage: a control image as wide for its height as the image is cropped and filled as that, and gets
// its border; others are stretched. So are a T2I-Adapter's image and an image prompt's mask.
func TestControlGoesWithItsImage(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	source, hint := gradient(90, 40), opaque(leftHalf(90, 40))
	latents := func(change func(*Request)) []float32 {
		r := small()
		r.Width, r.Height, r.Image, r.LatentsOnly = 48, 40, source, true
		r.Controls = []Control{{Path: g.folder("full")}}
		change(&r)
		return generated(t, m, r).Latents.Data
	}
	with := func(img image.Image, resize Resize) []float32 {
		return latents(func(r *Request) { r.Controls[0].Image, r.Resize = img, resize })
	}
	for _, c := range []struct {
		resize Resize
		by     func(*image.NRGBA, int, int) *image.NRGBA
	}{{ResizeCrop, resample.Crop}, {ResizeFill, resample.Fill}, {ResizeStretch, resample.Lanczos}} {
		want := with(c.by(hint, 48, 40), c.resize)
		if !slices.Equal(with(hint, c.resize), want) {
			t.Errorf("%s: the control image goes another way than the image", c.resize)
		}
		double := resample.Lanczos(hint, 180, 80)
		if !slices.Equal(with(double, c.resize), with(c.by(double, 48, 40), c.resize)) {
			t.Errorf("%s: a control image of twice the size goes another way than the image", c.resize)
		}
		other := opaque(leftHalf(60, 60))
		if !slices.Equal(with(other, c.resize), with(resample.Lanczos(other, 48, 40), c.resize)) {
			t.Errorf("%s: a control image of another shape is not stretched", c.resize)
		}
	}
	if slices.Equal(with(resample.Crop(hint, 48, 40), ResizeCrop), with(resample.Lanczos(hint, 48, 40), ResizeCrop)) {
		t.Error("the control image changes nothing")
	}

	border := Border{Left: 24, Bottom: 8}
	extended := extend(hint, border, nil)
	outpaint := func(img image.Image) []float32 {
		return latents(func(r *Request) {
			r.Controls[0].Image, r.Outpaint, r.Width, r.Height = img, border, 0, 0
		})
	}
	if !slices.Equal(outpaint(hint), outpaint(extended)) {
		t.Error("a control image has no border where its image has one")
	}

	dir := adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors"))
	adapter := func(img image.Image) []float32 {
		return latents(func(r *Request) {
			r.Width, r.Height, r.Resize = 64, 64, ResizeCrop
			r.Controls, r.T2IAdapters = nil, []T2IAdapter{{Path: filepath.Join(dir, "colour"), Image: img}}
		})
	}
	if !slices.Equal(adapter(hint), adapter(resample.Crop(hint, 64, 64))) {
		t.Error("a T2I-Adapter's image goes another way than the image")
	}
}

// TestControlOfHiresAndExperts: the second pass has the part of a control image that is kept, and a later expert what the
// first one has.
func TestControlOfHiresAndExperts(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := small()
	r.Width, r.Height, r.Hires = 48, 48, &Hires{Width: 96, Height: 64}
	q, err := m.resolve(r)
	if err != nil {
		t.Fatal(err)
	}
	img := opaque(gradient(48, 48))
	want := cut(resample.Lanczos(img, 96, 96), image.Rect(0, 16, 96, 80))
	if got, _ := q.hires.steering(img, "", 8).(*image.NRGBA); got == nil || got.Rect != want.Rect || !slices.Equal(got.Pix, want.Pix) {
		t.Error("the second pass has another part of a control image")
	}

	g := openControlGoldens(t)
	source, hint := gradient(90, 40), opaque(leftHalf(90, 40))
	both := func(img image.Image) []float32 {
		r := small()
		r.Width, r.Height, r.Image, r.Resize, r.LatentsOnly, r.Strength = 48, 40, source, ResizeCrop, true, 1
		r.Controls = []Control{{Path: g.folder("full"), Image: img}}
		result, err := Ensemble(t.Context(), r, Expert{m, 0.5}, Expert{Model: m})
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents.Data
	}
	if !slices.Equal(both(hint), both(resample.Crop(hint, 48, 40))) {
		t.Error("the experts have different control images")
	}
}

// TestPromptMaskGoesWithItsImage: the mask of an image prompt is cropped as the image, but not to the part around a mask
// to repaint, as diffusers' ip_adapter_masks are of what is computed.
func TestPromptMaskGoesWithItsImage(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	source, third := opaque(gradient(90, 40)), opaque(image.NewGray(image.Rect(0, 0, 90, 40)))
	draw.Draw(third, image.Rect(0, 0, 30, 40), image.White, image.Point{}, draw.Src)
	latents := func(mask image.Image, change func(*Request)) []float32 {
		r := ipRuns(t, g)["base"].request(t, g, "base", dir)
		r.Width, r.Height, r.Image, r.LatentsOnly = 48, 40, source, true
		r.IPAdapters[0].Mask = mask
		change(&r)
		return generated(t, m, r).Latents.Data
	}
	cropped := func(r *Request) { r.Resize = ResizeCrop }
	if !slices.Equal(latents(third, cropped), latents(resample.Crop(third, 48, 40), cropped)) {
		t.Error("the mask goes another way than the image")
	}
	part := func(r *Request) { r.Mask, r.MaskPadding, r.Strength = third, new(4), 1 }
	right := image.NewGray(third.Rect) // of which nothing is in the part around third
	draw.Draw(right, image.Rect(60, 0, 90, 40), image.White, image.Point{}, draw.Src)
	without := latents(nil, func(r *Request) { part(r); r.IPAdapters = nil })
	if slices.Equal(latents(right, part), without) {
		t.Error("the mask is cut to the part that is computed")
	}
}

// TestCanvasIsMadeOnce: control images are cut by the canvas that the run inpaints.
func TestCanvasIsMadeOnce(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	run, err := m.Start(t.Context(), inpainted(func(r *Request) {
		r.MaskPadding, r.Controls = new(2), []Control{{Path: g.folder("full"), Image: g.picture("a")}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if run.q.canvas == nil || run.inpaint.canvas != run.q.canvas {
		t.Error("the mask was prepared anew")
	}
}
