package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/imagefile"
)

// sdInfotextFields are fields by infotext's names of them.
var sdInfotextFields = map[string]string{
	imagefile.InfotextPrompt: "prompt", imagefile.InfotextNegative: "negative_prompt", "Steps": "steps", "Sampler": "sampler_name", "Schedule type": "scheduler",
	"CFG scale": "cfg_scale", "Seed": "seed", "Size-1": "width", "Size-2": "height", "Denoising strength": "denoising_strength", "Eta": "eta",
	"Variation seed": "subseed", "Variation seed strength": "subseed_strength", "Seed resize from-1": "seed_resize_from_w", "Seed resize from-2": "seed_resize_from_h",
	"Refiner": "refiner_checkpoint", "Refiner switch at": "refiner_switch_at",
}

// sdInfotextHires are those of txt2img alone.
var sdInfotextHires = map[string]string{
	"Hires upscale": "hr_scale", "Hires resize-1": "hr_resize_x", "Hires resize-2": "hr_resize_y", "Hires steps": "hr_second_pass_steps", "Hires upscaler": "hr_upscaler",
	"Hires sampler": "hr_sampler_name", "Hires schedule type": "hr_scheduler", "Hires checkpoint": "hr_checkpoint_name", "Hires prompt": "hr_prompt",
	"Hires negative prompt": "hr_negative_prompt",
}

// sdInfotextMask are those of img2img alone, which A1111's parser takes for granted where an infotext does not say
// otherwise.
var sdInfotextMask = map[string]string{
	"Mask blur": "mask_blur", "Masked content": "inpainting_fill", "Inpaint area": "inpaint_full_res", "Masked area padding": "inpaint_full_res_padding",
	"Mask mode": "inpainting_mask_invert",
}

// sdInfotextWords are the values of fields that infotext has words for.
var sdInfotextWords = map[string]map[string]string{
	"Masked content": {"fill": "0", "original": "1", "latent noise": "2", "latent nothing": "3"},
	"Inpaint area":   {"Whole picture": "false", "Only masked": "true"},
	"Mask mode":      {"Inpaint masked": "0", "Inpaint not masked": "1"},
}

// sdInfotextOptions are options by infotext's names of them.
var sdInfotextOptions = map[string]string{
	"Clip skip": "CLIP_stop_at_last_layers", "Model": "sd_model_checkpoint", "Emphasis": "emphasis", "Eta DDIM": "eta_ddim", "RNG": "randn_source",
	"ENSD": "eta_noise_seed_delta",
}

// sdInfotextTexts are those that are texts, also where these look like numbers.
var sdInfotextTexts = []string{
	"prompt", "negative_prompt", "sampler_name", "scheduler", "refiner_checkpoint", "sd_model_checkpoint", "emphasis", "randn_source",
	"hr_prompt", "hr_negative_prompt", "hr_upscaler", "hr_sampler_name", "hr_scheduler", "hr_checkpoint_name",
}

// sdInfotextFacts say nothing of what is to be done.
var sdInfotextFacts = []string{"Version", "Interrupted", "Model hash", "Lora hashes", "TI hashes", "VAE hash"}

var sdNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// sdInfotextKeys are the fields of a route by infotext's names of them.
func sdInfotextKeys(img2img bool) map[string]string {
	keys, own := maps.Clone(sdInfotextFields), sdInfotextHires
	if img2img {
		own = sdInfotextMask
	}
	maps.Copy(keys, own)
	return keys
}

// readInfotext takes from the field infotext what the other fields do not give.
func (q *sdRequest) readInfotext() {
	f := q.fields
	text := f.optionalText("infotext")
	if text == nil || *text == "" {
		return
	}
	override := map[string]json.RawMessage{}
	if raw := f.given("override_settings"); raw != nil && json.Unmarshal(raw, &override) != nil {
		return // which is reported where it is read
	}
	values, keys := imagefile.ParseInfotext(*text), sdInfotextKeys(q.img2img)
	if q.img2img {
		for key, value := range imagefile.FillInfotext(values) {
			if sdInfotextMask[key] != "" {
				values[key] = fmt.Sprint(value)
			}
		}
	}
	second := false
	for key, value := range values {
		name := cmp.Or(keys[key], sdInfotextOptions[key])
		raw := json.RawMessage(cmp.Or(sdInfotextWords[key][value], value))
		if slices.Contains(sdInfotextTexts, name) || !sdNumber.MatchString(value) && sdInfotextWords[key][value] == "" {
			raw, _ = json.Marshal(value) // a string has a form
		}
		if keys[key] != "" {
			second = second || sdInfotextHires[key] != ""
			f.otherwise(name, raw)
		} else if name != "" {
			if _, given := override[name]; !given {
				override[name] = raw
			}
		} else if sdUnitKey.MatchString(key) {
			if q.infotextUnits == nil {
				q.infotextUnits = map[string]string{}
			}
			q.infotextUnits[key] = value
		} else if !slices.Contains(sdInfotextFacts, key) {
			q.ignored = append(q.ignored, "infotext."+key)
		}
	}
	if second && !q.img2img {
		f.otherwise("enable_hr", json.RawMessage("true"))
	}
	slices.Sort(q.ignored)
	if len(override) > 0 {
		f.values["override_settings"], _ = json.Marshal(override) // of JSON
	}
}

// otherwise gives a field a value if its client does not.
func (f *fields) otherwise(name string, raw json.RawMessage) {
	if _, given := f.values[name]; !given {
		f.values[name] = raw
	}
}

// sdInfotextExtra gives what infotext says beside what sdInfo has members for, as A1111's extra_generation_params: numbers
// as numbers, a size as its text.
func sdInfotextExtra(text string, into map[string]any) {
	values := imagefile.ParseInfotext(text)
	for key, value := range values {
		base, first := strings.CutSuffix(key, "-1")
		switch {
		case sdInfotextHires[key] == "" && sdInfotextMask[key] == "" && key != "Denoising strength" && !strings.HasPrefix(key, "ControlNet "):
		case first && values[base+"-2"] != "":
			into[base] = value + "x" + values[base+"-2"]
		case strings.HasSuffix(key, "-2") && values[strings.TrimSuffix(key, "-2")+"-1"] != "":
		case sdNumber.MatchString(value):
			into[key] = json.RawMessage(value)
		default:
			into[key] = value
		}
	}
}
