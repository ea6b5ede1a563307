package sdxl

import (
	"image"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/resample"
)

// TestInpaintPartIsAll has a part around the mask that is the whole image, computed at another size than the image's:
// the result has the image's size, and what the mask leaves out is the image's own.
func TestInpaintPartIsAll(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source, mask := opaque(gradient(90, 75)), opaque(leftHalf(90, 75))
	for _, keep := range []bool{true, false} {
		r := inpainted(func(r *Request) {
			r.Image, r.Mask, r.Width, r.Height, r.MaskPadding, r.KeepUnmasked = source, mask, 48, 40, new(75), &keep
		})
		got := generated(t, m, r).Images[0]
		if got.Rect != source.Rect {
			t.Fatalf("the result has %v, want the image's %v", got.Rect, source.Rect)
		}
		if keep {
			outside(t, "the part is all", got, source, mask)
		}
	}
}

// TestT2IAdapterOfPart crops the image of a T2I-Adapter as the image that is inpainted around its mask alone.
func TestT2IAdapterOfPart(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/t2iadapter.safetensors")
	dir := adapterFolders(t, g)
	m := newModels(t).open("tiny")
	source, mask, hint := gradient(96, 80), image.NewGray(image.Rect(0, 0, 96, 80)), opaque(gradient(96, 80))
	for i := range 16 * 16 {
		mask.Pix[(20+i/16)*mask.Stride+20+i%16] = 255
	}
	part := func(hint image.Image, padding int) []float32 {
		r := inpainted(func(r *Request) {
			r.Image, r.Mask, r.Width, r.Height, r.MaskPadding = source, mask, 96, 80, &padding
			r.T2IAdapters = []T2IAdapter{{Path: filepath.Join(dir, "colour"), Image: hint}}
			r.LatentsOnly = true
		})
		return generated(t, m, r).Latents.Data
	}
	box, ok := cropRegion(opaque(mask), 96, 80, 12)
	if !ok || box.Size() == hint.Rect.Size() {
		t.Fatalf("the part is %v", box)
	}
	// An image of which all but the part is black has the same part.
	black := image.NewNRGBA(hint.Rect)
	for y := box.Min.Y; y < box.Max.Y; y++ {
		copy(black.Pix[black.PixOffset(box.Min.X, y):black.PixOffset(box.Max.X, y)], hint.Pix[hint.PixOffset(box.Min.X, y):])
	}
	want := part(hint, 12)
	if !slices.Equal(part(black, 12), want) {
		t.Error("what is outside of the part that is computed steers it")
	}
	if slices.Equal(part(resample.Fill(cut(hint, box), 96, 80), 12), want) {
		t.Error("the image of the adapter changes nothing")
	}
}

// TestInpaintEnsembleResizes has an ensemble whose last model puts back the pixels of an image that was cropped to the
// result's size.
func TestInpaintEnsembleResizes(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	source, mask := opaque(gradient(90, 40)), opaque(leftHalf(90, 40))
	r := inpainted(func(r *Request) {
		r.Image, r.Mask, r.Width, r.Height, r.Resize = source, mask, 48, 40, ResizeCrop
	})
	got, err := Ensemble(t.Context(), r, Expert{Model: models.open("tiny"), DenoisingEnd: 0.7}, Expert{Model: models.open("tiny-refiner")})
	if err != nil {
		t.Fatal(err)
	}
	outside(t, "ensemble", got.Images[0], resample.Crop(source, 48, 40), resample.Crop(mask, 48, 40))
}

// TestInpaintPartOfNothing: a black mask gives the image itself, of its own size whatever size is computed, and says so.
func TestInpaintPartOfNothing(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source := opaque(gradient(90, 75))
	got := generated(t, m, inpainted(func(r *Request) {
		r.Image, r.Mask, r.Width, r.Height, r.MaskPadding = source, image.NewGray(image.Rect(0, 0, 90, 75)), 48, 40, new(8)
	}))
	if img := got.Images[0]; img.Rect != source.Rect || !slices.Equal(img.Pix, source.Pix) || got.Steps != 0 {
		t.Errorf("%d steps, an image of %v: want the request's own of %v", got.Steps, img.Rect, source.Rect)
	}
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "nothing is repainted") {
		t.Errorf("warnings %q", got.Warnings)
	}
}
