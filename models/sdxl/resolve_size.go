package sdxl

import (
	"cmp"
	"fmt"
	"slices"
)

// resolveSize fills in the result's size and what micro-conditioning has by default, and checks latents against it.
func (s *Spec) resolveSize(q *resolved) (err error) {
	if q.size, err = s.size(q); err != nil {
		return err
	}
	q.warnOfMask()
	q.Height, q.Width = q.size.Height, q.size.Width
	q.OriginalSize, q.TargetSize = sizeOr(q.request.OriginalSize, q.size), sizeOr(q.request.TargetSize, q.size)
	f := s.VAE.ScaleFactor()
	q.latents = []int{q.Images, s.VAE.LatentChannels, q.Height / f, q.Width / f}
	if q.request.Latents == nil {
		return nil
	}
	if q.Task.ofImage() {
		return bad("latents", shapeOf(q.request.Latents), "absent where there is an image, whose noise is the seed's")
	}
	return checkLatents("latents", q.request.Latents, q.Images, s.VAE.LatentChannels, q.Height/f, q.Width/f)
}

func sizeOr(s, otherwise Size) Size {
	if s == (Size{}) {
		return otherwise
	}
	return s
}

// size is the result's, checked.
func (s *Spec) size(q *resolved) (Size, error) {
	f := s.VAE.ScaleFactor()
	r := &q.request
	if r.Resize != "" && (r.Image == nil || !slices.Contains(Resizes(), r.Resize)) {
		return Size{}, bad("resize", fmt.Sprintf("%q", r.Resize), "one of %v with an image, and absent without", Resizes())
	}
	if q.Task == TextToImage {
		height, width := s.defaultSize()
		if r.Height != 0 {
			height = r.Height
		}
		if r.Width != 0 {
			width = r.Width
		}
		return checkSize(Size{height, width}, max(f, 8)) // the text-to-image pipeline wants multiples of 8 whatever the VAE
	}
	if r.ImageLatents == nil {
		return s.resizedSize(q)
	}
	size, err := s.latentsSize(q)
	if err != nil {
		return Size{}, err
	}
	for _, side := range []struct {
		field       string
		given, have int
	}{{"height", r.Height, size.Height}, {"width", r.Width, size.Width}} {
		if side.given != 0 && side.given != side.have {
			return Size{}, bad(side.field, side.given, "absent, or the image's %d", side.have)
		}
	}
	if q.MaskPadding == nil { // of an image beside the latents, whose pixels are kept
		q.Resize = r.Resize
	}
	return size, nil
}

// resizedSize is that of an image, with its border, and where the request has sides, those, checked.
func (s *Spec) resizedSize(q *resolved) (Size, error) {
	f, r := s.VAE.ScaleFactor(), &q.request
	if b := r.Image.Bounds(); min(b.Dx(), b.Dy()) < 1 {
		return Size{}, bad("image", fmt.Sprintf("%d×%d pixels", b.Dx(), b.Dy()), "1 or more pixels a side")
	}
	bounds := r.Outpaint.around(r.Image.Bounds())
	fitted := fittedSize(bounds, f)
	size, err := checkSize(Size{cmp.Or(r.Height, fitted.Height), cmp.Or(r.Width, fitted.Width)}, f)
	if err == nil && size != fitted && q.MaskPadding == nil {
		q.Resize = cmp.Or(r.Resize, ResizeStretch)
	}
	return size, err
}

// latentsSize is the size that latents give the result, checked.
func (s *Spec) latentsSize(q *resolved) (Size, error) {
	f := s.VAE.ScaleFactor()
	x := q.request.ImageLatents
	if q.request.Image != nil && q.Task != Inpaint {
		return Size{}, bad("image", "given twice", "one image, or its latents")
	}
	if err := checkLatents("image", x, 0, s.VAE.LatentChannels, 0, 0); err != nil {
		return Size{}, err
	}
	if n := x.Shape[0]; q.Images%n != 0 {
		return Size{}, bad("num_images_per_prompt", q.Images, "a multiple of the %d images given", n)
	}
	return checkSize(Size{x.Shape[2] * f, x.Shape[3] * f}, f)
}

func checkSize(s Size, multiple int) (Size, error) {
	for _, side := range []struct {
		field string
		value int
	}{{"height", s.Height}, {"width", s.Width}} {
		if side.value < multiple || side.value > MaxSide || side.value%multiple != 0 {
			return s, bad(side.field, side.value, "a multiple of %d from %d to %d", multiple, multiple, MaxSide)
		}
	}
	return s, nil
}
