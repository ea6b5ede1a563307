package sdxl

import (
	"encoding/json"
	"fmt"
	"image"
	"slices"
)

// DefaultInpaintStrength is the strength of inpainting where a request has none, as in diffusers: all steps but one of
// 50, from the image with nearly all of the noise.
const DefaultInpaintStrength = 0.9999

// InpaintFill is what inpainting begins with where it repaints, as A1111's "Masked content".
type InpaintFill string

// Fills. All but the first begin with A1111's fill, the surroundings blurred into the hole, in the image.
const (
	FillOriginal InpaintFill = "original" // the image itself; the default
	FillBlur     InpaintFill = "blur"     // the surroundings, blurred: A1111's "fill"
	FillNoise    InpaintFill = "noise"    // the initial noise in the latents: A1111's "latent noise"
	FillNothing  InpaintFill = "nothing"  // zeros in the latents: A1111's "latent nothing"
)

// InpaintFills lists them.
func InpaintFills() []InpaintFill {
	return []InpaintFill{FillOriginal, FillNoise, FillBlur, FillNothing}
}

// Border is so many pixels on each side.
type Border struct{ Left, Top, Right, Bottom int }

// MarshalJSON implements json.Marshaler.
func (b Border) MarshalJSON() ([]byte, error) {
	return json.Marshal([]int{b.Left, b.Top, b.Right, b.Bottom})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Border) UnmarshalJSON(data []byte) error {
	var sides []int
	if err := json.Unmarshal(data, &sides); err != nil || len(sides) != 4 {
		return fmt.Errorf("sdxl: a border is %s: must be [left, top, right, bottom]", data)
	}
	*b = Border{sides[0], sides[1], sides[2], sides[3]}
	return nil
}

// around is the bounds of an image with the border, its origin at 0, 0.
func (b Border) around(r image.Rectangle) image.Rectangle {
	return image.Rect(0, 0, r.Dx()+b.Left+b.Right, r.Dy()+b.Top+b.Bottom)
}

// inpaints reports whether a part of an image is repainted.
func (r *Request) inpaints() bool { return r.Mask != nil || r.Outpaint != (Border{}) }

// resolveInpaint checks the fields of inpainting and fills in their defaults.
func (s *Spec) resolveInpaint(q *resolved) error {
	r := &q.request
	if q.Task != Inpaint {
		for _, f := range []field[bool]{
			{"soft_mask", r.SoftMask}, {"mask_blur", r.MaskBlur != 0}, {"mask_invert", r.MaskInvert}, {"inpaint_fill", r.InpaintFill != ""},
			{"mask_padding", r.MaskPadding != nil}, {"keep_unmasked", r.KeepUnmasked != nil},
		} {
			if f.value {
				return bad(f.name, "given", "absent without a mask")
			}
		}
		return nil
	}
	if r.Image == nil && r.ImageLatents == nil {
		return bad("image", "absent", "given where there is a mask or a border, which are of an image")
	}
	if err := checkInpaint(q); err != nil {
		return err
	}
	if nine := s.UNet.InChannels != s.VAE.LatentChannels; nine && r.SoftMask {
		return bad("soft_mask", true, "false: an inpainting model reads a mask of two values")
	} else if nine && r.Image == nil {
		return bad("image", "absent", "given: an inpainting model reads the masked image, which its latents are not")
	}
	q.Mask, q.SoftMask, q.MaskBlur, q.MaskInvert, q.Outpaint = r.Mask != nil, r.SoftMask, r.MaskBlur, r.MaskInvert, r.Outpaint
	if q.InpaintFill = FillOriginal; r.InpaintFill != "" {
		q.InpaintFill = r.InpaintFill
	}
	if r.MaskPadding != nil {
		q.MaskPadding = new(*r.MaskPadding)
	}
	q.KeepUnmasked = new(or(r.KeepUnmasked, true) && r.Image != nil)
	return nil
}

// checkInpaint is about the fields that stand for themselves.
func checkInpaint(q *resolved) error {
	r := &q.request
	if r.Mask != nil {
		if b := r.Mask.Bounds(); min(b.Dx(), b.Dy()) < 1 || max(b.Dx(), b.Dy()) > MaxSide {
			return bad("mask_image", fmt.Sprintf("%d×%d pixels", b.Dx(), b.Dy()), "1 to %d pixels a side", MaxSide)
		}
	}
	switch b := r.Outpaint; {
	case !(r.MaskBlur >= 0 && r.MaskBlur <= MaxSide):
		return bad("mask_blur", r.MaskBlur, "0 to %d pixels", MaxSide)
	case r.InpaintFill != "" && !slices.Contains(InpaintFills(), r.InpaintFill):
		return bad("inpaint_fill", fmt.Sprintf("%q", r.InpaintFill), "one of %v", InpaintFills())
	case r.MaskPadding != nil && !(*r.MaskPadding >= 0 && *r.MaskPadding <= MaxSide):
		return bad("mask_padding", *r.MaskPadding, "0 to %d pixels", MaxSide)
	case r.MaskPadding != nil && r.Image == nil:
		return bad("mask_padding", *r.MaskPadding, "absent where latents are given in place of the image")
	case min(b.Left, b.Top, b.Right, b.Bottom) < 0 || max(b.Left, b.Top, b.Right, b.Bottom) > MaxSide:
		return bad("outpaint", b.list(), "0 to %d pixels on each side", MaxSide)
	case b != (Border{}) && r.Image == nil:
		return bad("outpaint", b.list(), "absent where latents are given in place of the image")
	case b != (Border{}) && max(b.around(r.Image.Bounds()).Dx(), b.around(r.Image.Bounds()).Dy()) > MaxSide:
		whole := b.around(r.Image.Bounds())
		return bad("outpaint", fmt.Sprintf("%s, which gives %d×%d", b.list(), whole.Dx(), whole.Dy()), "sides of %d pixels at most with the image", MaxSide)
	case r.Image != nil && r.ImageLatents != nil && r.DenoisingStart == 0:
		return bad("image", "given twice", "one image, or its latents; both with denoising_start alone, which goes on with the latents")
	}
	return nil
}

// warnOfMask says that a mask of another size than the image's, or without an image the result's, is resized.
func (q *resolved) warnOfMask() {
	r := &q.request
	if r.Mask == nil {
		return
	}
	mask, size, whose := r.Mask.Bounds().Size(), image.Pt(q.size.Width, q.size.Height), "result"
	if r.Image != nil {
		size, whose = r.Image.Bounds().Size(), "image"
	}
	if mask != size {
		q.warnings = append(q.warnings, fmt.Sprintf("the mask, of %d×%d pixels, is resized to the %s's %d×%d", mask.X, mask.Y, whose, size.X, size.Y))
	}
}

func (b Border) list() string { return fmt.Sprint([]int{b.Left, b.Top, b.Right, b.Bottom}) }
