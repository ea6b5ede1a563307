package sdxl

import (
	"image"
	"math"
)

// fittedSize is an image's size rounded down to multiples of factor; a side below one is left as it is, and is refused.
func fittedSize(b image.Rectangle, factor int) Size {
	fitted := func(side int) int {
		if side < factor {
			return side
		}
		return side / factor * factor
	}
	return Size{fitted(b.Dy()), fitted(b.Dx())}
}

// fitToFactor resizes an image down to multiples of factor, as diffusers' VaeImageProcessor does before encoding; one
// that fits is returned as it is.
func fitToFactor(img image.Image, factor int) image.Image {
	b, s := img.Bounds(), fittedSize(img.Bounds(), factor)
	if s == (Size{b.Dy(), b.Dx()}) {
		return img
	}
	return resizeLanczos(toNRGBA(img), s.Width, s.Height)
}

// resizeLanczos is PIL's Image.resize with the Lanczos filter, bit for bit: the columns first, then the rows, each with
// weights in fixed point and rounded to bytes. Source: Pillow src/libImaging/Resample.c.
func resizeLanczos(img *image.NRGBA, width, height int) *image.NRGBA {
	b := img.Bounds()
	if width != b.Dx() {
		out := image.NewNRGBA(image.Rect(0, 0, width, b.Dy()))
		for x, w := range lanczosWindows(b.Dx(), width) {
			for y := range b.Dy() {
				w.apply(out.Pix[y*out.Stride+4*x:], img.Pix[y*img.Stride+4*w.first:], 4)
			}
		}
		img = out
	}
	if height != b.Dy() {
		out := image.NewNRGBA(image.Rect(0, 0, width, height))
		for y, w := range lanczosWindows(b.Dy(), height) {
			for x := range width {
				w.apply(out.Pix[y*out.Stride+4*x:], img.Pix[w.first*img.Stride+4*x:], img.Stride)
			}
		}
		img = out
	}
	return img
}

// fixedBits is the precision of Pillow's weights.
const fixedBits = 22

// window is the input samples that one output sample is made of.
type window struct {
	first   int
	weights []int32 // fixed point
}

// lanczosWindows computes Pillow's coefficients for an axis.
func lanczosWindows(in, out int) []window {
	const lobes = 3.0
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := lobes * stretch
	windows := make([]window, out)
	for i := range windows {
		centre := (float64(i) + 0.5) * scale
		first := max(int(centre-support+0.5), 0)
		end := min(int(centre+support+0.5), in)
		weights := make([]float64, end-first)
		sum := 0.0
		for k := range weights {
			weights[k] = lanczos((float64(k+first) - centre + 0.5) / stretch)
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

func lanczos(x float64) float64 {
	const lobes = 3.0
	if x < -lobes || x >= lobes {
		return 0
	}
	return sinc(x) * sinc(x/lobes)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
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
