package sdxl

import (
	"image"
	"image/color"
	"image/draw"
	"testing"
)

// What is transparent keeps its colour, of every type that has one, and wherever the image begins.
func TestTransparentColours(t *testing.T) {
	rect := image.Rect(3, 5, 5, 6)
	want := [2]color.NRGBA{{R: 200, G: 100, B: 50}, {R: 10, G: 20, B: 30, A: 255}}
	nrgba, nrgba64 := image.NewNRGBA(rect), image.NewNRGBA64(rect)
	paletted := image.NewPaletted(rect, color.Palette{want[0], want[1]})
	paletted.SetColorIndex(4, 5, 1)
	ycbcr := image.NewNYCbCrA(rect, image.YCbCrSubsampleRatio444)
	for i, c := range want {
		nrgba.SetNRGBA(3+i, 5, c)
		nrgba64.SetNRGBA64(3+i, 5, color.NRGBA64{R: uint16(c.R)<<8 | 0xff, G: uint16(c.G) << 8, B: uint16(c.B) << 8, A: uint16(c.A) << 8})
		ycbcr.Y[i], ycbcr.Cb[i], ycbcr.Cr[i] = color.RGBToYCbCr(c.R, c.G, c.B)
		ycbcr.A[i] = c.A
	}
	opaque := image.NewRGBA(rect)
	draw.Draw(opaque, rect, image.NewUniform(want[1]), image.Point{}, draw.Src)
	for name, img := range map[string]image.Image{"NRGBA": nrgba, "NRGBA64": nrgba64, "paletted": paletted, "NYCbCrA": ycbcr, "opaque RGBA": opaque} {
		got := toNRGBA(img)
		if got.Rect != image.Rect(0, 0, 2, 1) {
			t.Fatalf("%s: %v", name, got.Rect)
		}
		for x, c := range want {
			if name == "opaque RGBA" {
				c = want[1]
			}
			g := got.NRGBAAt(x, 0)
			near := func(a, b uint8) bool { return max(a, b)-min(a, b) <= 1 }
			if !near(g.R, c.R) || !near(g.G, c.G) || !near(g.B, c.B) || g.A != c.A {
				t.Errorf("%s: pixel %d is %v, want %v", name, x, g, c)
			}
		}
	}
}
