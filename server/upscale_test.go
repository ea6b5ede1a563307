package server

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
)

const esrganFiles = "../models/esrgan/testdata/"

// upscaleBench is a server with a folder of upscalers, whose device enlarges images: x3.pth, more/x4.pth and damaged.pth.
func upscaleBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	dir := t.TempDir()
	for name, from := range map[string]string{"x3.pth": "compact3.pth", "more/x4.pth": "compact4.pth", "damaged.pth": "old.pth"} {
		data, err := os.ReadFile(esrganFiles + from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if name == "damaged.pth" {
			data = data[:len(data)/2]
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(host.CloseUpscaler(), dev.Close()); err != nil {
			t.Error(err)
		}
	})
	b := loadedBench(t, func(c *Config) {
		c.UpscalerDir = dir
		if change != nil {
			change(c)
		}
	})
	b.base.host = host
	return b
}

// patternedPNG is an image with a text of how it was made.
func patternedPNG(t *testing.T, width, height int, infotext string) (img *image.NRGBA, data []byte) {
	t.Helper()
	img = image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = uint8(i*7%251) | uint8(i%4/3*255)
	}
	data, err := imagefile.Encode(img, []imagefile.Text{{Key: "parameters", Value: infotext}})
	if err != nil {
		t.Fatal(err)
	}
	return img, data
}

