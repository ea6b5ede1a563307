package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
)

const upscalers = "../../models/esrgan/testdata/"

// TestUpscale enlarges images by models and filters, from and to every format, and keeps what their texts say.
func TestUpscale(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-width", "64", "-height", "48")...)
	sourceTexts, err := imagefile.Texts(read(t, source))
	if err != nil {
		t.Fatal(err)
	}
	made := source
	for _, c := range []struct {
		model, out    string
		width, height int
		more          []string
		says          string
	}{
		{upscalers + "unshuffle2.pth", "two.png", 128, 96, []string{"-tile", "32", "-overlap", "8"}, "Postprocess upscale by: 2, Postprocess upscaler: unshuffle2"},
		{upscalers + "compact3.pth", "three.webp", 384, 288, nil, "Postprocess upscale by: 3, Postprocess upscaler: compact3"},
		{"lanczos:0.5", "half.jpg", 192, 144, []string{"-quality", "80"}, "Postprocess upscale by: 0.5, Postprocess upscaler: Lanczos"},
		{"nearest:2", "again.png", 384, 288, nil, "Postprocess upscale by: 2, Postprocess upscaler: Nearest"},
	} {
		out := filepath.Join(dir, c.out)
		a := must(t, append([]string{"upscale", "-device", "cpu", "-model", c.model, "-image", made, "-o", out}, c.more...)...)
		if a.out != out+"\n" {
			t.Errorf("%s: said %q", c.model, a.out)
		}
		data := read(t, out)
		w, h, err := imagefile.Size(data)
		if err != nil || w != c.width || h != c.height {
			t.Errorf("%s: %d×%d, %v; want %d×%d", c.out, w, h, err, c.width, c.height)
		}
		format, _ := imagefile.Format(data)
		if want := map[string]string{".png": "PNG", ".webp": "WebP", ".jpg": "JPEG"}[filepath.Ext(out)]; format != want {
			t.Errorf("%s is %s", c.out, format)
		}
		texts, err := imagefile.Texts(data)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, text := range texts {
			all[text.Key] += text.Value
		}
		if where := map[bool]string{true: "extras", false: "UserComment"}[format == "PNG"]; !strings.HasSuffix(all[where], c.says) {
			t.Errorf("%s: texts %q", c.out, all)
		}
		if parameters := all["parameters"] + all["UserComment"]; !strings.HasPrefix(parameters, sourceTexts[0].Value) {
			t.Errorf("%s: the parameters are %q", c.out, parameters)
		}
		if c.out == "two.png" && len(texts) != len(sourceTexts)+1 {
			t.Errorf("%s: %d texts of %d", c.out, len(texts), len(sourceTexts))
		}
		made = out
	}
}

// TestUpscaleRefuses: what can't be done is an error that names the flag, and nothing is written.
func TestUpscaleRefuses(t *testing.T) {
	dir := t.TempDir()
	image, out := "../../internal/imagefile/testdata/rgb8.png", filepath.Join(dir, "o.png")
	no := filepath.Join(dir, "no.safetensors")
	must(t, "synth", "-size", "tiny", "-kind", "esrgan-compact", "-o", no)
	data := read(t, no)
	if err := os.WriteFile(no, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"-tile 5":               {"-model", "synth:esrgan", "-image", image, "-tile", "5"},
		"-overlap 40":           {"-model", "synth:esrgan", "-image", image, "-tile", "64", "-overlap", "40"},
		"-quality 0":            {"-model", "synth:esrgan", "-image", image, "-quality", "0"},
		"-model lanczos:x":      {"-model", "lanczos:x", "-image", image},
		"-model nearest":        {"-model", "nearest", "-image", image},
		"-model: open none.pth": {"-model", "none.pth", "-image", image},
		"-image: open none.png": {"-model", "lanczos:2", "-image", "none.png"},
		"-image ../../go.mod":   {"-model", "lanczos:2", "-image", "../../go.mod"},
		"missing -model":        {"-image", image},
		"-o x.gif":              {"-model", "lanczos:2", "-image", image, "-o", "x.gif"},
		"no.safetensors":        {"-model", no, "-image", image},
	} {
		a := goxl(t, append([]string{"upscale", "-device", "cpu", "-o", out}, args...)...)
		if a.status == 0 || !strings.Contains(a.err, want) {
			t.Errorf("%q: status %d, said %q, want %q", args, a.status, a.err, want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}

// TestUpscalerFiles: synth writes upscalers that upscale takes, and inspect names.
func TestUpscalerFiles(t *testing.T) {
	dir := t.TempDir()
	for kind, want := range map[string]string{"esrgan": "RRDBNet ×4, 8 features, 2 blocks", "esrgan-compact": "SRVGGNetCompact ×4, 8 features, 2 convolutions"} {
		file := filepath.Join(dir, kind+".safetensors")
		must(t, "synth", "-size", "tiny", "-kind", kind, "-o", file)
		if a := must(t, "inspect", file); !strings.Contains(a.out, want) || !strings.Contains(a.out, "goxl upscale -model") {
			t.Errorf("inspect says\n%s\nwant %s", a.out, want)
		}
		must(t, "upscale", "-device", "cpu", "-model", file, "-image", "../../internal/imagefile/testdata/rgb8.png", "-o", filepath.Join(dir, "o.png"))
	}
}

// TestBenchUpscale: figures of an upscaler.
func TestBenchUpscale(t *testing.T) {
	var f upscaleFigures
	out := must(t, "bench", "upscale", "-device", "cpu", "-model", upscalers+"old.pth", "-width", "64", "-height", "40", "-runs", "2", "-json").out
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatal(err)
	}
	if f.Tiles != 1 || len(f.Upscales) != 2 || !(f.Upscale > 0 && f.First > 0 && f.GFLOPS > 0) || f.Network != "RRDBNet ×4, 8 features, 2 blocks" {
		t.Errorf("%+v", f)
	}
}
