package preprocess

import (
	"image"
	"math"
)

// BlurGaussian is cv2.GaussianBlur with a standard deviation in pixels and OpenCV's own window: in fixed point, each
// weight a multiple of 1/256.
func BlurGaussian(img *image.NRGBA, sigma float64) *image.NRGBA {
	k := gaussianKernel(sigma)
	w, h, half := img.Bounds().Dx(), img.Bounds().Dy(), len(k)/2
	columns, rows := reflections(w, half), reflections(h, half)
	across := make([]uint32, 3*w*h) // in 1/256
	for y := range h {
		line := img.Pix[y*img.Stride:]
		for x := range w {
			for c := range 3 {
				var sum uint32
				for i, weight := range k {
					sum += weight * uint32(line[4*columns[x+i]+c])
				}
				across[3*(y*w+x)+c] = sum
			}
		}
	}
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			to := out.Pix[y*out.Stride+4*x:][:4]
			for c := range 3 {
				var sum uint32
				for i, weight := range k {
					sum += weight * across[3*(rows[y+i]*w+x)+c]
				}
				to[c] = uint8((sum + 1<<15) >> 16)
			}
			to[3] = 0xff
		}
	}
	return out
}

// gaussianKernel is the weights in 1/256, which add up to 256; what rounding leaves goes to the next weight. Source:
// OpenCV modules/imgproc/src/smooth.dispatch.cpp, getGaussianKernelFixedPoint_ED.
func gaussianKernel(sigma float64) []uint32 {
	n := int(math.RoundToEven(sigma*6+1)) | 1
	half := n / 2
	exact := make([]float64, half+1)
	sum := 0.0
	for i := range half {
		x := float64(2*i + 1 - n)
		exact[i] = math.Exp(x * x * (-0.125 / (sigma * sigma)))
		sum += exact[i]
	}
	scale := 1 / (2*sum + 1)
	k := make([]uint32, n)
	total, rest := 0, 0.0
	for i := range half {
		v := float64(exact[i]*scale)*256 + rest
		rounded := math.RoundToEven(v)
		rest = v - rounded
		k[i], k[n-1-i] = uint32(rounded), uint32(rounded)
		total += 2 * int(rounded)
	}
	k[half] = uint32(256 - total)
	return k
}

// reflections are the pixels of a side of n that a window reads, from half before it to half behind it: mirrored at the
// outer pixels, which are not repeated (BORDER_REFLECT_101).
func reflections(n, half int) []int {
	at := make([]int, n+2*half)
	for i := range at {
		p := i - half
		for n > 1 && (p < 0 || p >= n) {
			if p < 0 {
				p = -p
			} else {
				p = 2*(n-1) - p
			}
		}
		if n == 1 {
			p = 0
		}
		at[i] = p
	}
	return at
}
