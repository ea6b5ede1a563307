package server

import (
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
)

// inpaintDocs are the fields of inpainting.
var inpaintDocs = []fieldDoc{
	{"mask", "What of the image is repainted: white is, black keeps its pixels. As image; one of another size is resized to that."},
	{"soft_mask", "Grey of the mask repaints in the last steps alone, as differential diffusion does."},
	{"mask_blur", "Blurs the mask by so many pixels, the standard deviation."},
	{"mask_invert", "Black repaints."},
	{"inpaint_fill", "What is repainted begins with: the image, noise, the surroundings blurred, or zeros; original if absent."},
	{"mask_padding", "The part around the mask alone is computed, with so many pixels beside it, at width × height. Absent, it is the whole image."},
	{"outpaint", "Pixels that are added on each side and painted: [left, top, right, bottom], or an object with these."},
	{"keep_unmasked", "False leaves what is outside of the mask as the VAE gives it; absent, its pixels are the image's own."},
}

// borderSides are the sides of a border in the order of a list of them.
var borderSides = []string{"left", "top", "right", "bottom"}

var borderDocs = []fieldDoc{{"left", "Pixels."}, {"top", "Pixels."}, {"right", "Pixels."}, {"bottom", "Pixels."}}

// inpaints reports whether a part of an image is to be repainted.
func (f *fields) inpaints() bool { return f.given("mask") != nil || f.given("outpaint") != nil }

// inpainting reads the fields of inpainting, of which there must be a mask or a border.
func (f *fields) inpainting(r *sdxl.Request, in *inputs) {
	if r.Outpaint = f.border("outpaint"); r.Outpaint == (sdxl.Border{}) {
		r.Mask = in.required(f, "mask", "mask")
	} else {
		r.Mask = in.optional(f, "mask", "mask")
	}
	r.SoftMask = f.boolean("soft_mask", false)
	r.MaskBlur = f.number("mask_blur", interval{min: 0, max: sdxl.MaxSide}, 0)
	r.MaskInvert = f.boolean("mask_invert", false)
	r.InpaintFill = sdxl.InpaintFill(f.choice("inpaint_fill", names(sdxl.InpaintFills())))
	padding := limits{0, sdxl.MaxSide, 0}
	if n := f.integer("mask_padding", padding, padding.max+1); n <= padding.max {
		r.MaskPadding = new(int(n))
	}
	if keep := f.boolean("keep_unmasked", true); f.given("keep_unmasked") != nil {
		r.KeepUnmasked = &keep
	}
}

// border reads pixels on each side: a list of four, or an object.
func (f *fields) border(name string) (b sdxl.Border) {
	side := limits{0, sdxl.MaxSide, 0}
	into := []*int{&b.Left, &b.Top, &b.Right, &b.Bottom}
	object := func(one *fields) {
		for i, side := range into {
			*side = int(one.integer(borderSides[i], limits{0, sdxl.MaxSide, 0}, 0))
		}
	}
	f.notes.items(name, len(into), len(into), &jsonschema.Schema{Type: "integer", Minimum: new(float64(side.min)), Maximum: new(float64(side.max))})
	f.notes.form(name, f.notes.objectOf(borderDocs, object))
	if raw := f.given(name); raw == nil || raw[0] == '{' {
		f.object(name, borderDocs, object)
		return b
	}
	for i, raw := range f.itemsExactly(name, len(into)) {
		f.item(name, i, raw, "int_type", "integer", func(one *fields) { *into[i] = int(one.integer(name, side, 0)) })
	}
	return b
}
