package sdxl

import (
	"math"
	"runtime"
	"sync"

	"github.com/goxl/goxl/models/vae"
)

// watermarkBits is the message that diffusers writes into images, the first bit first.
// Source: diffusers pipelines/stable_diffusion_xl/watermark.py.
const (
	watermarkBits  = 0b101100111110110010010000011110111011000110011110
	watermarkCount = 48
	watermarkScale = 36
)

// watermarkBytes is what applyWatermark takes for a pixel: three planes, and the bands of one of them.
const watermarkBytes = 4 * 4

// applyWatermark writes the message into an image of values in −1…1, and clamps it. Images less than 256 wide, or of
// less than 256×256 pixels, are too small and stay as they are. Source: invisible-watermark 0.2.0
// imwatermark/dwtDctEncoder.py, method "dwtDct", which transforms no further than Haar.
func applyWatermark(p vae.Image) {
	if p.Width < 256 || p.Width*p.Height < 256*256 {
		return
	}
	luma := make([]float32, p.Height*p.Width)
	u, v := make([]float32, len(luma)), make([]float32, len(luma))
	inParts(len(luma), func(from, to int) {
		for i := from; i < to; i++ {
			level := func(k int) float32 { return 255 * (float32(p.Data[3*i+k]/2) + 0.5) }
			r, g, b := level(0), level(1), level(2)
			y := float32(0.299*r) + float32(0.587*g) + float32(0.114*b)
			luma[i] = y
			u[i] = float32(0.492*(b-y)) + 0.5
			v[i] = float32(0.877*(r-y)) + 0.5
		}
	})
	markPlane(u, p.Height, p.Width)
	inParts(len(luma), func(from, to int) {
		for i := from; i < to; i++ {
			y := luma[i]
			b := y + float32(2.032*(u[i]-0.5))
			g := y - float32(0.395*(u[i]-0.5)) - float32(0.581*(v[i]-0.5))
			r := y + float32(1.140*(v[i]-0.5))
			for k, c := range [3]float32{r, g, b} {
				p.Data[3*i+k] = min(max(2*(float32(c/255)-0.5), -1), 1)
			}
		}
	})
}

// inParts calls f with parts of n, side by side: an image waits for it while the device has nothing to do.
func inParts(n int, f func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { f(i*n/parts, (i+1)*n/parts) })
	}
	wg.Wait()
}

// markPlane writes the bits into the low band of a plane's Haar transform, one to each 4×4 block of it.
func markPlane(u []float32, height, width int) {
	const block = 4                   // rows and columns of a band that hold a bit
	h, w := height/4*4/2, width/4*4/2 // of the bands
	low, horizontal, vertical, diagonal := make([]float32, h*w), make([]float32, h*w), make([]float32, h*w), make([]float32, h*w)
	inParts((h+block-1)/block, func(from, to int) {
		top, bottom := from*block, min(to*block, h)
		for y := top; y < bottom; y++ {
			for x := range w {
				at := 2*y*width + 2*x
				a, b, c, d := u[at], u[at+1], u[at+width], u[at+width+1]
				i := y*w + x
				low[i], horizontal[i] = (a+b+c+d)/2, (a+b-c-d)/2
				vertical[i], diagonal[i] = (a-b+c-d)/2, (a-b-c+d)/2
			}
		}
		for y := top; y+block <= bottom; y += block {
			for x := 0; x+block <= w; x += block {
				bit := (y/block*(w/block) + x/block) % watermarkCount
				markBlock(low[y*w+x:], w, watermarkBits>>(watermarkCount-1-bit)&1 == 1)
			}
		}
		for y := top; y < bottom; y++ {
			for x := range w {
				i := y*w + x
				// The encoder hands the detail bands back the other way round.
				l, ch, cv, d := low[i], vertical[i], horizontal[i], diagonal[i]
				at := 2*y*width + 2*x
				u[at], u[at+1] = (l+ch+cv+d)/2, (l+ch-cv-d)/2
				u[at+width], u[at+width+1] = (l-ch+cv-d)/2, (l-ch-cv+d)/2
			}
		}
	})
}

// markBlock moves the largest value of a 4×4 block, its first aside, to the quarter of a step that stands for the bit.
func markBlock(block []float32, pitch int, one bool) {
	var largest *float32
	for i := 1; i < 16; i++ {
		v := &block[i/4*pitch+i%4]
		if largest == nil || math.Abs(float64(*v)) > math.Abs(float64(*largest)) {
			largest = v
		}
	}
	offset := 0.25
	if one {
		offset = 0.75
	}
	size := (math.Floor(math.Abs(float64(*largest))/watermarkScale) + offset) * watermarkScale
	if *largest < 0 {
		size = -size
	}
	*largest = float32(size)
}
