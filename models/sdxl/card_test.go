package sdxl

import (
	"image"
	"math"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels/cuda"
)

// card opens the machine's first NVIDIA card, or ends the test as internal/require has it.
func card(t *testing.T, o cuda.Options) *cuda.Device {
	t.Helper()
	d, err := cuda.Open(o)
	if err == nil {
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return d
	}
	require.Lacks(t, "cuda", err)
	return nil
}

// psnr is the peak signal-to-noise ratio of two images' colours in dB, NaN if their sizes differ, +Inf if they are equal.
func psnr(a, b *image.NRGBA) float64 {
	if a.Bounds() != b.Bounds() || len(a.Pix) != len(b.Pix) {
		return math.NaN()
	}
	var square, n float64
	for i := range a.Pix {
		if i%4 == 3 {
			continue
		}
		d := float64(a.Pix[i]) - float64(b.Pix[i])
		square += d * d
		n++
	}
	return 10 * math.Log10(255*255*n/square)
}
