package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// sdRoutes are those of A1111's API. What its clients send is read by sdRequest; the routes that only tell what there is
// are in sdapi_lists.go.
func (s *Server) sdRoutes() []route {
	routes := []route{
		{"POST", "/sdapi/v1/txt2img", func(x *exchange) error { return s.sdGenerate(x, false) }},
		{"POST", "/sdapi/v1/img2img", func(x *exchange) error { return s.sdGenerate(x, true) }},
		{"GET", "/sdapi/v1/progress", s.sdProgress},
		{"POST", "/sdapi/v1/interrupt", s.sdInterrupt},
		{"POST", "/sdapi/v1/skip", s.sdSkip},
		{"GET", "/sdapi/v1/options", s.sdGetOptions},
		{"POST", "/sdapi/v1/options", s.sdSetOptions},
		{"POST", "/sdapi/v1/png-info", s.sdPNGInfo},
		{"POST", "/sdapi/v1/extra-single-image", s.sdExtraSingle},
		{"POST", "/sdapi/v1/extra-batch-images", s.sdExtraBatch},
		{"POST", "/sdapi/v1/interrogate", func(*exchange) error {
			return &failure{kind: notImplemented, detail: "interrogate: goxl has no model that describes images"}
		}},
		{"GET", "/internal/ping", func(x *exchange) error { return x.reply(http.StatusOK, struct{}{}) }},
		{"POST", "/internal/progress", s.sdTaskProgress},
		{"GET", "/internal/pending-tasks", s.sdPending},
	}
	routes = append(routes, s.sdControlRoutes()...)
	lists := s.sdLists()
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		list := lists[name]
		routes = append(routes, route{"GET", "/sdapi/v1/" + name, func(x *exchange) error {
			answer, err := list()
			if err != nil {
				return err
			}
			return x.reply(http.StatusOK, answer)
		}})
	}
	for name, note := range sdNothingToDo {
		routes = append(routes, route{"POST", "/sdapi/v1/" + name, func(x *exchange) error {
			return x.reply(http.StatusOK, map[string]string{"info": note})
		}})
	}
	return routes
}

// sdNothingToDo are routes that change nothing here, with the reason.
var sdNothingToDo = map[string]string{
	"refresh-checkpoints": "the models are those that the server was started with",
	"refresh-vae":         "the VAE is the model's, or the one that the server was started with",
	"refresh-embeddings":  "the embeddings are those that the server was started with",
	"refresh-loras":       "the folder of adapters is read with each request",
	"unload-checkpoint":   "the model stays loaded",
	"reload-checkpoint":   "the model is loaded",
}

// isSDAPI reports whether a path is of A1111's API, whose errors have a shape of their own.
func isSDAPI(path string) bool {
	return strings.HasPrefix(path, "/sdapi/") || strings.HasPrefix(path, "/internal/") || strings.HasPrefix(path, "/controlnet/")
}

// sdFault is an error of no field.
type sdFault struct {
	Error  string `json:"error" jsonschema:"The kind."`
	Detail string `json:"detail"`
	Body   string `json:"body"`
	Errors string `json:"errors"`
}

// sdError is an error in A1111's shape. What a request has that can't be used is FastAPI's list, by A1111's names of the
// fields.
func sdError(f *failure) (status int, body any) {
	status = answers[f.kind].status
	if len(f.problems) == 0 {
		return status, sdFault{Error: string(f.kind), Detail: f.words()}
	}
	problems := slices.Clone(f.problems)
	for i := range problems {
		p := &problems[i]
		if name := sdNames[p.field()]; name != "" {
			p.Loc = []any{p.Loc[0], name}
		} else if len(p.Loc) > 1 && slices.Contains(sdUnitFields, p.Loc[1]) {
			p.Loc = []any{p.Loc[0], sdScripts}
		}
	}
	return status, map[string]any{"detail": problems}
}

// sdRefuse is a failure whose words quote the client after the part that the log has too.
func sdRefuse(k kind, logged, rest string, args ...any) error {
	return &failure{kind: k, detail: logged + fmt.Sprintf(rest, args...), err: errors.New(logged)}
}

