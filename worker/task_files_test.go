package worker

import (
	"errors"
	"image"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// An error names a file within its folder, and does not say where that lies.
func TestWithinFolders(t *testing.T) {
	s := Shared{LoRADir: "/srv/secret/loras", ControlDir: "/srv/secret/nets/", IPAdapterDir: "/srv/secret/ip/sdxl_models", UpscalerDir: "up"}
	for _, c := range []struct{ field, value, allowed, reason, want string }{
		{"loras", "/srv/secret/loras/a.pt", "an adapter", "open /srv/secret/loras/a.pt: no such file", "loras is a.pt: must be an adapter: open a.pt: no such file"},
		{"controls", "/srv/secret/nets/b/canny with scale NaN", "with a finite scale", "", "controls is b/canny with scale NaN: must be with a finite scale"},
		{"t2i_adapters", "/srv/secret/nets/x", "a file", `"/srv/secret/nets/x/config.json": must be JSON`, `t2i_adapters is x: must be a file: "x/config.json": must be JSON`},
		{"ip_adapters.encoder", "absent", "the image encoder of /srv/secret/ip/sdxl_models/p.bin",
			"neither /srv/secret/ip/sdxl_models/image_encoder nor /srv/secret/ip/models/image_encoder is there",
			"ip_adapters.encoder is absent: must be the image encoder of p.bin: neither image_encoder nor ../models/image_encoder is there"},
		{"hires.upscaler", "up/x4.pth", "lanczos", "backup/x4.pth: EOF", "hires.upscaler is x4.pth: must be lanczos: backup/x4.pth: EOF"},
	} {
		e := &sdxl.RequestError{Field: c.field, Value: c.value, Allowed: c.allowed}
		if c.reason != "" {
			e.Err = errors.New(c.reason)
		}
		if got := s.WithinFolders(e); got.Error() != c.want || strings.Contains(got.Error(), "secret") {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
	kept := &sdxl.RequestError{Field: "width", Value: 7, Allowed: "a multiple of 8 /", Err: os.ErrInvalid}
	var bad *sdxl.RequestError
	if got := (Shared{LoRADir: "/", ControlDir: "."}).WithinFolders(kept); !errors.As(got, &bad) || bad.Value != 7 || got.Error() != kept.Error() || !errors.Is(got, os.ErrInvalid) {
		t.Errorf("%v, want %v", got, kept)
	}
	if err := errors.New("/srv/secret/loras/x"); s.WithinFolders(err) != err {
		t.Error("an error that is not of the request was changed")
	}
}

// Files are told apart by their content, and what is not there has no fingerprint.
func TestFingerprints(t *testing.T) {
	dir := t.TempDir()
	s := Shared{ControlDir: filepath.Join(dir, "nets"), IPAdapterDir: filepath.Join(dir, "ip"), UpscalerDir: filepath.Join(dir, "up")}
	write := func(content string, path ...string) {
		t.Helper()
		file := filepath.Join(append([]string{dir}, path...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	img := image.NewGray(image.Rect(0, 0, 1, 1))
	r := sdxl.Request{
		Controls:    []sdxl.Control{{Path: filepath.Join(s.ControlDir, "a", "canny"), Image: img}},
		T2IAdapters: []sdxl.T2IAdapter{{Path: filepath.Join(s.ControlDir, "t.safetensors"), Image: img}},
		IPAdapters: []sdxl.IPAdapter{
			{Path: filepath.Join(s.IPAdapterDir, "sdxl", "plus.bin")}, {Path: filepath.Join(s.IPAdapterDir, "x.bin"), Encoder: filepath.Join(s.IPAdapterDir, "enc")},
		},
		Hires: &sdxl.Hires{Upscaler: filepath.Join(s.UpscalerDir, "x4.pth")},
	}
	j := engine.Job{Request: r, Upscale: &sdxl.Upscaling{Upscaler: "lanczos", Second: filepath.Join(s.UpscalerDir, "x2.pth")}}
	all := []string{
		"controls a/canny", "hires.upscaler x4.pth", "ip_adapters enc", "ip_adapters sdxl/plus.bin", "ip_adapters sdxl/plus.bin's image encoder",
		"ip_adapters x.bin", "t2i_adapters t.safetensors", "upscaler_2 x2.pth",
	}
	before := s.Fingerprints(j)
	if got := slices.Sorted(maps.Keys(before)); !slices.Equal(got, all) {
		t.Fatalf("%q, want %q", got, all)
	}
	for name, sum := range before {
		if sum != "" {
			t.Errorf("%s, which is not there: %s", name, sum)
		}
	}
	write("{}", "nets", "a", "canny", "config.json")
	write("weights", "nets", "a", "canny", "diffusion_pytorch_model.safetensors")
	for _, path := range [][]string{{"nets", "t.safetensors"}, {"ip", "sdxl", "plus.bin"}, {"ip", "models", "image_encoder", "config.json"},
		{"ip", "x.bin"}, {"ip", "enc", "pytorch_model.bin"}, {"up", "x4.pth"}, {"up", "x2.pth"}} {
		write("a", path...)
	}
	first := s.Fingerprints(j)
	for _, name := range all {
		if len(first[name]) != 16 {
			t.Errorf("%s: %q, want 16 digits", name, first[name])
		}
	}
	changed := map[string][]string{
		all[0]: {"nets", "a", "canny", "diffusion_pytorch_model.safetensors"}, all[1]: {"up", "x4.pth"}, all[2]: {"ip", "enc", "pytorch_model.bin"},
		all[3]: {"ip", "sdxl", "plus.bin"}, all[4]: {"ip", "models", "image_encoder", "config.json"}, all[5]: {"ip", "x.bin"}, all[6]: {"nets", "t.safetensors"},
		all[7]: {"up", "x2.pth"},
	}
	for name, path := range changed {
		write("another", path...)
		now := s.Fingerprints(j)
		for _, other := range all {
			if (now[other] != first[other]) != (other == name) {
				t.Errorf("with another %s: %s is %s, before %s", name, other, now[other], first[other])
			}
		}
		first = now
	}
	j = engine.Job{Request: sdxl.Request{Hires: &sdxl.Hires{Upscaler: "Lanczos"}}, Upscale: &sdxl.Upscaling{Upscaler: "Nearest"}}
	if got := s.Fingerprints(j); got != nil {
		t.Errorf("of a request without files: %v", got)
	}
}
