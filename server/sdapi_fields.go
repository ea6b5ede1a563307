package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
)

// refuse is the error of what goxl has not, by the name of the field that asks for it.
func (q *sdRequest) refuse() error {
	f := q.fields
	missing := func(name, what string) error {
		return &failure{kind: notImplemented, detail: fmt.Sprintf("%s: goxl has no %s", name, what)}
	}
	for _, b := range []struct{ name, what string }{
		{"enable_hr", "second pass at a higher resolution yet"}, {"restore_faces", "restoration of faces"}, {"tiling", "tiled images"},
	} {
		if f.boolean(b.name, false) {
			return missing(b.name, b.what)
		}
	}
	for _, t := range []struct{ name, what string }{
		{"mask", "inpainting yet"}, {"latent_mask", "inpainting yet"}, {"firstpass_image", "second pass yet"},
	} {
		if text := f.optionalText(t.name); text != nil && *text != "" {
			return missing(t.name, t.what)
		}
	}
	for _, name := range []string{"seed_resize_from_w", "seed_resize_from_h"} {
		if v := f.given(name); v != nil && f.number(name, interval{min: -1, max: maxCoord}, -1) > 0 {
			return missing(name, "noise of another size")
		}
	}
	if m := f.number("initial_noise_multiplier", interval{min: 0, max: 10}, 1); m != 1 {
		return missing("initial_noise_multiplier", "other multiplier than 1")
	}
	if script := f.optionalText("script_name"); script != nil && *script != "" {
		return sdRefuse(noScript, "Script", " '%s' not found", beginning(*script))
	}
	f.notes.items("styles", 0, sdMostStyles, &jsonschema.Schema{Type: "string"})
	for i, raw := range f.items("styles", sdMostStyles) {
		f.item("styles", i, raw, "string_type", "string", func(one *fields) {
			if one.text("styles"); len(one.problems) == 0 {
				one.report("styles", "value_error", "Value error, there is no such style: this server has none", nil)
			}
		})
	}
	return q.refuseScripts()
}

const sdMostStyles = 32

// refuseScripts is the error of scripts that have something to do.
func (q *sdRequest) refuseScripts() error {
	const name = "alwayson_scripts"
	f := q.fields
	f.notes.form(name, &jsonschema.Schema{Type: "object"})
	raw := f.given(name)
	if raw == nil {
		return nil
	}
	var scripts map[string]struct{ Args json.RawMessage }
	if raw[0] != '{' || json.Unmarshal(raw, &scripts) != nil {
		f.report(name, "dict_type", "Input should be a valid dictionary", nil)
		return nil
	}
	for _, script := range slices.Sorted(maps.Keys(scripts)) {
		var units []json.RawMessage
		switch kind := strings.ToLower(script); {
		case kind != "controlnet" && kind != "ip-adapter":
			return sdRefuse(noScript, "always on script", " %s not found", beginning(script))
		case len(scripts[script].Args) > 0 && json.Unmarshal(scripts[script].Args, &units) != nil:
			f.report(name, "list_type", "Input should be a valid list: args of "+kind, nil)
			return nil
		}
		for i, unit := range units {
			var on struct{ Enabled *bool }
			if json.Unmarshal(unit, &on) == nil && (on.Enabled == nil || *on.Enabled) && string(unit) != "null" && string(unit) != "false" {
				return sdRefuse(notImplemented, "alwayson_scripts", ".%s.args[%d] is enabled: goxl has no ControlNet and no IP-Adapter yet", beginning(script), i)
			}
		}
	}
	return nil
}

// ineffective lists the fields of which nothing comes, but for those that say nothing.
func (q *sdRequest) ineffective() {
	f := q.fields
	for _, field := range []struct {
		name    string
		nothing []string // values that say nothing, in JSON
	}{
		{"s_min_uncond", []string{"0", "0.0"}}, {"s_churn", []string{"0", "0.0"}}, {"s_tmin", []string{"0", "0.0"}}, {"s_tmax", []string{"0", "0.0"}},
		{"s_noise", []string{"1", "1.0"}}, {"image_cfg_scale", nil}, {"firstphase_width", []string{"0"}}, {"firstphase_height", []string{"0"}},
		{"comments", []string{"{}"}},
	} {
		if raw := f.given(field.name); raw != nil && !slices.Contains(field.nothing, string(raw)) {
			q.ignored = append(q.ignored, field.name)
		}
	}
	f.nameUnknown(q)
}

// nameUnknown lists the fields that the route has not. Those of the other one, which some clients send too, say nothing
// where they have their defaults.
func (f *fields) nameUnknown(q *sdRequest) {
	own, other := map[string]string{"num_inference_steps": ""}, map[string]string{}
	for _, field := range sdFields(q.img2img) {
		own[field.name] = field.otherwise
	}
	for _, field := range sdFields(!q.img2img) {
		other[field.name] = field.otherwise
	}
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if _, known := own[name]; !known && (other[name] == "" || f.given(name) != nil && string(f.values[name]) != other[name]) {
			q.ignored = append(q.ignored, name)
		}
	}
}

// sdInfotextFields are fields by infotext's names of them.
var sdInfotextFields = map[string]string{
	imagefile.InfotextPrompt: "prompt", imagefile.InfotextNegative: "negative_prompt", "Steps": "steps", "Sampler": "sampler_name", "Schedule type": "scheduler",
	"CFG scale": "cfg_scale", "Seed": "seed", "Size-1": "width", "Size-2": "height", "Denoising strength": "denoising_strength", "Eta": "eta",
	"Variation seed": "subseed", "Variation seed strength": "subseed_strength", "Seed resize from-1": "seed_resize_from_w", "Seed resize from-2": "seed_resize_from_h",
	"Refiner": "refiner_checkpoint", "Refiner switch at": "refiner_switch_at",
}

// sdInfotextOptions are options by infotext's names of them.
var sdInfotextOptions = map[string]string{
	"Clip skip": "CLIP_stop_at_last_layers", "Model": "sd_model_checkpoint", "Emphasis": "emphasis", "Eta DDIM": "eta_ddim", "RNG": "randn_source",
	"ENSD": "eta_noise_seed_delta",
}

// sdInfotextTexts are those of both that are texts, also where these look like numbers.
var sdInfotextTexts = []string{
	"prompt", "negative_prompt", "sampler_name", "scheduler", "refiner_checkpoint", "sd_model_checkpoint", "emphasis", "randn_source",
}

// sdInfotextFacts say nothing of what is to be done.
var sdInfotextFacts = []string{"Version", "Interrupted", "Model hash", "Lora hashes", "TI hashes", "VAE hash"}

var sdNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

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
	for key, value := range imagefile.ParseInfotext(*text) {
		name := cmp.Or(sdInfotextFields[key], sdInfotextOptions[key])
		raw := json.RawMessage(value)
		if slices.Contains(sdInfotextTexts, name) || !sdNumber.MatchString(value) {
			raw, _ = json.Marshal(value) // a string has a form
		}
		if sdInfotextFields[key] != "" {
			if _, given := f.values[name]; !given {
				f.values[name] = raw
			}
		} else if name != "" {
			if _, given := override[name]; !given {
				override[name] = raw
			}
		} else if !slices.Contains(sdInfotextFacts, key) {
			q.ignored = append(q.ignored, "infotext."+key)
		}
	}
	slices.Sort(q.ignored)
	if len(override) > 0 {
		f.values["override_settings"], _ = json.Marshal(override) // of JSON
	}
}
