package main

import (
	"bytes"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// TestImagePromptFlags pairs -ip-adapter with the flags behind it.
func TestImagePromptFlags(t *testing.T) {
	one := func(path, encoder, mask string, scale *float64, images ...string) imagePromptFlag {
		return imagePromptFlag{sdxl.IPAdapter{Path: path, Encoder: encoder, Scale: scale}, images, mask}
	}
	style := one("a", "", "", nil, "1")
	style.Scales = sdxl.BlockScales{"up": map[string]any{"block_0": []any{0., 1., 0.}}}
	for _, c := range []struct {
		args string
		want []imagePromptFlag
	}{
		{"-ip-adapter a.bin:0.5 -ip-image 1 -ip-image 2", []imagePromptFlag{one("a.bin", "", "", new(0.5), "1", "2")}},
		{`-ip-adapter C:\a.bin -ip-image 1`, []imagePromptFlag{one(`C:\a.bin`, "", "", nil, "1")}},
		{"-ip-adapter a:-1 -ip-image 1 -ip-mask m -ip-adapter b -ip-encoder e -ip-image 2",
			[]imagePromptFlag{one("a", "e", "m", new(-1.), "1"), one("b", "e", "", nil, "2")}},
		{"-ip-adapter a -ip-encoder e -ip-image 1 -ip-adapter b -ip-encoder f -ip-image 2", []imagePromptFlag{one("a", "e", "", nil, "1"), one("b", "f", "", nil, "2")}},
		{"-ip-adapter a -ip-adapter b -ip-encoder e -ip-image 1 -ip-image 2", []imagePromptFlag{one("a", "e", "", nil, "1"), one("b", "e", "", nil, "2")}},
		{`-ip-adapter a -ip-image 1 -ip-scales {"up":{"block_0":[0,1,0]}}`, []imagePromptFlag{style}},
	} {
		g := generateFlags{model: "synth:tiny"}
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		g.register(fs)
		if err := fs.Parse(append([]string{"-prompt", "a cat"}, strings.Fields(c.args)...)); err != nil {
			t.Fatal(err)
		}
		if err := g.check(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, g.imagePrompts, cmp.AllowUnexported(imagePromptFlag{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
}

// TestGenerateWithImagePrompt draws with adapters that synth writes, names what is wrong by the flag, and inspects the
// files.
func TestGenerateWithImagePrompt(t *testing.T) {
	dir := t.TempDir()
	adapters := filepath.Join(dir, "adapters")
	must(t, "synth", "-size", "tiny", "-kind", "ip-adapter", "-o", adapters)
	file := func(name string) string { return filepath.Join(adapters, "sdxl_models", name+".safetensors") }
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-seed", "3", "-o", in)...)
	must(t, tiny(dir)...)
	plain := pixels(t, out)
	must(t, tiny(dir, "-ip-adapter", file("ip-adapter_sdxl"), "-ip-image", in)...)
	one := pixels(t, out)
	if a := must(t, "inspect", out); !strings.Contains(a.out, "ip_adapters") || !strings.Contains(a.out, `"name":"ip-adapter_sdxl","images":1,"scale":1`) {
		t.Errorf("inspect says of the image %s", a.out)
	}
	must(t, tiny(dir, "-ip-adapter", file("ip-adapter_sdxl"), "-ip-image", in, "-ip-adapter", file("ip-adapter-plus_sdxl_vit-h")+":0.5", "-ip-image", in, "-ip-mask", in)...)
	two := pixels(t, out)
	if bytes.Equal(plain, one) || bytes.Equal(one, two) {
		t.Error("an image prompt changes nothing")
	}
	must(t, tiny(dir, "-ip-adapter", file("ip-adapter_sdxl")+":0", "-ip-image", in)...)
	if !bytes.Equal(plain, pixels(t, out)) {
		t.Error("a scale of 0 changes the image")
	}
	base := []string{"-ip-adapter", file("ip-adapter_sdxl"), "-ip-image", in}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-ip-image", in}, cli.StatusUsage, "-ip-image: must be behind the -ip-adapter"},
		{[]string{"-ip-adapter", "a"}, cli.StatusUsage, "-ip-adapter a: must have an -ip-image behind it"},
		{[]string{"-ip-adapter", "a:x", "-ip-image", in}, cli.StatusUsage, `"x" behind the colon must be a finite number`},
		{[]string{"-ip-adapter", ":1", "-ip-image", in}, cli.StatusUsage, "must be FILE or FILE:SCALE"},
		{[]string{"-ip-adapter", "a:1", "-ip-image", in, "-ip-scales", "{}"}, cli.StatusUsage, "-ip-scales: must be absent"},
		{append(base, "-ip-scales", "1"), cli.StatusUsage, "must be JSON such as"},
		{append(base, "-ip-scales", `{"up": {"block_0": [1, 2]}}`), cli.StatusUsage, "-ip-scales [1 2]: must be a number, or a list of 3"},
		{append(base, "-ip-encoder", dir), cli.StatusUsage, "-ip-encoder " + dir + ": must be the image encoder"},
		{append(base, "-ip-encoder", filepath.Join(adapters, "models", "image_encoder")), cli.StatusUsage, "width 48: must be 56"},
		{[]string{"-ip-adapter", in, "-ip-image", in}, cli.StatusUsage, "-ip-adapter " + in + ": must be an IP-Adapter"},
		{[]string{"-ip-adapter", file("none"), "-ip-image", in}, cli.StatusUsage, "-ip-adapter " + file("none")},
		{[]string{"-ip-adapter", file("ip-adapter_sdxl"), "-ip-image", "main.go"}, cli.StatusFailed, "-ip-image main.go: not a PNG, JPEG or WebP image"},
		{append(base, "-ip-mask", "main.go"), cli.StatusFailed, "-ip-mask main.go: not a PNG, JPEG or WebP image"},
	} {
		a := goxl(t, tiny(t.TempDir(), c.args...)...)
		if a.status != c.status || !strings.Contains(a.err, c.want) {
			t.Errorf("%q: status %d, said %s; want %d and %q", c.args, a.status, a.err, c.status, c.want)
		}
	}
	if a := must(t, "inspect", file("ip-adapter_sdxl")); !strings.Contains(a.out, "IP-Adapter") || !strings.Contains(a.out, "-ip-adapter, with -ip-encoder and -ip-image") {
		t.Errorf("inspect says %s", a.out)
	}
	if a := must(t, "inspect", filepath.Join(adapters, "models", "image_encoder")); !strings.Contains(a.out, "CLIP image encoder") || !strings.Contains(a.out, "-ip-encoder") {
		t.Errorf("inspect says %s", a.out)
	}
	if a := must(t, "bench", "step", "-model", "synth:tiny", "-width", "64", "-height", "64", "-runs", "1", "-device", "cpu", "-ip-adapter", file("ip-adapter_sdxl")); !strings.Contains(a.out, "median") {
		t.Errorf("bench says %s", a.out)
	}
}
