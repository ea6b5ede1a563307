package sdxl

import (
	"math"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/models/vae"
)

// TestWatermark compares with the invisible-watermark package: the encoder's own output on a ramp, and diffusers' whole path on waves that leave −1…1.
func TestWatermark(t *testing.T) {
	g := golden.Open(t, testdata+"/goldens/watermark.safetensors")
	ramp := vae.NewImage(256, 256, 3)
	for y := range 256 {
		for x := range 256 {
			for k, level := range [3]float32{100, 40 + 0.3*float32(y), 60 + 0.5*float32(x)} {
				ramp.Data[(y*256+x)*3+k] = 2*(level/255) - 1
			}
		}
	}
	applyWatermark(ramp)
	want, shape := g.Floats("ramp.rows") // BGR levels of the first rows
	got := make([]float32, len(want))
	for i := range shape[0] * shape[1] {
		for k := range 3 {
			got[3*i+k] = 255 * (ramp.Data[3*i+2-k]/2 + 0.5)
		}
	}
	// The levels go through −1…1 here and not there: a few roundings of values up to 255.
	golden.Near(t, "ramp", got, want, 4*0x1p-24*2)

	const n, h, w = 2, 259, 274
	want, _ = g.Floats("waves.strided")
	input, _ := g.Floats("waves.input_strided")
	got, in := got[:0], []float32{}
	for i := range n {
		waves := vae.NewImage(h, w, 3)
		for y := range h {
			for x := range w {
				for c := range 3 {
					a := math.Sin(0.05*float64(c+1)*float64(x) + 0.031*float64(y) + float64(i))
					b := math.Cos(0.043*float64(y) - 0.2*float64(c))
					waves.Data[(y*w+x)*3+c] = float32(1.1 * a * b)
				}
			}
		}
		before := append([]float32{}, waves.Data...)
		applyWatermark(waves)
		for c := range 3 {
			for y := 0; y < h; y += 13 {
				for x := 0; x < w; x += 11 {
					in = append(in, before[(y*w+x)*3+c])
					got = append(got, waves.Data[(y*w+x)*3+c])
				}
			}
		}
	}
	golden.Near(t, "waves before", in, input, 1e-7)
	golden.Near(t, "waves", got, want, 1e-6)
}

// TestWatermarkSkipsSmallImages leaves images alone that the encoder can't take.
func TestWatermarkSkipsSmallImages(t *testing.T) {
	for _, size := range [][2]int{{512, 255}, {255, 256}} {
		p := vae.NewImage(size[0], size[1], 3)
		for i := range p.Data {
			p.Data[i] = float32(i%7) / 2
		}
		before := append([]float32{}, p.Data...)
		applyWatermark(p)
		for i, v := range p.Data {
			if v != before[i] {
				t.Fatalf("%v: value %d changed", size, i)
			}
		}
	}
}
