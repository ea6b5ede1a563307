package sdxl

import (
	"fmt"
	"image"
	"slices"
)

// NamedImage is an image of a request, and the field that has it: image, mask, controls[0].image, t2i_adapters[0].image,
// ip_adapters[0].images[0] or ip_adapters[0].mask.
type NamedImage struct {
	Field string
	Image image.Image
}

// Images lists the images of a request, in the order of its fields; those that are nil are not in it.
func (r *Request) Images() (list []NamedImage) {
	add := func(field string, img image.Image) {
		if img != nil {
			list = append(list, NamedImage{field, img})
		}
	}
	add("image", r.Image)
	add("mask", r.Mask)
	for i, c := range r.Controls {
		add(memberOf(controlsField, i, "image"), c.Image)
	}
	for i, a := range r.T2IAdapters {
		add(memberOf(adaptersField, i, "image"), a.Image)
	}
	for i, a := range r.IPAdapters {
		for k, img := range a.Images {
			add(fmt.Sprintf("ip_adapters[%d].images[%d]", i, k), img)
		}
		add(fmt.Sprintf("ip_adapters[%d].mask", i), a.Mask)
	}
	return list
}

// checkImages refuses images that have more pixels together than MaxImagePixels.
func (r *Request) checkImages() error {
	sum := 0
	for _, of := range r.Images() {
		size := of.Image.Bounds().Size()
		if sum += size.X * size.Y; sum > MaxImagePixels || size.X > MaxImagePixels || size.Y > MaxImagePixels {
			return bad(of.Field, fmt.Sprintf("%d×%d pixels, with which the request's images have %d", size.X, size.Y, sum), "one with which they have at most %d", MaxImagePixels)
		}
	}
	return nil
}

// SetImage puts an image into the field that [Request.Images] names so. The image of an IP-Adapter may be the next one
// of its list. What other copies of the request share stays as it is.
func (r *Request) SetImage(field string, img image.Image) error {
	switch field {
	case "image":
		r.Image = img
		return nil
	case "mask":
		r.Mask = img
		return nil
	}
	var i, k int
	in := func(format string, of int, into ...any) bool {
		_, err := fmt.Sscanf(field, format, into...)
		again := fmt.Sprintf(format, append([]any{i}, []any{k}[:len(into)-1]...)...)
		return err == nil && again == field && i >= 0 && i < of
	}
	switch {
	case in(controlsField+"[%d].image", len(r.Controls), &i):
		r.Controls = slices.Clone(r.Controls)
		r.Controls[i].Image = img
	case in(adaptersField+"[%d].image", len(r.T2IAdapters), &i):
		r.T2IAdapters = slices.Clone(r.T2IAdapters)
		r.T2IAdapters[i].Image = img
	case in("ip_adapters[%d].mask", len(r.IPAdapters), &i):
		r.IPAdapters = slices.Clone(r.IPAdapters)
		r.IPAdapters[i].Mask = img
	case in("ip_adapters[%d].images[%d]", len(r.IPAdapters), &i, &k) && k >= 0 && k <= len(r.IPAdapters[i].Images):
		r.IPAdapters = slices.Clone(r.IPAdapters)
		list := slices.Clone(r.IPAdapters[i].Images)
		if k == len(list) {
			list = append(list, nil)
		}
		list[k] = img
		r.IPAdapters[i].Images = list
	default:
		return fmt.Errorf("sdxl: %q is no image of the request: must be a field that Images names", field)
	}
	return nil
}