// sdNames are A1111's names of fields by diffusers', which are those of an sdxl.RequestError.
var sdNames = map[string]string{
	"num_inference_steps": "steps", "guidance_scale": "cfg_scale", "scheduler": "sampler_name", "strength": "denoising_strength",
	"upscaler": "upscaler_1", "clip_skip": "CLIP_stop_at_last_layers", "num_images_per_prompt": "batch_size", "denoising_end": "refiner_switch_at", "aesthetic_score": "sdxl_refiner_high_aesthetic_score",
	"negative_aesthetic_score": "sdxl_refiner_low_aesthetic_score", "mask_padding": "inpaint_full_res_padding", "inpaint_fill": "inpainting_fill",
	"mask_invert": "inpainting_mask_invert", "hires": "enable_hr", "hires.scale": "hr_scale", "hires.width": "hr_resize_x", "hires.height": "hr_resize_y",
	"hires.num_inference_steps": "hr_second_pass_steps", "hires.strength": "denoising_strength", "hires.prompt": "hr_prompt", "hires.upscaler": "hr_upscaler",
}

// sdUnitFields are diffusers' names of what units become.
var sdUnitFields = []any{"controls", "t2i_adapters", "ip_adapters"}

// sdField is a field of a request, with A1111's default in JSON.
type sdField struct{ name, otherwise string }

// sdFields are the fields of txt2img or img2img, in the order in which an answer repeats them.
func sdFields(img2img bool) []sdField {
	own := sdTextFields
	if img2img {
		own = sdImageFields
	}
	return slices.Concat(sdFirstFields, own, sdLastFields)
}

var (
	sdFirstFields = []sdField{
		{"prompt", `""`}, {"negative_prompt", `""`}, {"styles", "null"}, {"seed", "-1"}, {"subseed", "-1"}, {"subseed_strength", "0"},
		{"seed_resize_from_h", "-1"}, {"seed_resize_from_w", "-1"}, {"sampler_name", "null"}, {"scheduler", "null"}, {"batch_size", "1"}, {"n_iter", "1"},
		{"steps", "50"}, {"cfg_scale", "7.0"}, {"width", "512"}, {"height", "512"}, {"restore_faces", "null"}, {"tiling", "null"},
		{"do_not_save_samples", "false"}, {"do_not_save_grid", "false"}, {"eta", "null"}, {"denoising_strength", "0.75"}, {"s_min_uncond", "null"},
		{"s_churn", "null"}, {"s_tmax", "null"}, {"s_tmin", "null"}, {"s_noise", "null"}, {"override_settings", "null"},
		{"override_settings_restore_afterwards", "true"}, {"refiner_checkpoint", "null"}, {"refiner_switch_at", "null"}, {"disable_extra_networks", "false"},
		{"firstpass_image", "null"}, {"comments", "null"},
	}
	sdTextFields = []sdField{
		{"enable_hr", "false"}, {"firstphase_width", "0"}, {"firstphase_height", "0"}, {"hr_scale", "2.0"}, {"hr_upscaler", "null"},
		{"hr_second_pass_steps", "0"}, {"hr_resize_x", "0"}, {"hr_resize_y", "0"}, {"hr_checkpoint_name", "null"}, {"hr_sampler_name", "null"},
		{"hr_scheduler", "null"}, {"hr_prompt", `""`}, {"hr_negative_prompt", `""`},
	}
	sdImageFields = []sdField{
		{"init_images", "null"}, {"resize_mode", "0"}, {"image_cfg_scale", "null"}, {"mask", "null"}, {"mask_blur_x", "4"}, {"mask_blur_y", "4"},
		{"mask_blur", "null"}, {"mask_round", "true"}, {"inpainting_fill", "0"}, {"inpaint_full_res", "true"}, {"inpaint_full_res_padding", "0"},
		{"inpainting_mask_invert", "0"}, {"initial_noise_multiplier", "null"}, {"latent_mask", "null"}, {"include_init_images", "false"},
	}
	sdLastFields = []sdField{
		{"force_task_id", "null"}, {"sampler_index", `"Euler"`}, {"script_name", "null"}, {"script_args", "[]"}, {"send_images", "true"},
		{"save_images", "false"}, {"alwayson_scripts", "{}"}, {"infotext", "null"},
	}
)

// sdEcho repeats a request, its defaults filled in.
func sdEcho(f *fields, img2img bool) json.RawMessage {
	b := []byte("{")
	for i, field := range sdFields(img2img) {
		value, given := f.values[field.name]
		if !given {
			value = json.RawMessage(field.otherwise)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, '"'), field.name...), `":`...), value...)
	}
	return append(b, '}')
}
