package imagefile

import "image"

// oriented turns an image upright as Pillow's ImageOps.exif_transpose does. Orientations other than 2 to 8 leave it as
// it is.
func oriented(img *image.NRGBA, orientation int) *image.NRGBA {
	width, height := img.Rect.Dx(), img.Rect.Dy()
	var from func(x, y int) (int, int) // where a pixel of the result comes from
	switch orientation {
	case 2:
		from = func(x, y int) (int, int) { return width - 1 - x, y }
	case 3:
		from = func(x, y int) (int, int) { return width - 1 - x, height - 1 - y }
	case 4:
		from = func(x, y int) (int, int) { return x, height - 1 - y }
	case 5:
		from = func(x, y int) (int, int) { return y, x }
	case 6:
		from = func(x, y int) (int, int) { return y, height - 1 - x }
	case 7:
		from = func(x, y int) (int, int) { return width - 1 - y, height - 1 - x }
	case 8:
		from = func(x, y int) (int, int) { return width - 1 - y, x }
	default:
		return img
	}
	size := image.Rect(0, 0, width, height)
	if orientation >= 5 {
		size = image.Rect(0, 0, height, width)
	}
	out := image.NewNRGBA(size)
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			sx, sy := from(x, y)
			copy(out.Pix[out.PixOffset(x, y):][:4], img.Pix[img.PixOffset(sx, sy):][:4])
		}
	}
	return out
}
