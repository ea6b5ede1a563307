package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inspected are small images of every kind, which package imagefile is tested with.
const inspected = "../../internal/imagefile/testdata"

// TestInspectImage prints what an image says of itself.
func TestInspectImage(t *testing.T) {
	dir := t.TempDir()
	drawn := filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-negative", "fog\nrain")...)
	hostile := filepath.Join(dir, "hostile.png")
	write(t, hostile, strings.Replace(string(read(t, filepath.Join(inspected, "parameters.jpg"))), "\x00a\x00 \x00c", "\x00\x1b\x00[\x002", 1))
	cut := filepath.Join(dir, "cut.png")
	write(t, cut, string(read(t, drawn)[:4000]))
	gif := filepath.Join(dir, "x")
	write(t, gif, "GIF89a and so on, for longer than a header")
	for _, c := range []struct {
		path   string
		status int
		says   []string
	}{
		{drawn, 0, []string{"a PNG image", "64x64 pixels", "\n  parameters           a lighthouse\n                       Negative prompt: fog\n                       rain\n                       Steps: 2, Sampler: Euler,",
			"\n  seed                 7\n", "\n  num_inference_steps  2\n", "\n  negative_prompt      fog\n                       rain\n"}},
		{filepath.Join(inspected, "text_odd.png"), 0, []string{"\n  parameters  猫, ünïcode\n", "\n  comment     café \n               deflated\n"}},
		{filepath.Join(inspected, "exif6.png"), 0, []string{"a PNG image", "17x23 pixels", "parameters    none are stored in it\n"}},
		{filepath.Join(inspected, "jpeg420.jpg"), 0, []string{"a JPEG image", "23x17 pixels", "parameters    none are stored in it\n"}},
		{filepath.Join(inspected, "lossy.webp"), 0, []string{"a WebP image", "parameters    none are stored in it\n"}},
		{filepath.Join(inspected, "parameters.jpg"), 0, []string{"\n  UserComment  a cat, 猫\n               Steps: 5, Sampler: Euler, Seed: 1\n"}},
		{filepath.Join(inspected, "parameters.webp"), 0, []string{"a dog\n"}},
		{hostile, 0, []string{`\x1b[2at, 猫`}},
		{cut, 1, []string{"a PNG image", "problems\n", "decoding PNG: "}},
		{gif, 1, []string{"a GIF image", "problems\n", "must be a PNG, JPEG or WebP image"}},
		{filepath.Join(inspected, "jpeg420_small.jpg"), 1, []string{"4x3 pixels", "problems\n", "refine takes images of at least 8 pixels a side"}},
	} {
		a := goxl(t, "inspect", c.path)
		for _, w := range c.says {
			if !strings.Contains(a.out, w) {
				t.Errorf("inspect %s does not say %q:\n%s%s", c.path, w, a.out, a.err)
			}
		}
		if a.status != c.status || strings.ContainsRune(a.out, '\x1b') {
			t.Errorf("inspect %s: status %d, said %q", c.path, a.status, a.err)
		}
	}
	if err := os.Remove(drawn); err != nil {
		t.Fatal(err)
	}
	if a := goxl(t, "inspect", drawn); a.status != 1 || !strings.Contains(a.err, "no such file") {
		t.Errorf("an image that is not there: status %d, said %q", a.status, a.err)
	}
}
