package preprocess

import (
	"image"
	"math"
)

// RecolorLuminance is the L of Lab, as the extension has it: it gives OpenCV its RGB image as BGR, so that red weighs
// as blue does and blue as red.
func RecolorLuminance(img *image.NRGBA, gamma float64) *image.NRGBA {
	t := gammaTable(gamma)
	return grey(img.Bounds().Dx(), img.Bounds().Dy(), func(x, y int) uint8 {
		p := img.Pix[y*img.Stride+4*x:]
		return t[lab.lightness(p[2], p[1], p[0])]
	})
}

// RecolorIntensity is the V of HSV, the largest channel.
func RecolorIntensity(img *image.NRGBA, gamma float64) *image.NRGBA {
	t := gammaTable(gamma)
	return grey(img.Bounds().Dx(), img.Bounds().Dy(), func(x, y int) uint8 {
		p := img.Pix[y*img.Stride+4*x:]
		return t[max(p[0], p[1], p[2])]
	})
}

// gammaTable is a byte to the power of gamma, computed in float32 and cut off as the extension does: with a gamma of 1,
// some bytes become one less.
func gammaTable(gamma float64) (t [256]uint8) {
	for i := range t {
		v := float32(i) / 255
		if gamma != 1 {
			v = float32(math.Pow(float64(v), float64(float32(gamma))))
		}
		t[i] = uint8(min(max(v*255, 0), 255))
	}
	return t
}

// labTables are OpenCV's integers for the conversion of sRGB to Lab in bytes. Source:
// modules/imgproc/src/color_lab.cpp, RGB2Lab_b.
type labTables struct {
	gamma [256]int
	cbrt  []int
	y     [3]int // weights of red, green and blue
}

const (
	labShift   = 12
	gammaShift = 3
	labShift2  = labShift + gammaShift
)

var lab = newLabTables()

func newLabTables() *labTables {
	t := &labTables{cbrt: make([]int, 256*3/2*(1<<gammaShift))}
	for i := range t.gamma {
		x := float64(float32(i) / 255)
		linear := x / 12.92
		if x > 0.04045 {
			linear = math.Pow((x+0.055)/1.055, 2.4)
		}
		t.gamma[i] = int(math.RoundToEven(255 * (1 << gammaShift) * linear))
	}
	for i := range t.cbrt {
		x := float64(i) / (255 * (1 << gammaShift))
		f := math.Cbrt(x)
		if x < 216.0/24389 {
			f = x*(841.0/108) + 16.0/116
		}
		t.cbrt[i] = int(math.RoundToEven((1 << labShift2) * f))
	}
	for i, w := range []float64{0.212671, 0.715160, 0.072169} {
		t.y[i] = int(math.RoundToEven((1 << labShift) * w))
	}
	return t
}

func (t *labTables) lightness(r, g, b uint8) uint8 {
	const scale, offset = (116*255 + 50) / 100, -((16*255*(1<<labShift2) + 50) / 100)
	y := (t.gamma[r]*t.y[0] + t.gamma[g]*t.y[1] + t.gamma[b]*t.y[2] + 1<<(labShift-1)) >> labShift
	l := (scale*t.cbrt[y] + offset + 1<<(labShift2-1)) >> labShift2
	return uint8(min(max(l, 0), 255))
}
