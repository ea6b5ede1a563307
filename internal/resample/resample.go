// Package resample resizes and blurs images as Pillow's Image.resize and ImageFilter do, bit for bit.
package resample

import (
	"image"
	"math"
)

// Box is the part of an image that is resized, in pixels. A side may be empty: its filter extrapolates from the pixels
// beside it then, as Pillow's does.
type Box struct{ Left, Top, Right, Bottom float64 }

// Lanczos resizes with the Lanczos filter (Image.LANCZOS) to width × height pixels, 1 or more each.
func Lanczos(img *image.NRGBA, width, height int) *image.NRGBA {
	return lanczos.resize(img, width, height, whole(img))
}

// Within makes an image whose longer side is beyond a limit, 1 or more pixels, as small as that by Lanczos; another one
// it returns as it is.
func Within(img *image.NRGBA, limit int) *image.NRGBA {
	size := img.Rect.Size()
	longer := max(size.X, size.Y)
	if longer <= limit {
		return img
	}
	scaled := func(side int) int { return max(1, (side*limit+longer/2)/longer) }
	return Lanczos(img, scaled(size.X), scaled(size.Y))
}

// Bicubic resizes a box of the image with the bicubic filter (Image.BICUBIC).
func Bicubic(img *image.NRGBA, width, height int, box Box) *image.NRGBA {
	return bicubic.resize(img, width, height, box)
}

// Nearest takes the nearest pixels (Image.NEAREST).
func Nearest(img *image.NRGBA, width, height int) *image.NRGBA {
	b := img.Bounds()
	columns, rows := nearest(b.Dx(), width), nearest(b.Dy(), height)
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y, from := range rows {
		row := img.Pix[img.PixOffset(b.Min.X, b.Min.Y+from):]
		for x, column := range columns {
			copy(out.Pix[y*out.Stride+4*x:][:4], row[4*column:])
		}
	}
	return out
}

// nearest are the input samples of an axis. Pillow adds up the distances, and so do the roundings here.
func nearest(in, out int) []int {
	list := make([]int, out)
	scale := float64(in) / float64(out)
	at := scale * 0.5
	for i := range list {
		list[i] = min(int(at), in-1)
		at += scale
	}
	return list
}

func whole(img *image.NRGBA) Box {
	return Box{Right: float64(img.Bounds().Dx()), Bottom: float64(img.Bounds().Dy())}
}

// filter is a function of the distance in pixels, zero from support on.
type filter struct {
	support float64
	at      func(x float64) float64
}

var (
	lanczos = filter{3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}}
	bicubic = filter{2, func(x float64) float64 {
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}}
)

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// resize works on the columns first, then on the rows, each with weights in fixed point and rounded to bytes. Source:
// Pillow src/libImaging/Resample.c.
func (f filter) resize(img *image.NRGBA, width, height int, box Box) *image.NRGBA {
	b := img.Bounds()
	size := b.Size()
	pix := img.Pix[img.PixOffset(b.Min.X, b.Min.Y):]
	stride := img.Stride
	if width != size.X || box.Left != 0 || box.Right != float64(width) {
		out := image.NewNRGBA(image.Rect(0, 0, width, size.Y))
		for x, w := range f.windows(size.X, box.Left, box.Right, width) {
			for y := range size.Y {
				w.apply(out.Pix[y*out.Stride+4*x:], pix[y*stride+4*w.first:], 4)
			}
		}
		pix, stride = out.Pix, out.Stride
	}
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	if height == size.Y && box.Top == 0 && box.Bottom == float64(height) {
		for y := range height {
			copy(out.Pix[y*out.Stride:][:4*width], pix[y*stride:])
		}
		return out
	}
	for y, w := range f.windows(size.Y, box.Top, box.Bottom, height) {
		for x := range width {
			w.apply(out.Pix[y*out.Stride+4*x:], pix[w.first*stride+4*x:], stride)
		}
	}
	return out
}

// fixedBits is the precision of Pillow's weights.
const fixedBits = 22

// window is the input samples that one output sample is made of.
type window struct {
	first   int
	weights []int32 // fixed point
}

// windows computes Pillow's coefficients for an axis of in samples, of which those from low to high become out.
func (f filter) windows(in int, low, high float64, out int) []window {
	scale := (high - low) / float64(out)
	stretch := max(scale, 1)
	support := f.support * stretch
	windows := make([]window, out)
	for i := range windows {
		centre := low + (float64(i)+0.5)*scale
		first := max(int(centre-support+0.5), 0)
		end := min(int(centre+support+0.5), in)
		weights := make([]float64, end-first)
		sum := 0.0
		for k := range weights {
			weights[k] = f.at((float64(k+first) - centre + 0.5) / stretch)
			sum += weights[k]
		}
		w := window{first: first, weights: make([]int32, len(weights))}
		for k, v := range weights {
			v = v / sum * (1 << fixedBits)
			w.weights[k] = int32(v + math.Copysign(0.5, v))
		}
		windows[i] = w
	}
	return windows
}

// apply writes one pixel from samples that are pitch bytes apart.
func (w window) apply(dst, src []byte, pitch int) {
	for c := range 4 {
		sum := int64(1 << (fixedBits - 1))
		for k, weight := range w.weights {
			sum += int64(weight) * int64(src[k*pitch+c])
		}
		dst[c] = uint8(min(max(sum>>fixedBits, 0), 255))
	}
}
