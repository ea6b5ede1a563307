package server

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// refuse is the error of what goxl has not, by the name of the field that asks for it.
func (q *sdRequest) refuse(s *Server) error {
	f := q.fields
	missing := func(name, what string) error {
		return &failure{kind: notImplemented, detail: fmt.Sprintf("%s: goxl has no %s", name, what)}
	}
	for _, b := range []struct{ name, what string }{
		{"restore_faces", "restoration of faces"}, {"tiling", "tiled images"},
	} {
		if f.boolean(b.name, false) {
			return missing(b.name, b.what)
		}
	}
	for _, t := range []struct{ name, what string }{
		{"latent_mask", "mask of the latents beside mask"}, {"firstpass_image", "second pass of an image that is given"},
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
	return q.readScripts(s)
}

const sdMostStyles = 32

// ineffective lists the fields of which nothing comes, but for those that say nothing.
func (q *sdRequest) ineffective() {
	f := q.fields
	for _, field := range []struct {
		name    string
		nothing []string // values that say nothing, in JSON
	}{
		{"s_min_uncond", []string{"0", "0.0"}}, {"s_churn", []string{"0", "0.0"}}, {"s_tmin", []string{"0", "0.0"}}, {"s_tmax", []string{"0", "0.0"}},
		{"s_noise", []string{"1", "1.0"}}, {"image_cfg_scale", nil}, {"comments", []string{"{}"}},
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
