package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// The options are those of the configuration, and each is one that a request may have.
func TestOptions(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"b.safetensors", "a.safetensors", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := loadedBench(t, func(c *Config) {
		c.LoRADir, c.MaxBatch, c.MaxSteps, c.MaxPixels, c.Version = folder, 3, 40, 512*512, "v9"
	})
	var got struct {
		Models, Schedulers, Schedules []any
		Refiner                       *modelOptions
		Presets                       []string
		PromptStyles                  []string `json:"prompt_styles"`
		PromptStyle                   string   `json:"prompt_style"`
		LoRAs                         []string
		Formats                       []string `json:"output_formats"`
		Limits                        limitOptions
		Version                       string
	}
	w := b.do("GET", "/v1/options", "")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !slices.Equal(got.LoRAs, []string{"a", "b"}) || got.Version != "v9" || got.PromptStyle != "plain" || len(got.Schedules) == 0 {
		t.Errorf("%s", w.Body)
	}
	if want := (limitOptions{Pixels: 512 * 512, Enlarged: 2048 * 2048, Side: 2048, Multiple: 8, Steps: 40, Images: 3, Upload: maxUpload}); got.Limits != want {
		t.Errorf("limits %+v, want %+v", got.Limits, want)
	}
	info := b.config.Specs.Base.Info()
	if len(got.Models) != 1 || got.Models[0].(map[string]any)["num_inference_steps"] != float64(info.Steps) || got.Refiner == nil || got.Refiner.Strength == 0 {
		t.Errorf("%s, want the defaults of the models", w.Body)
	}
	for field, words := range map[string][]string{"prompt_style": got.PromptStyles, "preset": got.Presets, "output_format": got.Formats} {
		if len(words) < 2 {
			t.Errorf("%s: %q", field, words)
		}
		for _, word := range words {
			body, err := json.Marshal(map[string]any{"prompt": "a", "width": 64, "height": 64, "num_inference_steps": 1, field: word})
			if err != nil {
				t.Fatal(err)
			}
			if w := b.do("POST", "/v1/jobs", string(body)); w.Code != 202 {
				t.Errorf("%s %s: %d %s", field, word, w.Code, w.Body)
			}
		}
	}

	// Each model has its own refiner, or none.
	several := loadedBench(t, func(c *Config) {
		c.Models = []Model{{Name: "with", Specs: c.Specs}, {Name: "without", Specs: engine.Specs{Base: c.Specs.Base}}}
		c.Specs.Refiner = nil
	})
	var models struct {
		Models       []modelOptions
		Refiner      *modelOptions
		DenoisingEnd float64 `json:"denoising_end"`
	}
	if w := several.do("GET", "/v1/options", ""); json.Unmarshal(w.Body.Bytes(), &models) != nil || len(models.Models) != 3 || models.Refiner != nil || models.DenoisingEnd == 0 {
		t.Fatalf("several models: %s", w.Body)
	}
	for i, want := range []string{"", filepath.Base(b.config.Specs.Refiner.Path), ""} {
		if m := models.Models[i]; (m.Refiner == nil) != (want == "") || m.Refiner != nil && (m.Refiner.Name != want || m.Refiner.Strength == 0) {
			t.Errorf("%s: the refiner is %+v, want %q", m.Name, m.Refiner, want)
		}
	}

	none := loadedBench(t, func(c *Config) { c.Specs.Refiner = nil })
	if w := none.do("GET", "/v1/options", ""); json.Unmarshal(w.Body.Bytes(), &got) != nil || got.LoRAs == nil || len(got.LoRAs) != 0 {
		t.Errorf("without a folder of adapters: %s", w.Body)
	}
}

