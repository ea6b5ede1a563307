package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
)

// TestHires draws in two passes, and the image says so under A1111's names.
func TestHires(t *testing.T) {
	dir := t.TempDir()
	for flags, want := range map[string]string{
		"-hires 1.5": "Denoising strength: 0.7, RNG: CPU, Hires upscale: 1.5, Hires steps: 2, Hires upscaler: Latent,",
		"-hires 128x0 -hires-steps 3 -hires-strength 0.5 -upscaler " + upscalers + "unshuffle2.pth": "Hires resize: 128x96, Hires steps: 3, Hires upscaler: unshuffle2,",
		"-hires 2 -hires-prompt house -hires-negative fog -hires-scheduler k_euler_a_karras":        "Hires sampler: Euler a, Hires schedule type: Karras, Hires prompt: house, Hires negative prompt: fog, Hires upscale: 2,",
	} {
		must(t, tiny(dir, append([]string{"-width", "64", "-height", "48"}, strings.Fields(flags)...)...)...)
		data := read(t, filepath.Join(dir, "out.png"))
		texts, err := imagefile.Texts(data)
		if err != nil || !strings.Contains(texts[0].Value, want) || !strings.Contains(texts[0].Value, "Size: 64x48") {
			t.Errorf("%s: %q, %v; want %q", flags, texts[0].Value, err, want)
		}
		if w, _, err := imagefile.Size(data); err != nil || w != map[bool]int{true: 96, false: 128}[flags == "-hires 1.5"] {
			t.Errorf("%s: %d pixels wide, %v", flags, w, err)
		}
	}
	for flags, want := range map[string]string{
		"-hires 0.5":                           "-hires",
		"-hires 100x0":                         "-hires 100",
		"-hires-steps 4":                       "-hires-steps 4: has no meaning without -hires",
		"-upscaler latent":                     "-upscaler latent: has no meaning",
		"-hires-prompt x":                      "-hires-prompt x: has no meaning",
		"-hires 2 -hires-scheduler nope":       "nope",
		"-hires 2 -upscaler none.pth":          "-upscaler none.pth: must be one of lanczos",
		"-hires 2 -hires-strength 0":           "-hires-strength",
		"-hires 2 -refiner synth:tiny-refiner": "-hires given: must be absent with a refiner",
	} {
		a := goxl(t, tiny(dir, strings.Fields(flags)...)...)
		if a.status != 2 || !strings.Contains(a.err, want) {
			t.Errorf("%s: status %d, said %q, want %q", flags, a.status, a.err, want)
		}
	}
}
