package sdxl

import (
	"errors"
	"image"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/nn"
)

// TestInpaintErrors names the field of each wrong request.
func TestInpaintErrors(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	spec := models.open("tiny").Spec()
	latents := nn.NewTensor(1, 4, 5, 6)
	for name, c := range map[string]struct {
		change      func(*Request)
		field, want string
	}{
		"no image":           {func(r *Request) { r.Image = nil }, "image", "given where there is a mask"},
		"a mask of no size":  {func(r *Request) { r.Mask = image.NewGray(image.Rect(0, 0, 0, 4)) }, "mask_image", "1 to 8192"},
		"blur":               {func(r *Request) { r.MaskBlur = -1 }, "mask_blur", "0 to 8192"},
		"fill":               {func(r *Request) { r.InpaintFill = "x" }, "inpaint_fill", "[original noise blur nothing]"},
		"padding":            {func(r *Request) { r.MaskPadding = new(-1) }, "mask_padding", "0 to 8192"},
		"border":             {func(r *Request) { r.Outpaint.Top = -8 }, "outpaint", "0 to 8192"},
		"too large":          {func(r *Request) { r.Width, r.Height, r.Outpaint.Left = 0, 0, 8192 }, "outpaint", "sides of 8192 pixels at most"},
		"blur without mask":  {func(r *Request) { r.Mask, r.MaskBlur = nil, 3 }, "mask_blur", "absent without a mask"},
		"resize":             {func(r *Request) { r.Resize = "x" }, "resize", "[stretch crop fill]"},
		"padding of latents": {func(r *Request) { r.Image, r.ImageLatents, r.MaskPadding = nil, latents, new(3) }, "mask_padding", "absent"},
		"border of latents":  {func(r *Request) { r.Image, r.ImageLatents, r.Outpaint.Left = nil, latents, 8 }, "outpaint", "absent"},
		"both":               {func(r *Request) { r.ImageLatents = latents }, "image", "both with denoising_start alone"},
		"strength":           {func(r *Request) { r.Strength = 2 }, "strength", "up to 1"},
		"latents":            {func(r *Request) { r.Latents = latents }, "latents", "absent"},
	} {
		_, err := spec.Resolve(inpainted(c.change))
		var wrong *RequestError
		if !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s with %q", name, err, c.field, c.want)
		}
	}
	m, err := Open(t.Context(), inpaintingFolder(t), Options{Host: hostOf(models.dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var wrong *RequestError
	if _, err := m.Spec().Resolve(inpainted(func(r *Request) { r.SoftMask = true })); !errors.As(err, &wrong) || wrong.Field != "soft_mask" {
		t.Errorf("a soft mask for an inpainting model: %v", err)
	}
	if err := m.Trial(t.Context()); err != nil {
		t.Error(err)
	}
	report, err := m.Check(t.Context(), CheckOptions{})
	if err != nil {
		t.Errorf("check: %v, %v", report, err)
	}
	run := started(t, m, inpainted(nil))
	x, err := run.Latents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step := run.Schedule().Steps[0]
	before, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
	if err != nil {
		t.Fatal(err)
	}
	run.inpaint.inputs[0]++
	after, err := run.Predict(t.Context(), x, step.Timestep, step.InputScale)
	if err != nil || slices.Equal(before.Conditional.Data, after.Conditional.Data) {
		t.Errorf("the mask that the UNet reads changes no prediction: %v", err)
	}
}
