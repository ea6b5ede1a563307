package preprocess_test

import (
	"encoding/json"
	"image"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// TestGoldens compares every preprocessor with OpenCV, bit for bit. Where the extension's gamma is not 1, a power of
// float32 may differ in its last bit, and a byte by one.
func TestGoldens(t *testing.T) {
	g := golden.Open(t, "../../../testdata/goldens/preprocess.safetensors")
	var cases [][2]string
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 70 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	for _, c := range cases {
		name := c[0] + " " + c[1]
		got, err := preprocess.Apply(c[1], read(g, "image."+c[0]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := read(g, name)
		if got.Bounds() != want.Bounds() {
			t.Errorf("%s: %v, want %v", name, got.Bounds(), want.Bounds())
			continue
		}
		differ, most := 0, 0
		for i, v := range got.Pix {
			if d := int(v) - int(want.Pix[i]); d != 0 {
				differ++
				most = max(most, d, -d)
			}
		}
		allowed := 0
		if strings.HasPrefix(c[1], "recolor_") && strings.Contains(c[1], ":") {
			allowed = 1
		}
		if most > allowed {
			t.Errorf("%s: %d of %d bytes differ, by up to %d", name, differ, len(got.Pix), most)
		}
	}
}

// read is an image of a golden.
func read(g *golden.File, name string) *image.NRGBA {
	data, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		copy(img.Pix[4*i:], data[3*i:3*i+3])
		img.Pix[4*i+3] = 0xff
	}
	return img
}

// TestNames: what needs a model is refused by name, and so are numbers that no algorithm takes.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"canny": "", "tile": "", "blur:3": "", "recolor": "", "canny:1:2": "",
		"openpose_full": "needs a model", "depth_midas": "needs a model", "softedge_hed": "needs a model",
		"nothing": "no preprocessor", "canny:1:2:3": "at most 2", "blur:0": "must be 0.01 to 64", "canny:x": "must be", "invert:1": "at most 0", "canny:": "must be",
		"tile_resample:NaN": "must be",
	} {
		err := preprocess.Check(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
}