// upscaledBy is what the library makes of an image.
func (b *bench) upscaledBy(t *testing.T, u sdxl.Upscaling, img image.Image) *sdxl.Result {
	t.Helper()
	for _, path := range u.Files() {
		*path = filepath.Join(b.config.UpscalerDir, *path)
	}
	result, err := b.base.host.Upscale(t.Context(), sdxl.UpscaleRequest{Upscaling: u, Image: img})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// A job enlarges an image as the library does, and its file says by what, with what was said before.
func TestUpscaleJob(t *testing.T) {
	b := upscaleBench(t, nil)
	const made = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 5"
	img, data := patternedPNG(t, 40, 30, made)
	start := decodeUpload(t, b.upload("image/png", data))
	for fields, u := range map[string]sdxl.Upscaling{
		`"image":"` + start + `","upscaler":"x3"`:                                                                 {Upscaler: "x3.pth"},
		`"image":"` + inBase64(data) + `","upscaler":"x4","scale":"2","tile":32`:                                  {Upscaler: "more/x4.pth", Scale: 2, Tile: 32},
		`"image":"` + start + `","upscaler":"more/x4.pth","width":50,"height":77`:                                 {Upscaler: "more/x4.pth", Width: 50, Height: 77},
		`"image":"` + start + `","upscaler":"x3","width":61,"height":33,"resize":"stretch"`:                       {Upscaler: "x3.pth", Width: 61, Height: 33, Resize: sdxl.ResizeStretch},
		`"image":"` + start + `","upscaler":"Lanczos","width":61`:                                                 {Upscaler: "lanczos", Width: 61},
		`"image":"` + start + `","upscaler":"nearest","scale":3,"priority":2,"model":"` + b.modelNames()[0] + `"`: {Upscaler: "nearest", Scale: 3},
	} {
		want := b.upscaledBy(t, u, img)
		v := b.finished(t, b.postJob(t, `{"task":"upscale",`+fields+`}`).ID)
		if v.State != job.Done || v.Task != "upscale" || v.Model != b.modelNames()[0] || v.Refiner || len(v.Warnings) > 0 || len(v.Images) != 1 {
			t.Fatalf("%s: %+v", fields, v)
		}
		at := v.Images[0]
		if at.Seed != nil || at.Width != want.Parameters.Width || at.Height != want.Parameters.Height || len(v.Inputs) != 1 || v.Inputs[0].Role != "image" {
			t.Errorf("%s: %+v of %+v", fields, at, v.Inputs)
		}
		if got, want := string(v.Parameters), want.Parameters.String(); got != want {
			t.Errorf("%s: parameters %s, want %s", fields, got, want)
		}
		file := b.do("GET", at.URL, "").Body.Bytes()
		got, texts, err := imagefile.Decode(file, sdxl.MaxSide)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Pix, want.Images[0].Pix) {
			t.Errorf("%s: another image than the library's", fields)
		}
		all := map[string]string{}
		for _, text := range texts {
			all[text.Key] = text.Value
		}
		name := map[string]string{"x3.pth": "x3", "more/x4.pth": "x4", "lanczos": "Lanczos", "nearest": "Nearest"}[u.Upscaler]
		if all["parameters"] != made || !strings.Contains(all["extras"], "Postprocess upscaler: "+name) || all["image"] != v.Inputs[0].ID || all["version"] != "test" {
			t.Errorf("%s: texts %q", fields, all)
		}
	}
	v := b.finished(t, b.postJob(t, `{"task":"upscale","upscaler":"x3","image":"`+start+`","output_format":"jpeg","output_quality":70,"n":2,"prompt":"a"}`).ID)
	if v.State != job.Done || len(v.Warnings) != 1 || v.Warnings[0] != "fields without an effect here: n, prompt" {
		t.Fatalf("%+v", v)
	}
	texts, err := imagefile.Texts(b.do("GET", v.Images[0].URL, "").Body.Bytes())
	if err != nil || len(texts) != 1 || texts[0].Value != made+", Postprocess upscale by: 3, Postprocess upscaler: x3" {
		t.Errorf("texts of a JPEG: %q, %v", texts, err)
	}

	_, data = patternedPNG(t, 300, 200, "") // 70 tiles
	id := b.postJob(t, `{"task":"upscale","upscaler":"x3","tile":32,"image":"`+inBase64(data)+`"}`).ID
	events, err := b.queue.Watch(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	var last job.Event
	for e := range events {
		if e.Kind == job.KindStep {
			last = e
		}
	}
	if last.Steps < 70 || last.Step != last.Steps {
		t.Errorf("the last tile is said to be %d of %d", last.Step, last.Steps)
	}
}

// What can't be enlarged so is an error of its field, which says what there is, and nothing is left behind.
func TestUpscaleJobErrors(t *testing.T) {
	b := upscaleBench(t, func(c *Config) { c.MaxPixels = 256 * 256 })
	_, data := patternedPNG(t, 300, 200, "")
	start := decodeUpload(t, b.upload("image/png", data))
	_, data = patternedPNG(t, 400, 200, "")
	large := decodeUpload(t, b.upload("image/png", data))
	before := b.imageCount(t)
	const all = `lanczos, nearest, damaged, more/x4, x3`
	for fields, says := range map[string]string{
		`"upscaler":"x3"`:                                             `"type":"missing","loc":["body","image"]`,
		`"image":"` + start + `"`:                                     `"type":"missing","loc":["body","upscaler"]`,
		`"image":"` + start + `","upscaler":"x9"`:                     `"loc":["body","upscaler"],"msg":"Value error, no upscaler has this name; there are: ` + all + `"`,
		`"image":"` + start + `","upscaler":"../x3"`:                  `no upscaler has this name; there are: ` + all,
		`"image":"` + start + `","upscaler":"latent"`:                 `no upscaler has this name`,
		`"image":"` + start + `","upscaler":7`:                        `"loc":["body","upscaler"],"msg":"Input should be a valid string"`,
		`"image":"` + start + `","upscaler":"damaged"`:                `"loc":["body","upscaler"],"msg":"Value error, must be one of lanczos, nearest, or an ESRGAN file: `,
		`"image":"` + start + `","upscaler":"x3","scale":0`:           `"loc":["body","scale"],"msg":"Input should be greater than 0"`,
		`"image":"` + start + `","upscaler":"x3","scale":17`:          `"loc":["body","scale"],"msg":"Input should be less than or equal to 16"`,
		`"image":"` + start + `","upscaler":"x3","scale":2,"width":9`: `"loc":["body","scale"],"msg":"Value error, must be absent where there is a width or a height"`,
		`"image":"` + start + `","upscaler":"x3","width":8193`:        `"loc":["body","width"],"msg":"Input should be less than or equal to 8192"`,
		`"image":"` + start + `","upscaler":"x3","scale":5`:           `"loc":["body","scale"],"msg":"Value error, the result of 1500×1000 is 1500000 pixels: must be at most 1048576"`,
		`"image":"` + start + `","upscaler":"x3","height":1000`:       `"loc":["body","height"],"msg":"Value error, the result of 1500×1000`,
		`"image":"` + large + `","upscaler":"x4"`:                     `"loc":["body","image"],"msg":"Value error, the result of 1600×800 is 1280000 pixels`,
		`"image":"` + start + `","upscaler":"x3","tile":31`:           `"loc":["body","tile"],"msg":"Value error, must be 32 to 8192, or 0"`,
		`"image":"` + start + `","upscaler":"x3","resize":"x"`:        `"loc":["body","resize"]`,
		`"image":"` + start + `","upscaler":"x3","model":"other"`:     `"loc":["body","model"]`,
	} {
		w := b.do("POST", "/v1/jobs", `{"task":"upscale",`+fields+`}`)
		if w.Code != 422 || !strings.Contains(w.Body.String(), says) || strings.Contains(w.Body.String(), b.config.UpscalerDir) {
			t.Errorf("%s: %d %s, want %s", fields, w.Code, w.Body, says)
		}
	}
	if w := b.do("POST", "/v1/jobs", `{"task":"upscale","upscaler":"x3","image":"11111111-1111-4111-8111-111111111111"}`); w.Code != 404 {
		t.Errorf("no such image: %d %s", w.Code, w.Body)
	}
	if n := b.imageCount(t); n != before {
		t.Errorf("%d files, want %d", n, before)
	}
	b.config.UpscalerDir = ""
	if w := b.do("POST", "/v1/jobs", `{"task":"upscale","upscaler":"x3","image":"`+start+`"}`); w.Code != 422 || !strings.Contains(w.Body.String(), "must be one of lanczos, nearest: this server has no folder of others (-upscaler-dir)") {
		t.Errorf("without a folder: %d %s", w.Code, w.Body)
	}
}

// What would take longer than a request may is refused; a filter takes no such time.
func TestUpscaleJobTakesTooLong(t *testing.T) {
	b := upscaleBench(t, func(c *Config) { c.RequestTimeout = time.Minute })
	b.base.flops = 1
	b.costs.set(0, pair{b.base, b.refiner}.Costs())
	_, data := patternedPNG(t, 40, 30, "")
	body := func(upscaler string) string {
		return `{"task":"upscale","scale":2,"upscaler":"` + upscaler + `","image":"` + inBase64(data) + `"}`
	}
	if w := b.do("POST", "/v1/jobs", body("x3")); w.Code != 422 || !strings.Contains(w.Body.String(), `"loc":["body","scale"],"msg":"Value error, 80×60 by this upscaler takes longer than the 1m0s`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if v := b.finished(t, b.postJob(t, body("lanczos")).ID); v.State != job.Done {
		t.Errorf("%+v", v)
	}
}

// A job that is enlarging an image ends when it is cancelled, and with what there is when it is interrupted.
func TestUpscaleJobEnds(t *testing.T) {
	b := upscaleBench(t, nil)
	slow := esrgan.Config{Kind: esrgan.RRDB, Features: 64, Growth: 32, Blocks: 12, Doublings: 2, Unshuffle: 1}
	if err := esrgan.Synthesise(slow, kernels.F32, filepath.Join(b.config.UpscalerDir, "slow.safetensors")); err != nil {
		t.Fatal(err)
	}
	img, data := patternedPNG(t, 256, 256, "") // takes many seconds
	for _, end := range []struct {
		method, path string
		state        job.State
	}{{"DELETE", "", job.Cancelled}, {"POST", "/interrupt", job.Done}} {
		began := time.Now()
		v := b.postJob(t, fmt.Sprintf(`{"task":"upscale","scale":2,"upscaler":"slow","image":"%s"}`, inBase64(data)))
		b.until(t, nil, v.ID, "running")
		time.Sleep(100 * time.Millisecond)
		if w := b.do(end.method, "/v1/jobs/"+v.ID+end.path, ""); w.Code/100 != 2 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		v = b.finished(t, v.ID)
		if took := time.Since(began); v.State != end.state || took > 15*time.Second {
			t.Errorf("%s: %+v after %v", end.method, v, took)
		}
		if end.state != job.Done {
			continue
		}
		got, err := png.Decode(bytes.NewReader(b.do("GET", v.Images[0].URL, "").Body.Bytes()))
		want := b.upscaledBy(t, sdxl.Upscaling{Upscaler: "lanczos", Scale: 2}, img).Images[0]
		if err != nil || !strings.Contains(string(v.Parameters), `"interrupted":{"steps_done":0`) || !slices.Equal(rgbaPix(got), rgbaPix(want)) {
			t.Errorf("%v, %s, or another image than the source resized", err, v.Parameters)
		}
	}
}

// rgbaPix are an opaque image's pixels.
func rgbaPix(img image.Image) (list []uint32) {
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			list = append(list, r, g, b)
		}
	}
	return list
}
