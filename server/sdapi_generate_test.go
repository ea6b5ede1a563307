package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// sdAnswerOf reads an answer with images.
type sdAnswerOf struct {
	Images     []string
	Parameters map[string]any
	Info       string
	info       sdInfo
}

func decodeSD(t *testing.T, w *httptest.ResponseRecorder) (a sdAnswerOf) {
	t.Helper()
	err := json.Unmarshal(w.Body.Bytes(), &a)
	if err == nil && w.Code == http.StatusOK {
		err = json.Unmarshal([]byte(a.Info), &a.info)
	}
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v %.2000s", w.Code, err, w.Body)
	}
	return a
}

// sdPixels decodes an image of an answer.
func sdPixels(t *testing.T, encoded string) (img image.Image, data []byte) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if img, _, err = image.Decode(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return img, data
}

// sdTaken collects the jobs that the engines get.
type sdTaken struct {
	mu   sync.Mutex
	jobs []engine.Job
}

func (b *bench) sdTaken() *sdTaken {
	list := &sdTaken{}
	take := func(j engine.Job) {
		list.mu.Lock()
		defer list.mu.Unlock()
		list.jobs = append(list.jobs, j)
	}
	b.base.take, b.refiner.take = take, take
	return list
}

// An answer has the image, the request with A1111's defaults, and an info as A1111's.
func TestSDText(t *testing.T) {
	b := sdBench(t, nil)
	w := b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"a (cat:1.2)","negative_prompt":"fog","seed":7,"subseed":9,"steps":5,"cfg_scale":6.5,"width":64,"height":128,
		"sampler_name":"DPM++ 2M","scheduler":"Karras","s_churn":0.5,"s_noise":1.0,"alwayson_scripts":{},"mine":[1]}`)
	a := decodeSD(t, w)
	if len(a.Images) != 1 {
		t.Fatalf("%d images", len(a.Images))
	}
	img, data := sdPixels(t, a.Images[0])
	if got, want := img.Bounds().Size(), image.Pt(64, 128); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	texts, err := imagefile.Texts(data)
	if err != nil {
		t.Fatal(err)
	}
	const infotext = "a (cat:1.2)\nNegative prompt: fog\nSteps: 5, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 7, Size: 64x128, Model: fake-base, RNG: CPU, Version: goxl test"
	if text, _ := imagefile.InfotextOf(texts); text != infotext {
		t.Errorf("the PNG has %q, want %q", text, infotext)
	}
	wantInfo := `{"prompt":"a (cat:1.2)","all_prompts":["a (cat:1.2)"],"negative_prompt":"fog","all_negative_prompts":["fog"],"seed":7,"all_seeds":[7],"subseed":9,"all_subseeds":[9],` +
		`"subseed_strength":0,"width":64,"height":128,"sampler_name":"DPM++ 2M","cfg_scale":6.5,"steps":5,"batch_size":1,"restore_faces":false,"face_restoration_model":null,` +
		`"sd_model_name":"fake-base","sd_model_hash":null,"sd_vae_name":null,"sd_vae_hash":null,"seed_resize_from_w":-1,"seed_resize_from_h":-1,"denoising_strength":null,` +
		`"extra_generation_params":{"RNG":"CPU","Schedule type":"Karras"},"index_of_first_image":0,"infotexts":[` + quote(infotext) + `],"styles":[],"job_timestamp":"` + a.info.JobTimestamp +
		`","clip_skip":1,"is_using_inpainting_conditioning":false,"version":"goxl test","goxl_ignored":["s_churn","mine"],"goxl_warnings":[],"goxl_interrupted":false}`
	if a.Info != wantInfo {
		t.Errorf("info is\n%s, want\n%s", a.Info, wantInfo)
	}
	if len(a.info.JobTimestamp) != len("20060102150405") {
		t.Errorf("job_timestamp %s", a.info.JobTimestamp)
	}
	if got := w.Header().Get("X-Goxl-Ignored"); got != "s_churn, mine" {
		t.Errorf("ignored: %s", got)
	}
	const parameters = `"parameters":{"prompt":"a (cat:1.2)","negative_prompt":"fog","styles":null,"seed":7,"subseed":9,"subseed_strength":0,"seed_resize_from_h":-1,"seed_resize_from_w":-1,"sampler_name":"DPM++ 2M","scheduler":"Karras","batch_size":1,"n_iter":1,"steps":5,"cfg_scale":6.5,"width":64,"height":128,"restore_faces":null,"tiling":null,"do_not_save_samples":false,"do_not_save_grid":false,"eta":null,"denoising_strength":0.75,"s_min_uncond":null,"s_churn":0.5,"s_tmax":null,"s_tmin":null,"s_noise":1.0,"override_settings":null,"override_settings_restore_afterwards":true,"refiner_checkpoint":null,"refiner_switch_at":null,"disable_extra_networks":false,"firstpass_image":null,"comments":null,"enable_hr":false,"firstphase_width":0,"firstphase_height":0,"hr_scale":2.0,"hr_upscaler":null,"hr_second_pass_steps":0,"hr_resize_x":0,"hr_resize_y":0,"hr_checkpoint_name":null,"hr_sampler_name":null,"hr_scheduler":null,"hr_prompt":"","hr_negative_prompt":"","force_task_id":null,"sampler_index":"Euler","script_name":null,"script_args":[],"send_images":true,"save_images":false,"alwayson_scripts":{},"infotext":null}`
	if !strings.Contains(w.Body.String(), parameters) {
		t.Errorf("no %s in\n%s", parameters, w.Body)
	}
	if n := b.imageCount(t); n != 0 {
		t.Errorf("%d images are kept, without save_images", n)
	}
	if w := b.do("GET", "/v1/jobs", ""); w.Body.String() != `{"jobs":[]}` {
		t.Errorf("jobs: %s", w.Body)
	}
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// Defaults are A1111's, and each field becomes what it says.
func TestSDRequest(t *testing.T) {
	b := sdBench(t, func(c *Config) { c.PromptStyle, c.Preset = prompt.Plain, "" })
	list := b.sdTaken()
	type want struct {
		model   engine.Model
		change  func(r *sdxl.Request)
		ignored string
		end     float64
		img2img bool
	}
	photo := sdPNG(t, 96, 64)
	for _, c := range []struct {
		body string
		want want
	}{
		{`{}`, want{change: func(*sdxl.Request) {}}},
		{`{"init_images":["x"],"resize_mode":0,"mask":null}`, want{change: func(*sdxl.Request) {}, ignored: "init_images"}},
		{`{"prompt":"p","negative_prompt":"n","steps":"7","cfg_scale":1,"width":64,"height":72,"sampler_index":"Heun"}`, want{change: func(r *sdxl.Request) {
			r.Prompt, r.NegativePrompt, r.Steps, r.Guidance, r.Width, r.Height, r.Scheduler = "p", new("n"), 7, new(1.0), 64, 72, "k_heun"
		}}},
		{`{"sampler_name":"DDIM","eta":0.25}`, want{change: func(r *sdxl.Request) { r.Scheduler, r.Eta = "k_ddim", new(0.25) }}},
		{`{"sampler_name":"DDIM","override_settings":{"eta_ddim":0.5}}`, want{change: func(r *sdxl.Request) { r.Scheduler, r.Eta = "k_ddim", new(0.5) }}},
		{`{"sampler_name":"Euler a","eta":1.0}`, want{change: func(r *sdxl.Request) { r.Scheduler = "k_euler_a" }}},
		{`{"sampler_name":"Euler a","eta":0.5}`, want{change: func(r *sdxl.Request) { r.Scheduler = "k_euler_a" }, ignored: "eta"}},
		{`{"override_settings":{"CLIP_stop_at_last_layers":3,"emphasis":"No norm","sdxl_crop_top":8,"sd_vae":"Automatic","randn_source":"CPU","eta_noise_seed_delta":31337,"what":1}}`,
			want{change: func(r *sdxl.Request) { r.ClipSkip, r.Emphasis, r.CropTop = 1, sdxl.EmphasisNoNorm, 8 }, ignored: "override_settings.eta_noise_seed_delta, override_settings.what"}},
		{`{"override_settings":{"sdxl_refiner_high_aesthetic_score":7,"sdxl_refiner_low_aesthetic_score":1}}`, want{change: func(r *sdxl.Request) { r.AestheticScore, r.NegativeAestheticScore = new(7.0), new(1.0) }}},
		{`{"prompt":"a <lora:none:1> b","disable_extra_networks":true}`, want{change: func(r *sdxl.Request) { r.Prompt = "a  b" }}},
		{`{"refiner_checkpoint":"fake-refiner","refiner_switch_at":0.6}`, want{model: engine.Ensemble, end: 0.6, change: func(*sdxl.Request) {}}},
		{`{"refiner_checkpoint":"fake-refiner"}`, want{model: engine.Ensemble, end: 0.8, change: func(*sdxl.Request) {}}},
		{`{"refiner_checkpoint":"None","refiner_switch_at":0.6}`, want{change: func(*sdxl.Request) {}}},
		{`{"refiner_checkpoint":"fake-refiner","refiner_switch_at":1}`, want{change: func(*sdxl.Request) {}}},
		{`{"prompt":"q","infotext":"p\nNegative prompt: n\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2.5, Seed: 3, Size: 64x72, Model hash: 12, Model: fake-base, Clip skip: 3, Other: x"}`,
			want{change: func(r *sdxl.Request) {
				r.Prompt, r.NegativePrompt, r.Steps, r.Guidance, r.Seed, r.Width, r.Height, r.ClipSkip = "q", new("n"), 4, new(2.5), new(uint64(3)), 64, 72, 1
				r.Scheduler = "k_dpmpp_2m_karras"
			}, ignored: "infotext.Other"}},
		{`{"infotext":"7\nSteps: 4, Sampler: Euler, Size: 64x72"}`, want{change: func(r *sdxl.Request) { r.Prompt, r.Steps, r.Width, r.Height = "7", 4, 64, 72 }}},
		{`{"init_images":["` + photo + `"],"denoising_strength":0.5,"width":64,"height":64}`, want{img2img: true, change: func(r *sdxl.Request) { r.Strength = 0.5 }}},
		{`{"init_images":["data:image/png;base64,` + photo + `"],"image_cfg_scale":1.5,"mask_blur":4,"enable_hr":false,"hr_scale":2.0,"hr_resize_x":8}`, want{img2img: true, change: func(r *sdxl.Request) { r.Strength = 0.75 }, ignored: "image_cfg_scale, hr_resize_x"}},
		{`{"init_images":["` + photo + `"],"override_settings":{"sd_model_checkpoint":"fake-refiner"}}`, want{img2img: true, model: engine.Refiner, change: func(r *sdxl.Request) { r.Strength = 0.75 }}},
		{`{"init_images":["` + photo + `"],"refiner_checkpoint":"fake-refiner"}`, want{img2img: true, model: engine.Ensemble, end: 0.8, change: func(r *sdxl.Request) { r.Strength = 0.75 }}},
	} {
		list.jobs = nil
		path := "/sdapi/v1/txt2img"
		expected := sdxl.Request{
			PromptStyle: prompt.A1111, Emphasis: sdxl.EmphasisOriginal, Preset: sdxl.NoPreset, Steps: 50, Guidance: new(7.0), Scheduler: "k_euler", Width: 512, Height: 512, Watermark: true,
		}
		if c.want.img2img {
			path, expected.Width, expected.Height = "/sdapi/v1/img2img", 0, 0
		}
		w := b.do("POST", path, c.body)
		decodeSD(t, w)
		if len(list.jobs) != 1 {
			t.Fatalf("%s: %d jobs", c.body, len(list.jobs))
		}
		got := list.jobs[0]
		if c.want.change(&expected); expected.Seed == nil {
			if *got.Request.Seed > 1<<32 {
				t.Errorf("a random seed of %d", *got.Request.Seed)
			}
			expected.Seed = got.Request.Seed
		}
		model := c.want.model
		if model == "" {
			model = engine.Base
		}
		if got.Model != model || got.DenoisingEnd != c.want.end || w.Header().Get("X-Goxl-Ignored") != c.want.ignored {
			t.Errorf("%.200s: model %s, end %v, ignored %q, want %+v", c.body, got.Model, got.DenoisingEnd, w.Header().Get("X-Goxl-Ignored"), c.want)
		}
		r := got.Request
		if c.want.img2img == (r.Image == nil) {
			t.Errorf("%.200s: image %v", c.body, r.Image)
		}
		r.Image, r.Progress, r.OnComputed, r.Stop, r.Preview = nil, nil, nil, nil, nil
		if diff := cmp.Diff(expected, r); diff != "" {
			t.Errorf("%.200s (-want +got):\n%s", c.body, diff)
		}
	}
}

// sdPNG is an image in base64.
func sdPNG(t testing.TB, width, height int) string {
	return painted(t, width, height, func(x, y int) color.NRGBA { return color.NRGBA{uint8(y*width + x), uint8((y*width + x) >> 8), 7, 255} })
}

// Each image has a seed of its own, however many are computed together, and the answer names them all in their order.
func TestSDSeeds(t *testing.T) {
	for batch, want := range map[int]string{1: "[5] [6] [7] [8] [9] [10]", 2: "[5 6] [7] [8 9] [10]", 8: "[5 6 7] [8 9 10]"} {
		b := sdBench(t, func(c *Config) { c.MaxBatch = batch })
		var mu sync.Mutex
		var got []string
		b.base.give = func(j engine.Job, _ *image.NRGBA) (*sdxl.Result, error) {
			seeds := j.Request.Seeds
			if len(seeds) == 0 {
				seeds = []uint64{*j.Request.Seed}
			}
			mu.Lock()
			got = append(got, fmt.Sprint(seeds))
			mu.Unlock()
			result := &sdxl.Result{Parameters: j.Parameters}
			for _, seed := range seeds {
				img := image.NewNRGBA(image.Rect(0, 0, 8, 8))
				for i := range 64 {
					img.SetNRGBA(i%8, i/8, color.NRGBA{uint8(seed), 0, 0, 255})
				}
				result.Images = append(result.Images, img)
			}
			return result, nil
		}
		b.base.seedless = true
		a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","seed":5,"subseed":100,"batch_size":3,"n_iter":2,"steps":2,"width":64,"height":64}`))
		if all := strings.Join(got, " "); all != want {
			t.Errorf("batches of %d: %s, want %s", batch, all, want)
		}
		if !slices.Equal(a.info.AllSeeds, []uint64{5, 6, 7, 8, 9, 10}) || !slices.Equal(a.info.AllSubseeds, []uint64{100, 101, 102, 103, 104, 105}) || len(a.Images) != 6 || len(a.info.Infotexts) != 6 {
			t.Fatalf("%+v", a.info)
		}
		for i, encoded := range a.Images {
			img, _ := sdPixels(t, encoded)
			if r, _, _, _ := img.At(0, 0).RGBA(); int(r>>8) != 5+i || !strings.Contains(a.info.Infotexts[i], fmt.Sprintf("Seed: %d,", 5+i)) {
				t.Errorf("image %d: %d, %s", i, r>>8, a.info.Infotexts[i])
			}
		}
	}
}

// With save_images the images and the job stay, without send_images the answer has none.
func TestSDSave(t *testing.T) {
	b := sdBench(t, nil)
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","steps":2,"width":64,"height":64,"n_iter":2,"save_images":true,"send_images":false}`))
	if len(a.Images) != 0 || len(a.info.AllSeeds) != 2 || len(a.info.Infotexts) != 2 {
		t.Errorf("%d images, %+v", len(a.Images), a.info)
	}
	var page struct{ Jobs []jobView }
	w := b.do("GET", "/v1/jobs", "")
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Jobs) != 2 || b.imageCount(t) != 2 {
		t.Fatalf("%s, %d images", w.Body, b.imageCount(t))
	}
	for _, j := range page.Jobs {
		if w := b.do("GET", j.Images[0].URL, ""); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+sdPNG(t, 8, 8)+`"],"prompt":"p","steps":2,"width":64,"height":64}`))
	if n := b.imageCount(t); n != 2 {
		t.Errorf("%d images, of which one is what img2img began with", n)
	}
	decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+sdPNG(t, 8, 8)+`"],"prompt":"p","steps":2,"width":64,"height":64,"save_images":true}`))
	if n := b.imageCount(t); n != 4 {
		t.Errorf("%d images, want 4 with what img2img began with and what it made", n)
	}
}

// A client that hangs up ends what was begun for it, and nothing is left.
func TestSDGone(t *testing.T) {
	b := sdBench(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	b.base.run = func(ctx context.Context, _ sdxl.Request) error {
		leave()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w := b.doContext(ctx, "POST", "/sdapi/v1/txt2img", `{"prompt":"p","steps":2,"width":64,"height":64,"n_iter":4}`)
	if w.Code != 499 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if s := b.queue.Stats(); s.Waiting != 0 || len(b.sdapi.tasks) != 0 {
		t.Errorf("%+v, %d tasks", s, len(b.sdapi.tasks))
	}
	if w := b.do("GET", "/v1/jobs", ""); w.Body.String() != `{"jobs":[]}` {
		t.Errorf("jobs: %s", w.Body)
	}
}

// A short queue takes the jobs of one request one after the other.
func TestSDShortQueue(t *testing.T) {
	b := sdBench(t, func(c *Config) { c.Queue = 0 })
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","steps":2,"width":64,"height":64,"n_iter":5}`))
	if len(a.Images) != 5 {
		t.Errorf("%d images", len(a.Images))
	}
}
