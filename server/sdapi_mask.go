package server

import (
	"context"
	"image"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
)

// sdFills are the fills by A1111's numbers of them, inpainting_fill.
var sdFills = []sdxl.InpaintFill{sdxl.FillBlur, sdxl.FillOriginal, sdxl.FillNoise, sdxl.FillNothing}

// sdResizes are the library's ways to resize by A1111's numbers of them, resize_mode.
var sdResizes = []sdxl.Resize{sdxl.ResizeStretch, sdxl.ResizeCrop, sdxl.ResizeFill}

// sdMaskFields are the fields of inpainting.
type sdMaskFields struct {
	given   bool
	across  int // of the blur, in pixels
	down    int
	round   bool
	fill    sdxl.InpaintFill
	part    bool // computes what is around the mask alone
	padding int
	invert  bool
}

// maskFields reads the fields of inpainting, which say nothing without a mask.
func (q *sdRequest) maskFields() (m sdMaskFields) {
	f := q.fields
	text := f.optionalText("mask")
	m.given = text != nil && *text != ""
	side := limits{0, sdxl.MaxSide, 0}
	m.across, m.down = int(f.integer("mask_blur_x", side, 4)), int(f.integer("mask_blur_y", side, 4))
	if both := int(f.integer("mask_blur", side, 4)); f.given("mask_blur") != nil {
		m.across, m.down = both, both
	}
	m.round = f.boolean("mask_round", true)
	m.fill = sdFills[min(f.integer("inpainting_fill", limits{0, uint64(len(sdFills) - 1), 0}, 0), 3)]
	m.part = f.boolean("inpaint_full_res", true)
	m.padding = int(f.integer("inpaint_full_res_padding", side, 0))
	m.invert = f.integer("inpainting_mask_invert", limits{0, 1, 0}, 0) == 1
	return m
}

// sdMask reads the mask, if there is one, and gives it to the job with what is around it. Of one that would repaint
// nothing A1111 computes the whole image, where it would else compute the part around the mask.
func (s *Server) sdMask(ctx context.Context, q *sdRequest, from sdSourceFields) error {
	const name = "mask"
	f, m, r := q.fields, from.mask, &q.job.Request
	if !m.given {
		return nil
	}
	if !m.round {
		return &failure{kind: notImplemented, detail: "mask_round is false: goxl mixes no latents by a grey mask; leave it out"}
	}
	raw := f.given(name)
	data := f.sdImage(name)
	if data == nil {
		return f.err()
	}
	blank, nothing := true, uint8(0)
	if m.invert {
		nothing = 255
	}
	mask, err := s.sdUpload(ctx, data, func(img *image.NRGBA) *image.NRGBA {
		grey := sdBinaryMask(img, data)
		for i := 0; i < len(grey.Pix); i += 4 {
			blank = blank && grey.Pix[i] == nothing
		}
		if m.across != m.down {
			grey = resample.GaussianBlurXY(grey, float64(m.across), float64(m.down))
		}
		return grey
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		f.sdBadImage(name, raw, err)
		return f.err()
	case blank && m.part:
		q.warnings = append(q.warnings, `Unable to perform "Inpaint Only mask" because mask is blank, switch to img2img mode.`)
		return nil
	}
	r.Mask, r.MaskInvert, r.InpaintFill = sdxl.Blank{Size: mask.size}, m.invert, m.fill
	if m.across == m.down { // A1111's infotext says the blur of such a one alone
		r.MaskBlur = float64(m.across)
	}
	r.Width, r.Height = q.size.Width, q.size.Height
	if m.part {
		r.MaskPadding = &m.padding
	} else {
		r.Resize = sdResizes[from.mode]
	}
	q.images[name], q.uploads = mask.id, append(q.uploads, mask)
	return nil
}

// sdBinaryMask is A1111's create_binary_mask (modules/processing.py) of an image and of its file: where pixels are
// transparent, white is an alpha above 128, else the luminance counts.
func sdBinaryMask(img *image.NRGBA, data []byte) *image.NRGBA {
	alpha, err := imagefile.Alpha(data, sdxl.MaxSide)
	if err == nil && alpha != nil {
		opaque := true
		for i := 0; i < len(alpha.Pix); i += 4 {
			opaque = opaque && alpha.Pix[i] == 255
		}
		if !opaque {
			return mapGrey(alpha, func(p []uint8) uint8 {
				if p[0] > 128 {
					return 255
				}
				return 0
			})
		}
	}
	return mapGrey(img, func(p []uint8) uint8 { // Pillow's mode L
		return uint8((19595*uint32(p[0]) + 38470*uint32(p[1]) + 7471*uint32(p[2]) + 0x8000) >> 16)
	})
}

// mapGrey is a grey image of what do says of each pixel.
func mapGrey(img *image.NRGBA, do func(pixel []uint8) uint8) *image.NRGBA {
	out := image.NewNRGBA(image.Rectangle{Max: img.Rect.Size()})
	for i := 0; i < len(out.Pix); i += 4 {
		v := do(img.Pix[i:][:4])
		copy(out.Pix[i:], []uint8{v, v, v, 255})
	}
	return out
}
