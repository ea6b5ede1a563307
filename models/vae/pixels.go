package vae

import (
	"image"
	"math"
	"runtime"
	"sync"
)

// Pixels rounds an image of three channels, values in −1…1, to bytes as kernels.ToPixels does. It is computed on the
// host, on every core: it is for values that are there, as those of joined tiles are.
func (x Image) Pixels() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, x.Width, x.Height))
	parts := min(runtime.GOMAXPROCS(0), x.Height)
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() {
			from, to := part*x.Height/parts*x.Width, (part+1)*x.Height/parts*x.Width
			for i := from; i < to; i++ {
				pixel, values := img.Pix[4*i:4*i+4], x.Data[3*i:3*i+3]
				for k, v := range values {
					v = min(max(float32(v/2)+0.5, 0), 1)
					pixel[k] = uint8(math.RoundToEven(float64(float32(v * 255))))
				}
				pixel[3] = 255
			}
		})
	}
	wg.Wait()
	return img
}
