package resample

import (
	"crypto/sha256"
	"fmt"
	"image"
	"testing"
)

// source is the image of tools/reference/resample.py.
func source(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height * 3 {
		img.Pix[i/3*4+i%3] = uint8(uint64(i) * 2654435761 >> 13)
	}
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 255
	}
	return img
}

// hash is that of the colours alone.
func hash(img *image.NRGBA) string {
	h := sha256.New()
	for i := 0; i < len(img.Pix); i += 4 {
		h.Write(img.Pix[i : i+3])
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:16]
}

// The hashes are those of Pillow 13.0.0, by tools/reference/resample.py.
func TestPillow(t *testing.T) {
	bicubicOf := func(b Box) func(*image.NRGBA, int, int) *image.NRGBA {
		return func(img *image.NRGBA, w, h int) *image.NRGBA { return Bicubic(img, w, h, b) }
	}
	for _, c := range []struct {
		name          string
		resize        func(*image.NRGBA, int, int) *image.NRGBA
		width, height int
		want          string
	}{
		{"lanczos up", Lanczos, 64, 48, "8d6bc42d228967e1"},
		{"lanczos down", Lanczos, 9, 11, "493e27903208b763"},
		{"lanczos rows", Lanczos, 37, 50, "48fd4d9232cd9eb7"},
		{"lanczos same", Lanczos, 37, 23, "37684f5796d390a1"},
		{"nearest up", Nearest, 64, 48, "2d69bad3149a632f"},
		{"nearest down", Nearest, 10, 7, "b5d81a249c1f215a"},
		{"bicubic", bicubicOf(Box{0, 0, 37, 23}), 64, 48, "a7bb540e5486cc22"},
		{"bicubic box", bicubicOf(Box{3, 2.5, 30, 20}), 20, 9, "7c795b4977d12973"},
		{"top row", bicubicOf(Box{0, 0, 37, 0}), 37, 6, "09b392babb3176bc"},
		{"bottom row", bicubicOf(Box{0, 23, 37, 23}), 37, 6, "1c5d4141a7be8720"},
		{"left column", bicubicOf(Box{0, 0, 0, 23}), 5, 23, "315c0dda8c6fc6b6"},
		{"right column", bicubicOf(Box{37, 0, 37, 23}), 5, 23, "e0cd0757bceb6941"},
	} {
		img := source(37, 23)
		before := hash(img)
		out := c.resize(img, c.width, c.height)
		if got := hash(out); out.Bounds() != image.Rect(0, 0, c.width, c.height) || got != c.want {
			t.Errorf("%s: %v %s, want %s", c.name, out.Bounds(), got, c.want)
		}
		if hash(img) != before {
			t.Errorf("%s changes its input", c.name)
		}
		if !out.Opaque() {
			t.Errorf("%s: not opaque", c.name)
		}
	}
}

// An image that is a part of a larger one is resized as it is.
func TestPart(t *testing.T) {
	large := image.NewNRGBA(image.Rect(0, 0, 60, 40))
	small := source(37, 23)
	for y := range 23 {
		copy(large.Pix[large.PixOffset(11, 5+y):], small.Pix[y*small.Stride:][:4*37])
	}
	part := large.SubImage(image.Rect(11, 5, 48, 28)).(*image.NRGBA)
	for name, resize := range map[string]func(*image.NRGBA, int, int) *image.NRGBA{"lanczos": Lanczos, "nearest": Nearest} {
		for _, size := range []image.Point{{64, 48}, {37, 50}, {37, 23}} {
			if got, want := hash(resize(part, size.X, size.Y)), hash(resize(small, size.X, size.Y)); got != want {
				t.Errorf("%s to %v: %s, want %s", name, size, got, want)
			}
		}
	}
}
