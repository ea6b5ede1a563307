package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server/engine"
)

// What can't be done is refused by the field's name, before anything is computed, in A1111's shape.
func TestSDErrors(t *testing.T) {
	b := sdBench(t, func(c *Config) { c.MaxSteps, c.MaxPixels, c.LoRADir = 100, 512*512, t.TempDir() })
	photo := sdPNG(t, 8, 8)
	const samplers = "must be one of DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 2S a, DPM++ 3M SDE, Euler a, Euler, LMS, Heun, DPM2, DPM2 a, DPM fast, Restart, DDIM, DDIM CFG++, PLMS, UniPC, LCM"
	const schedules = "one of Automatic, Uniform, Karras, Exponential, Polyexponential, SGM Uniform, KL Optimal, Align Your Steps, Simple, Normal, DDIM, Beta"
	for _, c := range []struct {
		path, body string
		status     int
		kind, want string // of the error; "" is a list of problems, of which want is the first one's place and words
	}{
		{"txt2img", `{"sampler_name":"nope"}`, 400, "bad_value", `Sampler not found: sampler_name is "nope": ` + samplers + "; a schedule type may follow, " + schedules},
		{"txt2img", `{"sampler_name":"Euler","scheduler":"nope"}`, 400, "bad_value", `Scheduler not found: scheduler is "nope": must be ` + schedules},
		{"txt2img", `{"override_settings":{"sd_model_checkpoint":"nope"}}`, 400, "bad_value", `Model not found: sd_model_checkpoint is "nope": must be one of fake-base, fake-refiner`},
		{"txt2img", `{"override_settings":{"sd_model_checkpoint":"fake-refiner"}}`, 400, "bad_value", "sd_model_checkpoint is a refiner, which does img2img alone: must be a base"},
		{"txt2img", `{"refiner_checkpoint":"nope"}`, 400, "bad_value", `Model not found: refiner_checkpoint is "nope": must be one of fake-base, fake-refiner`},
		{"txt2img", `{"refiner_checkpoint":"fake-refiner","refiner_switch_at":0}`, 400, "bad_value", "refiner_switch_at is 0: must be above 0, or sd_model_checkpoint the refiner"},
		{"img2img", `{"init_images":["x"],"override_settings":{"sd_model_checkpoint":"fake-refiner"},"refiner_checkpoint":"fake-base"}`, 400, "bad_value", "refiner_checkpoint is a base: must be a refiner"},
		{"txt2img", `{"enable_hr":true,"hr_upscaler":"nope"}`, 422, "", "[body hr_upscaler] Value error, must be one of Latent, Latent (antialiased), Latent (bicubic), Latent (bicubic antialiased), Latent (nearest), Latent (nearest-exact), None, Lanczos, Nearest: this server has no folder of others (-upscaler-dir)"},
		{"txt2img", `{"enable_hr":true,"hr_sampler_name":"nope"}`, 400, "bad_value", `Sampler not found: hr_sampler_name is "nope": ` + samplers + "; a schedule type may follow, " + schedules},
		{"txt2img", `{"enable_hr":true,"hr_scheduler":"nope"}`, 400, "bad_value", `Scheduler not found: hr_scheduler is "nope": must be ` + schedules},
		{"txt2img", `{"enable_hr":true,"hr_checkpoint_name":"nope"}`, 400, "bad_value", `Model not found: hr_checkpoint_name is "nope": must be one of fake-base, fake-refiner`},
		{"txt2img", `{"enable_hr":true,"hr_checkpoint_name":"fake-refiner"}`, 501, "not_implemented", "hr_checkpoint_name: goxl has no second pass of another model"},
		{"txt2img", `{"enable_hr":true,"hr_scale":9}`, 422, "", "[body hr_scale] Input should be less than or equal to 8"},
		{"txt2img", `{"enable_hr":true,"hr_resize_x":100}`, 422, "", "[body hr_resize_x] Input should be a multiple of 8"},
		{"txt2img", `{"enable_hr":true,"denoising_strength":0.01,"hr_second_pass_steps":50}`, 422, "", "[body denoising_strength] Value error, must be at least 0.05 for 50 steps"},
		{"txt2img", `{"firstphase_width":64}`, 422, "", "[body firstphase_width] Value error, must be 0 where firstphase_height is, and only there"},
		{"txt2img", `{"enable_hr":true,"hr_prompt":"<lora:nope:1>"}`, 422, "", "[body hr_prompt] "},
		{"txt2img", `{"tiling":true}`, 501, "not_implemented", "tiling: goxl has no tiled images"},
		{"txt2img", `{"restore_faces":true}`, 501, "not_implemented", "restore_faces: goxl has no restoration of faces"},
		{"txt2img", `{"firstpass_image":"x"}`, 501, "not_implemented", "firstpass_image: goxl has no second pass of an image that is given"},
		{"txt2img", `{"seed_resize_from_w":512}`, 501, "not_implemented", "seed_resize_from_w: goxl has no noise of another size"},
		{"img2img", `{"initial_noise_multiplier":0.5}`, 501, "not_implemented", "initial_noise_multiplier: goxl has no other multiplier than 1"},
		{"img2img", `{"init_images":["` + photo + `"],"mask":"` + photo + `","mask_round":false}`, 501, "not_implemented", "mask_round is false: goxl mixes no latents by a grey mask; leave it out"},
		{"img2img", `{"init_images":["` + photo + `"],"mask":"!"}`, 422, "", "[body mask] Value error, must be an image in base64"},
		{"img2img", `{"init_images":["` + photo + `"],"mask":"QUJD"}`, 422, "", "[body mask] Value error, must be an image: not a PNG, JPEG or WebP image"},
		{"img2img", `{"init_images":["` + photo + `"],"mask":1}`, 422, "", "[body mask] Input should be a valid string"},
		{"img2img", `{"init_images":["` + photo + `"],"inpainting_fill":4}`, 422, "", "[body inpainting_fill] Input should be less than or equal to 3"},
		{"img2img", `{"init_images":["` + photo + `"],"mask_blur":-1}`, 422, "", "[body mask_blur] Input should be greater than or equal to 0"},
		{"img2img", `{"init_images":["` + photo + `"],"latent_mask":"` + photo + `"}`, 501, "not_implemented", "latent_mask: goxl has no mask of the latents beside mask"},
		{"img2img", `{"init_images":["` + photo + `"],"resize_mode":3}`, 501, "not_implemented", "resize_mode is 3: goxl has no latent upscale of an image; it takes 0, 1 and 2"},
		{"img2img", `{"init_images":["` + photo + `","` + photo + `"]}`, 400, "bad_value", "init_images has 2 images: must be one, or at most batch_size, which is 1"},
		{"img2img", `{}`, 404, "init_image_not_found", "Init image not found"},
		{"img2img", `{"init_images":[]}`, 404, "init_image_not_found", "Init image not found"},
		{"txt2img", `{"script_name":"X/Y/Z plot"}`, 422, "script_not_found", "Script 'X/Y/Z plot' not found"},
		{"txt2img", `{"alwayson_scripts":{"ADetailer":{"args":[true]}}}`, 422, "script_not_found", "always on script ADetailer not found"},
		{"txt2img", `{"alwayson_scripts":{"ControlNet":{"args":[{"enabled":false},{"image":"x"}]}}}`, 422, "", "[body alwayson_scripts ControlNet args 1 model] Value error, must be the name of a ControlNet or T2I-Adapter; there are: none"},
		{"txt2img", `{"alwayson_scripts":{"ControlNet":{"args":[false,[1]]}}}`, 422, "", "[body alwayson_scripts ControlNet args 1] Input should be a valid dictionary or object to extract fields from"},
		{"txt2img", `{"alwayson_scripts":{"ControlNet":{"args":[7]}}}`, 422, "", "[body alwayson_scripts ControlNet args 0] Input should be a valid dictionary or object to extract fields from"},
		{"txt2img", `{"alwayson_scripts":{"ControlNet":{"args":[{"enabled":"perhaps"}]}}}`, 422, "", "[body alwayson_scripts ControlNet args 0 enabled] Input should be a valid boolean, unable to interpret input"},
		{"txt2img", `{"alwayson_scripts":{"ControlNet":{"args":[{"model":"x [12345678]"}]}}}`, 422, "", "[body alwayson_scripts ControlNet args 0 model] Value error, this server has no folder for a ControlNet or T2I-Adapter (-control-dir)"},
		{"txt2img", `{"alwayson_scripts":[]}`, 422, "", "[body alwayson_scripts] Input should be a valid dictionary"},
		{"txt2img", `{"alwayson_scripts":{"controlnet":{"args":1}}}`, 422, "", "[body alwayson_scripts] Input should be a valid list: args of controlnet"},
		{"txt2img", `{"styles":["mine"]}`, 422, "", "[body styles 0] Value error, there is no such style: this server has none"},
		{"txt2img", `{"styles":[1]}`, 422, "", "[body styles 0] Input should be a valid string"},
		{"txt2img", `{"override_settings":[]}`, 422, "", "[body override_settings] Input should be a valid dictionary"},
		{"txt2img", `{"override_settings":{"CLIP_stop_at_last_layers":13}}`, 422, "", "[body override_settings CLIP_stop_at_last_layers] Input should be less than or equal to 12"},
		{"txt2img", `{"override_settings":{"samples_format":"gif"}}`, 422, "", "[body override_settings samples_format] Input should be "},
		{"txt2img", `{"steps":0}`, 422, "", "[body steps] Input should be greater than or equal to 1"},
		{"txt2img", `{"steps":101}`, 422, "", "[body steps] Input should be less than or equal to 100"},
		{"txt2img", `{"width":1024,"height":1024}`, 422, "", "[body width] Value error, 1024×1024 is 1048576 pixels: must be at most 262144"},
		{"img2img", `{"init_images":["` + photo + `"],"width":512,"height":1024}`, 422, "", "[body height] Value error, 512×1024 is 524288 pixels: must be at most 262144"},
		{"txt2img", `{"width":65}`, 422, "", "[body width] Input should be a multiple of 8"},
		{"txt2img", `{"seed":-2}`, 422, "", "[body seed] Input should be greater than or equal to -1"},
		{"txt2img", `{"seed":18446744073709551615}`, 422, "", "[body seed] Input should be less than or equal to 18446744073709551359"},
		{"txt2img", `{"batch_size":64,"n_iter":5}`, 422, "", "[body n_iter] Value error, n_iter × batch_size is 320 images: must be at most 256"},
		{"txt2img", `{"prompt":1}`, 422, "", "[body prompt] Input should be a valid string"},
		{"txt2img", `{"cfg_scale":"x"}`, 422, "", "[body cfg_scale] Input should be a valid number"},
		{"txt2img", `{"prompt":"<lora:nope:1>"}`, 422, "", "[body prompt] "},
		{"img2img", `{"init_images":["` + photo + `"],"denoising_strength":0}`, 422, "", "[body denoising_strength] Input should be greater than 0"},
		{"img2img", `{"init_images":["` + photo + `"],"steps":1,"denoising_strength":0.1}`, 422, "", "[body steps] Value error, must be at least 10, so that strength 0.1 leaves one to run"},
		{"img2img", `{"init_images":"x"}`, 422, "", "[body init_images] Input should be a valid list"},
		{"img2img", `{"init_images":[null]}`, 422, "", "[body init_images 0] Input should be a valid string"},
		{"img2img", `{"init_images":["http://localhost/x.png"]}`, 422, "", "[body init_images 0] Value error, goxl fetches no URLs: must be an image in base64"},
		{"img2img", `{"init_images":["data:image/png,x"]}`, 422, "", "[body init_images 0] Value error, must be an image in base64, alone or in a data URL: the data URL has no ;base64,"},
		{"img2img", `{"init_images":["!"]}`, 422, "", "[body init_images 0] Value error, must be an image in base64"},
		{"img2img", `{"init_images":["` + strings.Repeat("QUJD", 100) + `"]}`, 422, "", "[body init_images 0] Value error, must be an image: not a PNG, JPEG or WebP image"},
		{"txt2img", `[]`, 422, "", "[body] Input should be a valid dictionary"},
		{"txt2img", `{`, 422, "", "[body 1] JSON decode error"},
		{"options", `{"sd_model_checkpoint":"nope"}`, 400, "bad_value", `Model not found: sd_model_checkpoint is "nope": must be one of fake-base, fake-refiner`},
		{"options", `{"sd_vae":"nope.safetensors"}`, 422, "", "[body sd_vae] Input should be 'Automatic' or 'None'"},
		{"extra-single-image", `{"image":"` + photo + `","upscaler_1":"R-ESRGAN 4x+"}`, 400, "bad_value", `Upscaler not found: upscaler_1 is "R-ESRGAN 4x+": must be one of None, Lanczos, Nearest`},
		{"extra-single-image", `{"image":"` + photo + `","upscaler_1":"Lanczos","upscaling_resize":2000}`, 422, "", "[body image] Value error, the result has 16000×16000 pixels: must be 8 to 8192 a side"},
		{"extra-single-image", `{"image":"` + photo + `","gfpgan_visibility":0.5}`, 501, "not_implemented", "gfpgan_visibility: goxl has no restoration of faces"},
		{"extra-single-image", `{"image":"` + photo + `","upscaler_1":"Lanczos","upscaler_2":"X"}`, 400, "bad_value", `Upscaler not found: upscaler_2 is "X": must be one of None, Lanczos, Nearest`},
		{"extra-single-image", `{}`, 422, "", "[body image] Field required"},
		{"extra-batch-images", `{}`, 422, "", "[body imageList] Field required"},
		{"extra-batch-images", `{"imageList":[{"name":"x"}]}`, 422, "", "[body imageList] Value error, must be a list of {"},
		{"extra-batch-images", `{"imageList":[{"data":"!","name":"x"}]}`, 422, "", "[body imageList 0] Value error, must be an image in base64"},
		{"png-info", `{"image":"QUJD"}`, 422, "", "[body image] Value error, not a PNG, JPEG or WebP image"},
	} {
		w := b.do("POST", "/sdapi/v1/"+c.path, c.body)
		if w.Body.Len() > 8<<10 {
			t.Errorf("%s %.200s: an answer of %d bytes", c.path, c.body, w.Body.Len())
		}
		if w.Code != c.status {
			t.Errorf("%s %.200s: %d %s, want %d", c.path, c.body, w.Code, w.Body, c.status)
			continue
		}
		if c.kind != "" {
			if want := `{"error":"` + c.kind + `","detail":` + quote(c.want) + `,"body":"","errors":""}`; w.Body.String() != want {
				t.Errorf("%s %.200s: %s, want %s", c.path, c.body, w.Body, want)
			}
			continue
		}
		if got := firstProblem(t, w.Body.Bytes()); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %.200s: %s, want %s", c.path, c.body, got, c.want)
		}
	}
	if n := b.base.calls.Load() + b.refiner.calls.Load(); n != 0 {
		t.Errorf("%d images were computed", n)
	}
	if n := b.imageCount(t); n != 0 {
		t.Errorf("%d images were left", n)
	}
}

