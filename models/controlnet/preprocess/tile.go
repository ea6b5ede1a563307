package preprocess

import (
	"image"
	"math"
)

// TileResample makes an image smaller by a factor, as cv2.resize with INTER_AREA does; below a factor of 1.1 it is the
// image itself. What reads it makes it larger again.
func TileResample(img *image.NRGBA, factor float64) *image.NRGBA {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	width, height := max(1, int(float64(w)/factor)), max(1, int(float64(h)/factor))
	if factor < 1.1 || width == w && height == h {
		return img
	}
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	if w%width == 0 && h%height == 0 {
		wholeArea(out, img, w/width, h/height)
		return out
	}
	partArea(out, img)
	return out
}

// wholeArea is the mean of whole pixels.
func wholeArea(out, img *image.NRGBA, fx, fy int) {
	scale := 1 / float32(fx*fy)
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			to := out.Pix[y*out.Stride+4*x:][:4]
			for c := range 3 {
				sum := 0
				for sy := range fy {
					for sx := range fx {
						sum += int(img.Pix[(y*fy+sy)*img.Stride+4*(x*fx+sx)+c])
					}
				}
				if fx == 2 && fy == 2 {
					to[c] = uint8((sum + 2) >> 2)
					continue
				}
				to[c] = uint8(math.RoundToEven(float64(float32(sum) * scale)))
			}
			to[3] = 0xff
		}
	}
}

// overlap is a source pixel's part in a pixel of the result.
type overlap struct {
	from, to int
	weight   float32
}

// overlaps are those along an axis. Source: OpenCV modules/imgproc/src/resize.cpp, computeResizeAreaTab.
func overlaps(in, out int) (list []overlap) {
	scale := float64(in) / float64(out)
	for to := range out {
		low := float64(to) * scale
		high := low + scale
		cell := math.Min(scale, float64(in)-low)
		first, last := int(math.Ceil(low)), int(math.Floor(high))
		last = min(last, in-1)
		first = min(first, last)
		if float64(first)-low > 1e-3 {
			list = append(list, overlap{first - 1, to, float32((float64(first) - low) / cell)})
		}
		for from := first; from < last; from++ {
			list = append(list, overlap{from, to, float32(1 / cell)})
		}
		if high-float64(last) > 1e-3 {
			list = append(list, overlap{last, to, float32(math.Min(math.Min(high-float64(last), 1), cell) / cell)})
		}
	}
	return list
}

// partArea is the mean of pixels and parts of them: across in float32, then down.
func partArea(out, img *image.NRGBA) {
	w, h := out.Bounds().Dx(), out.Bounds().Dy()
	columns := overlaps(img.Bounds().Dx(), w)
	sums := make([]float32, 3*w*h)
	line := make([]float32, 3*w)
	for _, row := range overlaps(img.Bounds().Dy(), h) {
		clear(line)
		for _, col := range columns {
			for c := range 3 {
				line[3*col.to+c] += float32(float32(img.Pix[row.from*img.Stride+4*col.from+c]) * col.weight)
			}
		}
		for i, v := range line {
			sums[3*w*row.to+i] += float32(row.weight * v)
		}
	}
	for i, v := range sums {
		at := i / 3 / w * out.Stride
		out.Pix[at+i/3%w*4+i%3] = uint8(min(max(math.RoundToEven(float64(v)), 0), 255))
	}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 0xff
	}
}