// The names of models for images are those that a request may have, by what the files are.
func TestImageOptions(t *testing.T) {
	b := loadedBench(t, withModels(t))
	read := func(b *bench) (got optionsView) {
		t.Helper()
		if w := b.do("GET", "/v1/options", ""); json.Unmarshal(w.Body.Bytes(), &got) != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return got
	}
	got := read(b)
	for name, lists := range map[string][2][]string{
		"controls":       {got.Controls, {"canny", "union", "xl/depth.pth", "xl/depth.safetensors"}},
		"t2i_adapters":   {got.T2IAdapters, {"canny", "sketch", "xl/depth.pth", "xl/depth.safetensors"}}, // of empty files nothing is known
		"ip_adapters":    {got.IPAdapters, {"sdxl_models/ip-adapter-plus"}},
		"image_encoders": {got.ImageEncoders, {"sdxl_models/image_encoder"}},
		"upscalers":      {got.Upscalers, append(sdxl.HiresUpscalers(), "x4")},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: %q, want %q", name, lists[0], lists[1])
		}
	}
	image := inBase64(colouredPNG(t, 8, 8, 1))
	for _, preprocessor := range got.Preprocessors {
		if w := b.do("POST", "/v1/preprocess", `{"image":"`+image+`","preprocessor":"`+preprocessor+`"}`); w.Code != 200 {
			t.Errorf("%s: %d %s", preprocessor, w.Code, w.Body)
		}
	}
	for _, q := range []struct {
		words  []string
		fields string
	}{
		{slices.Concat(got.Modes...), `"controls":[{"model":"union","image":"` + image + `","mode":"WORD"}]`},
		{got.Resizes, `"image":"` + image + `","width":64,"height":32,"resize":"WORD"`},
		{got.Fills, `"image":"` + image + `","mask":"` + image + `","inpaint_fill":"WORD"`},
		{got.Upscalers, `"hires":{"upscaler":"WORD"}`},
		{got.Controls, `"controls":[{"model":"WORD","image":"` + image + `"}]`},
		{got.IPAdapters, `"ip_adapters":[{"model":"WORD","image":"` + image + `"}]`},
	} {
		if len(q.words) == 0 {
			t.Errorf("no words for %s", q.fields)
		}
		for _, word := range q.words {
			if w := b.do("POST", "/v1/jobs", `{"prompt":"a",`+strings.ReplaceAll(q.fields, "WORD", word)+`}`); w.Code != 202 {
				t.Errorf("%s: %d %s", word, w.Code, w.Body)
			}
		}
	}

	// A file that another one takes the place of is looked at again.
	file := filepath.Join(b.config.ControlDir, "union", "config.json")
	if err := os.WriteFile(file, []byte(`{"_class_name":"T2IAdapter"          }`), 0o600); err != nil { // as long as it was
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := read(b); slices.Contains(got.Controls, "union") || !slices.Contains(got.T2IAdapters, "union") {
		t.Errorf("%q and %q", got.Controls, got.T2IAdapters)
	}
	if got := read(loadedBench(t, nil)); got.Controls == nil || len(got.Controls)+len(got.IPAdapters) > 0 || !slices.Equal(got.Upscalers, sdxl.HiresUpscalers()) {
		t.Errorf("without folders: %+v", got)
	}
	if err := os.RemoveAll(b.config.ControlDir); err != nil {
		t.Fatal(err)
	}
	if w := b.do("GET", "/v1/options", ""); w.Code != 500 || strings.Contains(w.Body.String(), b.config.ControlDir) {
		t.Errorf("a folder that is gone: %d %s", w.Code, w.Body)
	}
}

// The page and its files are routes; errors of them are the server's own.
func TestPage(t *testing.T) {
	b := loadedBench(t, nil)
	for path, want := range map[string]string{"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8", "/page/style.css": "text/css; charset=utf-8"} {
		if w := b.do("GET", path, ""); w.Code != 200 || w.Header().Get("Content-Type") != want {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	for path, want := range map[string]int{"/page/none.js": 404, "/page/": 404, "/page": 404, "/page/..%2fpage.go": 404} {
		if w := b.do("GET", path, ""); w.Code != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := b.do("POST", "/", "{}"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST /: %d %v", w.Code, w.Header())
	}
}
