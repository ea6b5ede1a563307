package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestOutputStdout has image or latents on standard output, and then nothing else.
func TestOutputStdout(t *testing.T) {
	dir := t.TempDir()
	latents := filepath.Join(dir, "l.safetensors")
	must(t, tiny(dir)...)
	image := string(read(t, filepath.Join(dir, "out.png")))
	if a := must(t, tiny(dir, "-o", "-", "-save-latents", latents)...); a.out != image || a.err != "" {
		t.Errorf("wrote %d bytes and said %q, want the %d of the file alone", len(a.out), a.err, len(image))
	}
	file := string(read(t, latents))
	if a := must(t, tiny(dir, "-save-latents", "-")...); a.out != file {
		t.Errorf("wrote %d bytes, want the latents' %d alone", len(a.out), len(file))
	}
	if a := must(t, append(tiny(dir, "-o", "-", "-save-latents", latents), "-quiet=false")...); a.out != image || !strings.Contains(a.err, "\n"+latents+"\n") {
		t.Errorf("the latents' path is not printed on standard error: %q", a.err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{tiny(dir, "-o", "-", "-n", "2"), "-n 2: must be 1 with -o -"},
		{tiny(dir, "-o", "-", "-save-latents", "-"), "-save-latents -: must differ from -o"},
	} {
		if a := goxl(t, c.args...); a.status != 2 || a.out != "" || !strings.Contains(a.err, c.says) {
			t.Errorf("%q: status %d, said %q, want %q", c.args, a.status, a.err, c.says)
		}
	}
}

// TestOutputExtension refuses names that say that something else is in the file; other endings say nothing.
func TestOutputExtension(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x.jpg", "x.JPEG", "x.webp", "x.gif", "x.tiff", "x.avif", "x.safetensors", "x.json"} {
		a := goxl(t, tiny(dir, "-o", filepath.Join(dir, name))...)
		if a.status != 2 || !strings.Contains(a.err, "must be .png, since PNG is what is written") {
			t.Errorf("-o %s: status %d, said %q", name, a.status, a.err)
		}
	}
	for _, name := range []string{"x.png", "x.jpg", "x.npy", "x.pt"} {
		a := goxl(t, tiny(dir, "-save-latents", filepath.Join(dir, name))...)
		if a.status != 2 || !strings.Contains(a.err, "must be .safetensors, since safetensors is what is written") {
			t.Errorf("-save-latents %s: status %d, said %q", name, a.status, a.err)
		}
	}
	if a := goxl(t, "refine", "-model", "synth:tiny", "-image", "none.png", "-prompt", "p", "-o", filepath.Join(dir, "x.jpg")); a.status != 2 || !strings.Contains(a.err, "JPEG") {
		t.Errorf("refine: status %d, said %q", a.status, a.err)
	}
	empty(t, dir)
	for _, name := range []string{"x", "x.PNG", "tmp.Ab3dE", "apple-1.5", "2026.11.29"} {
		must(t, tiny(dir, "-o", filepath.Join(dir, name))...)
	}
}
