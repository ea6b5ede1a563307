package resample

import "image"

// Blend puts a second image of the same size over the first one in place, as Pillow's Image.blend does: alpha is from 0,
// the first alone, to 1.
func Blend(first, second *image.NRGBA, alpha float64) {
	a := float32(alpha)
	for i, v := range first.Pix {
		first.Pix[i] = uint8(float32(v) + a*(float32(second.Pix[i])-float32(v)))
	}
}