// firstProblem is the place and the words of the first problem of an answer.
func firstProblem(t *testing.T, body []byte) string {
	t.Helper()
	var answer struct{ Detail []problem }
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Detail) == 0 {
		t.Errorf("%v: %s", err, body)
		return ""
	}
	var loc []string
	for _, part := range answer.Detail[0].Loc {
		text, _ := json.Marshal(part)
		loc = append(loc, strings.Trim(string(text), `"`))
	}
	return "[" + strings.Join(loc, " ") + "] " + answer.Detail[0].Msg
}

// An error of the computation ends the request, the jobs after it, and is told in A1111's shape too.
func TestSDComputationFails(t *testing.T) {
	b := sdBench(t, nil)
	b.base.run = func(_ context.Context, r sdxl.Request) error {
		if *r.Seed == 6 {
			return &sdxl.RequestError{Field: "num_inference_steps", Value: 3, Allowed: "other"}
		}
		return nil
	}
	w := b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","seed":5,"steps":3,"width":64,"height":64,"n_iter":4}`)
	if got := firstProblem(t, w.Body.Bytes()); w.Code != http.StatusUnprocessableEntity || got != "[body steps] Value error, must be other" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.do("GET", "/v1/jobs?state=queued,running", ""); w.Body.String() != `{"jobs":[]}` {
		t.Errorf("jobs: %s", w.Body)
	}
	for b.imageCount(t) != 0 { // the job that was cancelled may be at its file, which it removes then
		time.Sleep(time.Millisecond)
	}
}

