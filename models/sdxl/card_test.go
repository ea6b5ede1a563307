package sdxl

import (
	"image"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cuda"
)

// card opens the machine's first NVIDIA card, or skips the test. Where the environment's GOXL_REQUIRE names cuda, a missing card is a failure.
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
	if strings.Contains(os.Getenv("GOXL_REQUIRE"), "cuda") {
		t.Fatalf("GOXL_REQUIRE wants a card: %v", err)
	}
	t.Skipf("no card, and GOXL_REQUIRE does not want one: %v", err)
	return nil
}

// psnr is the peak signal-to-noise ratio of two pictures' colours in dB, NaN if their sizes differ, +Inf if they are equal.
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
