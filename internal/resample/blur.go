package resample

import (
	"image"
	"math"
)

// blurPasses is how many box blurs stand for a Gaussian one.
const blurPasses = 3

// GaussianBlur blurs all four channels as Pillow's ImageFilter.GaussianBlur does, bit for bit. radius is the standard
// deviation in pixels, 0 or more; Pillow does so on modes RGBA and RGBa, and on others channel by channel alike.
func GaussianBlur(img *image.NRGBA, radius float64) *image.NRGBA {
	return GaussianBlurXY(img, radius, radius)
}

// GaussianBlurXY is GaussianBlur with a radius across and one down, as Pillow's of a pair.
func GaussianBlurXY(img *image.NRGBA, across, down float64) *image.NRGBA {
	size := img.Rect.Size()
	out := image.NewNRGBA(image.Rectangle{Max: size})
	for y := range size.Y {
		copy(out.Pix[y*out.Stride:][:4*size.X], img.Pix[img.PixOffset(img.Rect.Min.X, img.Rect.Min.Y+y):])
	}
	row := make([]byte, 4*max(size.X, size.Y))
	if b := newBox(boxRadius(float32(across))); across > 0 && size.X > 0 {
		for y := range size.Y {
			for range blurPasses {
				b.line(out.Pix[y*out.Stride:], row, 4, size.X)
			}
		}
	}
	if b := newBox(boxRadius(float32(down))); down > 0 && size.Y > 0 {
		for x := range size.X {
			for range blurPasses {
				b.line(out.Pix[4*x:], row, out.Stride, size.Y)
			}
		}
	}
	return out
}

// boxRadius is the radius of the box, with a fraction, of which blurPasses passes have a Gaussian's deviation. Source:
// Pillow src/libImaging/BoxBlur.c.
func boxRadius(radius float32) float32 {
	variance := float32(radius*radius) / blurPasses
	length := float32(math.Sqrt(12*float64(variance) + 1))
	l := float32(math.Floor((float64(length) - 1) / 2))
	a := float32(2*l+1) * (float32(l*(l+1)) - float32(3*float64(variance)))
	a = float32(float64(a) / (6 * float64(variance-float32((l+1)*(l+1)))))
	return l + a
}

// box is a box filter: whole pixels of one weight, and one of another at both ends, in fixed point of 24 bits.
type box struct {
	radius     int
	whole, end uint32
}

func newBox(radius float32) box {
	b := box{radius: int(radius)}
	b.whole = uint32(float32(1<<24) / (radius*2 + 1))
	b.end = (1<<24 - uint32(b.radius*2+1)*b.whole) / 2
	return b
}

// line blurs n pixels that are pitch bytes apart, in place, as if those at the ends went on for ever.
func (b box) line(pix, copied []byte, pitch, n int) {
	for i := range n {
		copy(copied[4*i:4*i+4], pix[i*pitch:])
	}
	at := func(i int) []byte { return copied[4*min(max(i, 0), n-1):][:4] }
	var sum [4]uint32
	for i := -b.radius - 1; i < b.radius; i++ {
		for c, v := range at(i) {
			sum[c] += uint32(v)
		}
	}
	for i := range n {
		first, last, left, right := at(i-b.radius-1), at(i+b.radius), at(i-b.radius-1), at(i+b.radius+1)
		for c := range 4 {
			sum[c] += uint32(last[c]) - uint32(first[c])
			pix[i*pitch+c] = uint8((sum[c]*b.whole + (uint32(left[c])+uint32(right[c]))*b.end + 1<<23) >> 24)
		}
	}
}
