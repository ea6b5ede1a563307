package sdxl

import (
	"image"
	"slices"

	"github.com/goxl/goxl/internal/resample"
)

// placed is an image that steers, a control image say, beside the request's image: what shows the same place lies at the
// same place once both have the result's size. See Control. One that it does not concern is returned as it is, to be
// stretched.
//
// Source: diffusers pipeline_controlnet_inpaint_sd_xl.py, prepare_control_image, of the part around a mask;
// sd-webui-controlnet scripts/controlnet.py, choose_input_image, which gives the image of img2img as a control image its
// resize mode.
//
// An image with a resize of its own is only cut, to the part around a mask.
func (q *resolved) placed(img image.Image, own Resize) image.Image {
	if q.request.Image == nil {
		return own.steering(img, q.size)
	}
	whole := q.request.Outpaint.around(q.request.Image.Bounds()).Size()
	n, alike := opaque(img), false
	switch {
	case own != "" && q.MaskPadding == nil:
		return own.steering(n, q.size)
	case own != "":
		n = own.resize(n, whole.X, whole.Y)
	default:
		n, alike = q.bordered(n)
	}
	if q.MaskPadding != nil {
		c := q.inpaintCanvas()
		if !c.part {
			return n
		}
		return resample.Fill(cut(atSize(n, Size{whole.Y, whole.X}), c.box), q.size.Width, q.size.Height)
	}
	if alike {
		return q.Resize.resize(n, q.size.Width, q.size.Height)
	}
	return n
}

// steering gives an image that steers a size; one without a resize of its own is returned as it is, to be stretched.
func (r Resize) steering(img image.Image, size Size) image.Image {
	if r == "" {
		return img
	}
	return r.resize(opaque(img), size.Width, size.Height)
}

// bordered gives an image that is shaped as the request's the border that this one gets. It reports whether what it
// returns is shaped as the request's image with its border: as wide for its height.
func (q *resolved) bordered(n *image.NRGBA) (_ *image.NRGBA, alike bool) {
	source, border := q.request.Image.Bounds(), q.request.Outpaint
	whole := border.around(source).Size()
	if n.Rect.Size() != whole && border != (Border{}) && sameAspect(n.Rect.Size(), source.Size()) {
		n = extend(atSize(n, Size{source.Dy(), source.Dx()}), border, nil)
	}
	return n, sameAspect(n.Rect.Size(), whole)
}

// steeredBy is the request with its images that steer, and masks of image prompts, put through a function.
func (r Request) steeredBy(place func(img image.Image, own Resize) image.Image) Request {
	r.Controls, r.T2IAdapters, r.IPAdapters = slices.Clone(r.Controls), slices.Clone(r.T2IAdapters), slices.Clone(r.IPAdapters)
	for i := range r.Controls {
		r.Controls[i].Image = place(r.Controls[i].Image, r.Controls[i].Resize)
	}
	for i := range r.T2IAdapters {
		r.T2IAdapters[i].Image = place(r.T2IAdapters[i].Image, r.T2IAdapters[i].Resize)
	}
	for i := range r.IPAdapters {
		if mask := r.IPAdapters[i].Mask; mask != nil {
			r.IPAdapters[i].Mask = place(mask, "")
		}
	}
	return r
}

func sameAspect(a, b image.Point) bool { return a.X*b.Y == b.X*a.Y }

// inpaintCanvas is the request's canvas, which is made once.
func (q *resolved) inpaintCanvas() *canvas {
	if q.canvas == nil {
		q.canvas = newCanvas(q)
	}
	return q.canvas
}