// Without a refiner and adapters there are none to name.
func TestSDWithout(t *testing.T) {
	b := sdBench(t, func(c *Config) { c.Specs = engine.Specs{Base: c.Specs.Base} })
	w := b.do("POST", "/sdapi/v1/txt2img", `{"refiner_checkpoint":"fake-refiner","refiner_switch_at":0.8}`)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "must be one of fake-base\"") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"a <lora:x:0.5>"}`)
	if want := `{"error":"bad_value","detail":"prompt has <lora:x:0.5>: this server has no folder of adapters (-lora-dir)","body":"","errors":""}`; w.Code != http.StatusBadRequest || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// No body makes the reader panic, or is an error of the server's own.
func FuzzSDRequest(f *testing.F) {
	b := newBench(f, func(c *Config) { c.Schedulers = scheduler.Names() })
	f.Cleanup(func() {
		if err := b.Close(); err != nil {
			f.Error(err)
		}
	})
	photo := sdPNG(f, 8, 8)
	for _, body := range []string{
		`{"prompt":"<lora:a:1>","infotext":"a\nSteps: 1, Sampler: x, Size: 8x8, Model: m","override_settings":{"sd_vae":1,"x":{}}}`,
		`{"alwayson_scripts":{"ControlNet":{"args":[null,{"enabled":false}]}},"styles":[],"script_args":[1],"seed":"7","refiner_checkpoint":"fake-refiner"}`,
		`{"init_images":["` + photo + `"],"resize_mode":1,"width":64,"height":128,"denoising_strength":"0.5"}`,
		`{"init_images":["` + photo + `"],"mask":"` + photo + `","mask_blur_x":1,"mask_blur":3,"inpainting_fill":2,"inpaint_full_res":"no","inpainting_mask_invert":true,"width":64,"height":64}`,
		`{"enable_hr":true,"hr_scale":1.5,"hr_resize_x":64,"hr_prompt":"b","hr_sampler_name":"Euler","firstphase_width":8,"firstphase_height":8}`,
		`{"alwayson_scripts":{"controlnet":{"args":[{"model":"a","image":[{"image":"` + photo + `","mask":"x"}],"module":"canny","control_mode":2},{"image":["a","b"],"model":"None"}]}},"infotext":"a\nSteps: 1, Seed: 2, ControlNet 0: \"Module: canny, Weight: 1\", Hires upscale: 2"}`,
	} {
		f.Add(false, []byte(body))
		f.Add(true, []byte(body))
	}
	f.Fuzz(func(t *testing.T, img2img bool, body []byte) {
		fields, p := parseFields(body, "application/json")
		if p != nil {
			return
		}
		q, err := b.sdRequest(t.Context(), "", fields, img2img)
		if err == nil {
			_, err = b.sdBatches(q)
		}
		if err != nil && classify(err).kind == internal {
			t.Errorf("%s: %v", body, err)
		}
		if !json.Valid(sdEcho(fields, img2img)) {
			t.Errorf("%s is repeated as %s", body, sdEcho(fields, img2img))
		}
	})
}
