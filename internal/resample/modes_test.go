package resample

import (
	"fmt"
	"image"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// picture is an image [H, W, 3] or a mask [H, W] of the goldens.
func picture(g *golden.File, name string) *image.NRGBA {
	data, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	channels := len(data) / (shape[0] * shape[1])
	for i := range shape[0] * shape[1] {
		for c := range 3 {
			img.Pix[4*i+c] = data[i*channels+min(c, channels-1)]
		}
		img.Pix[4*i+3] = 255
	}
	return img
}

func TestBlur(t *testing.T) {
	g := golden.Open(t, "../../testdata/goldens/inpaint.safetensors")
	mask := picture(g, "odd mask")
	for _, radius := range []float64{0.4, 1, 2.5, 4, 16, 40} {
		name := fmt.Sprintf("blur %g", radius)
		if got, want := GaussianBlur(mask, radius), picture(g, name); hash(got) != hash(want) {
			t.Errorf("%s: %s", name, differences(got, want))
		}
	}
	if got := GaussianBlur(mask, 0); hash(got) != hash(mask) || &got.Pix[0] == &mask.Pix[0] {
		t.Error("a radius of 0 is no copy")
	}
}

// The hashes are those of Pillow 13.0.0's GaussianBlur((across, down)), of the image of tools/reference/resample.py.
func TestBlurXY(t *testing.T) {
	for radii, want := range map[[2]float64]string{{4, 0}: "b61a325eeb0e5a03", {0, 3}: "2debd51bcd381fba", {1.5, 6}: "a29c389405ef6ce6"} {
		if got := hash(GaussianBlurXY(source(37, 23), radii[0], radii[1])); got != want {
			t.Errorf("%v: %s, want %s", radii, got, want)
		}
	}
}

func TestModes(t *testing.T) {
	g := golden.Open(t, "../../testdata/goldens/inpaint.safetensors")
	img := picture(g, "odd")
	for mode, resize := range map[string]func(*image.NRGBA, int, int) *image.NRGBA{"fill": Fill, "crop": Crop} {
		for _, size := range []image.Point{{64, 64}, {96, 40}, {40, 97}, {33, 80}} {
			name := fmt.Sprintf("%s %d %d", mode, size.X, size.Y)
			if got, want := resize(img, size.X, size.Y), picture(g, name); hash(got) != hash(want) {
				t.Errorf("%s: %s", name, differences(got, want))
			}
		}
	}
}

func differences(got, want *image.NRGBA) string {
	var b strings.Builder
	n := 0
	for i := range want.Pix {
		if got.Pix[i] != want.Pix[i] {
			if n++; n < 4 {
				fmt.Fprintf(&b, "byte %d is %d, want %d; ", i, got.Pix[i], want.Pix[i])
			}
		}
	}
	return fmt.Sprintf("%s%d of %d differ", b.String(), n, len(want.Pix))
}
