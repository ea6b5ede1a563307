package imagefile

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"golang.org/x/image/webp"
)

// Alpha reads the alpha channel that [Decode] drops, as a grey image, turned upright as Decode does: of a PNG, whose
// channel may be that of its palette or of one transparent colour, and of a WebP that is no animation. It is nil for an
// image that has none, as a lossless WebP that is opaque all over. Limits and errors are Decode's.
func Alpha(data []byte, maxSide int) (*image.NRGBA, error) {
	f, err := recognise(data)
	if err != nil {
		return nil, err
	}
	decode := map[string]func([]byte) (image.Image, error){"PNG": decodePNGPixels, "WebP": decodeWebPPixels}[f.name]
	if decode == nil {
		return nil, nil
	}
	size, err := f.size(data)
	if err == nil {
		err = checkSize(size.X, size.Y, maxSide)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", f.name, err)
	}
	img, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", f.name, err)
	}
	m, err := f.metadata(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s metadata: %w", f.name, err)
	}
	channel := alphaOf(img)
	if channel == nil {
		return nil, nil
	}
	return oriented(channel, m.orientation()), nil
}

func decodePNGPixels(data []byte) (image.Image, error) { return png.Decode(bytes.NewReader(data)) }

// decodeWebPPixels reads a WebP with its alpha; nil is an animation.
func decodeWebPPixels(data []byte) (image.Image, error) {
	if f, err := parseWebP(data); err != nil || f.placed {
		return nil, err
	}
	img, err := webp.Decode(bytes.NewReader(data))
	if pixels, ok := img.(*image.NRGBA); ok && pixels.Opaque() {
		return nil, err
	}
	return img, err
}

// alphaOf is the alpha of an image as grey; nil if its type has none, or a palette's colours are all opaque.
func alphaOf(img image.Image) *image.NRGBA {
	switch img := img.(type) {
	case *image.NRGBA, *image.NRGBA64, *image.NYCbCrA:
	case *image.Paletted:
		transparent := false
		for _, c := range img.Palette {
			_, _, _, a := c.RGBA()
			transparent = transparent || a != 0xffff
		}
		if !transparent {
			return nil
		}
	default: // nil, or opaque
		return nil
	}
	b := img.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			a := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA).A
			copy(out.Pix[out.PixOffset(x, y):], []uint8{a, a, a, 255})
		}
	}
	return out
}
