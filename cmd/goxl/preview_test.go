package main

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPreviewFlag writes a JPEG of the latents' size for each image, and leaves the image as it is.
func TestPreviewFlag(t *testing.T) {
	dir := t.TempDir()
	must(t, tiny(dir)...)
	want := read(t, filepath.Join(dir, "out.png"))
	preview := filepath.Join(dir, "p.jpg")
	must(t, tiny(dir, "-preview", preview)...)
	if !bytes.Equal(read(t, filepath.Join(dir, "out.png")), want) {
		t.Error("another image than without previews")
	}
	side := func(path string) int {
		img, err := jpeg.Decode(bytes.NewReader(read(t, path)))
		if err != nil {
			t.Fatal(err)
		}
		if img.Bounds().Dx() != img.Bounds().Dy() {
			t.Errorf("%s: %v", path, img.Bounds())
		}
		return img.Bounds().Dx()
	}
	small := side(preview)
	must(t, tiny(dir, "-width", "64", "-height", "64", "-n", "2", "-preview", filepath.Join(dir, "n.jpeg")+":2")...)
	for _, name := range []string{"n-0.jpeg", "n-1.jpeg"} {
		if n := side(filepath.Join(dir, name)); n != 8 {
			t.Errorf("%s: %d pixels, the first one %d", name, n, small)
		}
	}
	must(t, tiny(dir, "-preview", filepath.Join(dir, "none.jpg")+":999")...)
	if _, err := os.Stat(filepath.Join(dir, "none.jpg")); err == nil {
		t.Error("a preview of a step that there is not")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestPreviewTAESDFlag: -preview-taesd makes previews of the image's size, and leaves the image to the VAE; with -taesd
// too, the image is that one's.
func TestPreviewTAESDFlag(t *testing.T) {
	dir := t.TempDir()
	first, second := taesdFile(t, dir, "first"), taesdFile(t, dir, "second")
	preview := filepath.Join(dir, "p.jpg")
	for _, decoder := range [][]string{nil, {"-taesd", second}, {"-refiner", "synth:tiny-refiner"}} {
		must(t, tiny(dir, decoder...)...)
		want := read(t, filepath.Join(dir, "out.png"))
		must(t, tiny(dir, append(decoder, "-preview", preview, "-preview-taesd", first)...)...)
		if !bytes.Equal(read(t, filepath.Join(dir, "out.png")), want) {
			t.Errorf("%q: another image than without previews", decoder)
		}
		of, err := png.DecodeConfig(bytes.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := jpeg.DecodeConfig(bytes.NewReader(read(t, preview)))
		if err != nil || got.Width != of.Width || got.Height != of.Height {
			t.Errorf("%q: %v, a preview of %d×%d, want %d×%d", decoder, err, got.Width, got.Height, of.Width, of.Height)
		}
	}
	if a := goxl(t, tiny(dir, "-preview-taesd", first)...); a.status != 2 || !strings.Contains(a.err, "must be beside -preview") {
		t.Errorf("without -preview: status %d, said %q", a.status, a.err)
	}
	if a := goxl(t, tiny(dir, "-preview", preview, "-preview-taesd", filepath.Join(dir, "none"))...); a.status != 1 || !strings.Contains(a.err, "-preview-taesd "+filepath.Join(dir, "none")+": ") {
		t.Errorf("no such file: status %d, said %q", a.status, a.err)
	}
}

// TestPreviewFlagErrors refuses what can't be written, before anything is computed.
func TestPreviewFlagErrors(t *testing.T) {
	dir := t.TempDir()
	for value, want := range map[string]string{
		"":                             "must be a name",
		":3":                           "must be a name",
		filepath.Join(dir, "p.jpg:0"):  "must have 1 or more",
		filepath.Join(dir, "p.jpg:-2"): "must have 1 or more",
		filepath.Join(dir, "p.png"):    "must be .jpg, since JPEG is what is written",
		filepath.Join(dir, "out.png"):  "must differ from -o",
		filepath.Join(dir, "no/p.jpg"): "can't write to the directory",
		"-":                            "must be a regular file",
		os.DevNull:                     "must be a regular file",
	} {
		if a := goxl(t, tiny(dir, "-preview", value)...); a.status == 0 || !strings.Contains(a.err, want) {
			t.Errorf("-preview %q: status %d, said %q, want %q", value, a.status, a.err, want)
		}
	}
	empty(t, dir)
}

// TestPreviewThatFails: a preview that can't be written is a warning, printed once, and the rest of the run goes on.
func TestPreviewThatFails(t *testing.T) {
	var warnings bytes.Buffer
	g := &generateFlags{preview: "p.jpg", previewEvery: 1}
	path := filepath.Join(t.TempDir(), "gone", "p.jpg")
	p := g.previews(&warnings, []output{{flag: "preview", name: "p.jpg", path: path}})
	for step := range 3 {
		p.Func(step+1, []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))})
	}
	if s := warnings.String(); strings.Count(s, "warning: -preview p.jpg: ") != 1 {
		t.Errorf("said %q", s)
	}
	if (&generateFlags{}).previews(io.Discard, nil) != nil {
		t.Error("previews without the flag")
	}
}
