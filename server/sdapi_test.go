package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
)

// sdBench is a server with all samplers.
func sdBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	return loadedBench(t, func(c *Config) {
		c.Schedulers = scheduler.Names()
		if change != nil {
			change(c)
		}
	})
}

// Every route of A1111's API answers, by its shape.
func TestSDRoutes(t *testing.T) {
	adapters := t.TempDir()
	for _, name := range []string{"b.safetensors", "a.safetensors"} {
		if err := os.WriteFile(filepath.Join(adapters, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := sdBench(t, func(c *Config) {
		c.LoRADir = adapters
		hidden := [2]int{c.Specs.Base.TextEncoder.HiddenSize, c.Specs.Base.TextEncoder2.HiddenSize}
		c.TextualInversions = []sdxl.TextualInversion{{
			Name: "mine", L: &sdxl.Tensor{Shape: []int{2, hidden[0]}, Data: make([]float32, 2*hidden[0])},
			G: &sdxl.Tensor{Shape: []int{2, hidden[1]}, Data: make([]float32, 2*hidden[1])},
		}}
	})
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/sdapi/v1/sd-models", "", `[{"title":"fake-base","model_name":"fake-base","hash":null,"sha256":null,"filename":"fake-base","config":null},{"title":"fake-refiner","model_name":"fake-refiner","hash":null,"sha256":null,"filename":"fake-refiner","config":null}]`},
		{"GET", "/sdapi/v1/loras", "", `[{"name":"a","alias":"a","path":"a","metadata":{}},{"name":"b","alias":"b","path":"b","metadata":{}}]`},
		{"GET", "/sdapi/v1/embeddings", "", `{"loaded":{"mine":{"step":null,"sd_checkpoint":null,"sd_checkpoint_name":null,"shape":80,"vectors":2}},"skipped":{}}`},
		{"GET", "/sdapi/v1/upscalers", "", `[{"name":"None","model_name":null,"model_path":null,"model_url":null,"scale":4},{"name":"Lanczos","model_name":null,"model_path":null,"model_url":null,"scale":4},{"name":"Nearest","model_name":null,"model_path":null,"model_url":null,"scale":4}]`},
		{"GET", "/sdapi/v1/options", "", `{"CLIP_stop_at_last_layers":1,"emphasis":"Original","enable_pnginfo":true,"eta_ddim":0,"eta_noise_seed_delta":0,"img2img_color_correction":false,"img2img_fix_steps":false,"initial_noise_multiplier":1,"jpeg_quality":80,"live_previews_enable":true,"randn_source":"CPU","samples_format":"png","sd_model_checkpoint":"fake-base","sd_vae":"Automatic","sdxl_crop_left":0,"sdxl_crop_top":0,"sdxl_refiner_high_aesthetic_score":6,"sdxl_refiner_low_aesthetic_score":2.5,"show_progress_every_n_steps":10}`},
		{"GET", "/sdapi/v1/cmd-flags", "", `{"api":true,"api_server_stop":false,"lowvram":false,"medvram":false,"nowebui":false}`},
		{"GET", "/sdapi/v1/scripts", "", `{"img2img":["controlnet"],"txt2img":["controlnet"]}`},
		{"GET", "/sdapi/v1/progress", "", `{"progress":0,"eta_relative":0,"state":{"skipped":false,"interrupted":false,"stopping_generation":false,"job":"","job_count":0,"job_timestamp":"0","job_no":0,"sampling_step":0,"sampling_steps":0},"current_image":null,"textinfo":null}`},
		{"GET", "/sdapi/v1/sd-vae", "", `[]`},
		{"GET", "/sdapi/v1/sd-modules", "", `[]`},
		{"GET", "/sdapi/v1/latent-upscale-modes", "", `[{"name":"Latent"},{"name":"Latent (antialiased)"},{"name":"Latent (bicubic)"},{"name":"Latent (bicubic antialiased)"},{"name":"Latent (nearest)"},{"name":"Latent (nearest-exact)"}]`},
		{"GET", "/sdapi/v1/prompt-styles", "", `[]`},
		{"GET", "/sdapi/v1/hypernetworks", "", `[]`},
		{"GET", "/sdapi/v1/face-restorers", "", `[]`},
		{"GET", "/sdapi/v1/realesrgan-models", "", `[]`},
		{"GET", "/sdapi/v1/script-info", "", `[]`},
		{"GET", "/sdapi/v1/extensions", "", `[]`},
		{"POST", "/sdapi/v1/interrupt", "", `{}`},
		{"POST", "/sdapi/v1/skip", "", `null`},
		{"POST", "/sdapi/v1/options", `{}`, `null`},
		{"POST", "/sdapi/v1/refresh-checkpoints", "", `{"info":"the models are those that the server was started with"}`},
		{"POST", "/sdapi/v1/refresh-vae", "", `{"info":"the VAE is the model's, or the one that the server was started with"}`},
		{"POST", "/sdapi/v1/refresh-embeddings", "", `{"info":"the embeddings are those that the server was started with"}`},
		{"POST", "/sdapi/v1/refresh-loras", "", `{"info":"the folder of adapters is read with each request"}`},
		{"POST", "/sdapi/v1/unload-checkpoint", "", `{"info":"the model stays loaded"}`},
		{"POST", "/sdapi/v1/reload-checkpoint", "", `{"info":"the model is loaded"}`},
		{"GET", "/internal/ping", "", `{}`},
		{"GET", "/internal/pending-tasks", "", `{"size":0,"tasks":[]}`},
		{"POST", "/internal/progress", `{"id_task":"t"}`, `{"active":false,"queued":false,"completed":false,"progress":null,"eta":null,"live_preview":null,"id_live_preview":-1,"textinfo":"Waiting..."}`},
	} {
		w := b.do(c.method, c.path, c.body)
		if got := w.Body.String(); w.Code != http.StatusOK || got != c.want {
			t.Errorf("%s %s: %d %s\nwant %s", c.method, c.path, w.Code, got, c.want)
		}
	}
	if w := b.do("POST", "/sdapi/v1/interrogate", `{"image":""}`); w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "interrogate: ") {
		t.Errorf("interrogate: %d %s", w.Code, w.Body)
	}
	var memory struct{ RAM, CUDA map[string]any }
	w := b.do("GET", "/sdapi/v1/memory", "")
	if err := json.Unmarshal(w.Body.Bytes(), &memory); err != nil || w.Code != http.StatusOK || memory.CUDA["error"] == nil {
		t.Errorf("memory: %d %s", w.Code, w.Body)
	}
	if used, total := memory.RAM["used"], memory.RAM["total"]; memory.RAM["error"] == nil && (used.(float64) < 1<<20 || total.(float64) <= used.(float64)) {
		t.Errorf("memory: %s", w.Body)
	}
}

// The lists of samplers and schedule types have A1111's names, and each of them can be asked for.
func TestSDSamplers(t *testing.T) {
	b := sdBench(t, nil)
	var samplers []sdSampler
	w := b.do("GET", "/sdapi/v1/samplers", "")
	if err := json.Unmarshal(w.Body.Bytes(), &samplers); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if want := (sdSampler{"DPM++ 2M SDE", []string{"k_dpmpp_2m_sde"}, map[string]string{"scheduler": "exponential", "brownian_noise": "True"}}); !cmp.Equal(samplers[2], want) {
		t.Errorf("%+v, want %+v", samplers[2], want)
	}
	var names []string
	for _, one := range samplers {
		names = append(names, one.Name)
		if own, _ := b.sdSampler("", one.Name, ""); own != "" {
			if label, _ := imagefile.SamplerNames(own); label != one.Name {
				t.Errorf("infotext calls %s %s", one.Name, label)
			}
		}
		for _, name := range append([]string{one.Name, strings.ToLower(one.Name), one.Name + " Karras"}, one.Aliases...) {
			own, err := b.sdSampler("", name, "")
			if base, _ := b.sdSampler("", one.Name, ""); err != nil || !strings.HasPrefix(own, base) {
				t.Errorf("%s: %s %v", name, own, err)
			}
		}
	}
	for _, want := range []string{"DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among %q", want, names)
		}
	}
	var schedules []sdScheduler
	w = b.do("GET", "/sdapi/v1/schedulers", "")
	if err := json.Unmarshal(w.Body.Bytes(), &schedules); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !cmp.Equal(schedules, sdSchedulers) || !strings.HasPrefix(w.Body.String(), `[{"name":"automatic","label":"Automatic","aliases":null,"default_rho":-1,"need_inner_model":false},`) {
		t.Errorf("%s", w.Body)
	}
	for _, one := range schedules {
		for _, name := range append([]string{one.Name, one.Label}, one.Aliases...) {
			if _, err := b.sdSampler("", "DPM++ 2M", name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, c := range []struct{ sampler, schedule, want string }{
		{"DPM++ 2M Karras", "", "k_dpmpp_2m_karras"}, {"DPM++ 2M Karras", "Exponential", "k_dpmpp_2m_karras"}, {"DPM++ 2M Karras", "automatic", "k_dpmpp_2m_karras"},
		{"DPM++ 2M", "SGM Uniform", "k_dpmpp_2m_sgm_uniform"}, {"Euler", "Automatic", "k_euler"}, {"DDIM", "Karras", "k_ddim"}, {"Euler", "DDIM", "k_euler_ddim_uniform"},
	} {
		if own, err := b.sdSampler("", c.sampler, c.schedule); own != c.want || err != nil {
			t.Errorf("%s, %s: %s %v, want %s", c.sampler, c.schedule, own, err, c.want)
		}
	}
	few := loadedBench(t, func(c *Config) { c.Schedulers = []string{"k_euler"} })
	if got := few.sdSamplers(); len(got) != 1 || got[0].Name != "Euler" {
		t.Errorf("%+v", got)
	}
}
