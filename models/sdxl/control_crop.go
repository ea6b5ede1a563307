package sdxl

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// cropped is the part of a ControlNet's or T2I-Adapter's image beside what is computed of an image that is inpainted
// around its mask alone: the same part, resized as that is. A control image of another size than the image's is resized
// to that first. Source: diffusers pipeline_controlnet_inpaint_sd_xl.py, prepare_control_image.
func (q *resolved) cropped(img image.Image) image.Image {
	if q.MaskPadding == nil || q.request.Image == nil {
		return img
	}
	c := newCanvas(q)
	if !c.part {
		return img
	}
	whole := atSize(img, Size{c.mask.Rect.Dy(), c.mask.Rect.Dx()})
	return resample.Fill(cut(whole, c.box), q.size.Width, q.size.Height)
}
