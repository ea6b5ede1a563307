package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/kernels"
	processor "github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/process"
)

// An image is enlarged by an upscaler of the folder as the library does it, by an engine of this process and by one of its
// own, which opens no second model for it.
func TestUpscaleReachesEngines(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "x4.safetensors")
	if err := esrgan.Synthesise(esrgan.Config{Kind: esrgan.RRDB, Features: 8, Growth: 4, Blocks: 2, Doublings: 2, Unshuffle: 1}, kernels.F32, file); err != nil {
		t.Fatal(err)
	}
	photo := encoded(t, func(x, y int) color.Color { return color.NRGBA{uint8(4 * x), uint8(4 * y), uint8(x * y), 255} })
	img, err := png.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(photo)))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := processor.New(processor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := host.Upscale(t.Context(), sdxl.UpscaleRequest{Upscaling: sdxl.Upscaling{Upscaler: file, Scale: 2}, Image: img})
	if err != nil {
		t.Fatal(err)
	}
	want := string(result.Images[0].Pix)
	if err := errors.Join(host.CloseUpscaler(), dev.Close()); err != nil {
		t.Fatal(err)
	}
	body := `{"image":"` + photo + `","upscaler_1":"x4","upscaling_resize":2}`
	check := func(where, answer string) {
		t.Helper()
		var view struct{ Image []byte }
		if err := json.Unmarshal([]byte(answer), &view); err != nil {
			t.Fatalf("%s: %v: %.300s", where, err, answer)
		}
		if got := pixelsOf(t, string(view.Image)); !strings.HasSuffix(got, want) || len(got)-len(want) > 20 {
			t.Errorf("%s: another image than the library's", where)
		}
	}

	address, stderr, ended := start(t, "-model", "synth:tiny", "-model", "other=synth:tiny", "-device", "cpu", "-images", t.TempDir(), "-upscaler-dir", folder)
	resp, err := http.Post(address+"/sdapi/v1/extra-single-image", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	check("an engine of this process", string(answer))
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	if strings.Contains(stderr.String(), "model=other") {
		t.Errorf("a model was opened for it:\n%s", stderr)
	}

	a := newApartOf(t, parseModels(t, []string{"-model", "synth:tiny"}), "cpu", process.Config{}, func(c *server.Config) { c.UpscalerDir = folder })
	code, text := a.do("POST", "/sdapi/v1/extra-single-image", body)
	if code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	check("a process of its own", text)
}
