package main

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maskFile is a mask of which the rectangle is white.
func maskFile(t *testing.T, width, height int, white image.Rectangle) string {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, width, height))
	for y := white.Min.Y; y < white.Max.Y; y++ {
		for x := white.Min.X; x < white.Max.X; x++ {
			img.SetGray(x, y, color.Gray{Y: 255})
		}
	}
	path := filepath.Join(t.TempDir(), "mask.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInpaint repaints a part of an image, and what is around it: other pixels stay, and the PNG says how it was made.
func TestInpaint(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	must(t, "generate", "-device", "cpu", "-model", "synth:tiny", "-prompt", "p", "-seed", "1", "-steps", "2", "-width", "64", "-height", "48", "-quiet", "-o", in)
	mask := maskFile(t, 64, 48, image.Rect(0, 0, 32, 48))
	common := []string{"generate", "-device", "cpu", "-model", "synth:tiny", "-prompt", "p", "-seed", "2", "-steps", "4", "-quiet", "-o", out, "-image", in}
	with := func(args ...string) answer { return must(t, append(append([]string(nil), common...), args...)...) }
	count := func(left, right int) (changed int) { // of the columns from left to right
		a, b := pixels(t, in), pixels(t, out)
		if len(a) != len(b) {
			t.Fatalf("%d and %d values", len(a), len(b))
		}
		for i := range a {
			if x := i / 3 % 64; x >= left && x < right && a[i] != b[i] {
				changed++
			}
		}
		return changed
	}
	with("-mask", mask)
	if count(0, 32) == 0 || count(32, 64) != 0 {
		t.Errorf("%d values change in the mask and %d outside", count(0, 32), count(32, 64))
	}
	with("-mask", mask, "-mask-invert", "-inpaint-fill", "noise", "-mask-padding", "8", "-strength", "0.7")
	if count(0, 32) != 0 || count(32, 64) == 0 {
		t.Errorf("inverted: %d values change in the black part and %d outside", count(0, 32), count(32, 64))
	}
	said := texts(t, out)
	for key, want := range map[string]string{"mask": "true", "mask_invert": "true", "inpaint_fill": `"noise"`, "mask_padding": "8", "strength": "0.7", "image": "in.png"} {
		if said[key] != want {
			t.Errorf("%s is %q, want %q", key, said[key], want)
		}
	}
	if p := said["parameters"]; !strings.Contains(p, "Denoising strength: 0.7, Masked content: latent noise, Inpaint area: Only masked, Masked area padding: 8, Mask mode: Inpaint not masked") {
		t.Errorf("parameters are %q", p)
	}
	with("-mask", mask, "-soft-mask", "-mask-blur", "3", "-keep-unmasked=false")
	if count(32, 64) == 0 {
		t.Error("-keep-unmasked=false keeps the pixels")
	}
	with("-outpaint", "8,0,16,16")
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, err := png.DecodeConfig(f); err != nil || c.Width != 88 || c.Height != 64 {
		t.Errorf("outpainting gives %d×%d, %v", c.Width, c.Height, err)
	}
	if a := with("-mask", maskFile(t, 64, 48, image.Rectangle{})); !strings.Contains(a.err, "nothing is repainted") || count(0, 64) != 0 {
		t.Errorf("a black mask: %q", a.err)
	}
	if a := with("-mask", maskFile(t, 32, 24, image.Rect(0, 0, 16, 24))); !strings.Contains(a.err, "is resized to the image's 64×48") {
		t.Errorf("a mask of another size: %q", a.err)
	}
	with("-width", "32", "-height", "32", "-resize", "crop", "-strength", "0.5")
	if said := texts(t, out); said["resize"] != `"crop"` || said["size"] != "32x32" {
		t.Errorf("a resized image says %q, %q", said["resize"], said["size"])
	}
}

// TestInpaintUsage names the flag of each mistake.
func TestInpaintUsage(t *testing.T) {
	dir := t.TempDir()
	mask := maskFile(t, 16, 16, image.Rect(0, 0, 8, 8))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-mask", mask}, "must be beside -image"},
		{[]string{"-outpaint", "1,2,3,4"}, "must be beside -image"},
		{[]string{"-image", mask, "-outpaint", "1,2,3"}, "must be LEFT,TOP,RIGHT,BOTTOM"},
		{[]string{"-image", mask, "-outpaint", "1,2,3,-4"}, "must be LEFT,TOP,RIGHT,BOTTOM"},
		{[]string{"-image", mask, "-outpaint", "0,0,0,0"}, "for flag -outpaint: must have a side above 0"},
		{[]string{"-image", mask, "-soft-mask"}, "-soft-mask: must be beside -mask or -outpaint"},
		{[]string{"-image", mask, "-keep-unmasked=false"}, "-keep-unmasked: must be beside -mask or -outpaint"},
		{[]string{"-image", mask, "-mask", mask, "-mask-blur", "-3"}, "must be 0 or more"},
		{[]string{"-image", mask, "-mask", mask, "-mask-padding", "-3"}, "must be 0 or more"},
		{[]string{"-image", mask, "-mask", mask, "-inpaint-fill", "x"}, "original"},
		{[]string{"-resize", "crop"}, "must be beside -image"},
		{[]string{"-image", mask, "-resize", "x"}, "stretch"},
		{[]string{"-image", mask, "-mask", mask, "-mask-blur", "90000"}, "-mask-blur 90000: must be 0 to 8192 pixels"},
	} {
		a := goxl(t, append([]string{"generate", "-device", "cpu", "-model", "synth:tiny", "-prompt", "p", "-o", filepath.Join(dir, "x.png")}, c.args...)...)
		if a.status != 2 || !strings.Contains(a.err, c.want) {
			t.Errorf("%v: status %d, %q, want %q", c.args, a.status, a.err, c.want)
		}
	}
}
