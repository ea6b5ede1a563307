package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// sdSlider is a number of a preprocessor, as the extension sd-webui-controlnet shows it.
type sdSlider struct {
	Name  string  `json:"name"`
	Value float64 `json:"value" jsonschema:"What it is without a value, or with one beyond the limits."`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Step  float64 `json:"step"`
}

// sdModule is a preprocessor by the extension's name of it, which is the library's.
type sdModule struct {
	name, label string
	tags        []string // control types that it is for
	resolution  bool     // it reads processor_res
	sliders     []sdSlider
}

// sdResolution is the shorter side, in pixels, that a preprocessor works at.
var sdResolution = sdSlider{"Resolution", 512, 64, 2048, 8}

// sdModuleNone is the module that changes nothing.
const sdModuleNone = "none"

// sdModules are the extension's preprocessors that need no model (scripts/preprocessor), as far as the library has them.
var sdModules = []sdModule{
	{name: sdModuleNone},
	{"canny", "canny", []string{"Canny"}, true, []sdSlider{{"Low Threshold", 100, 1, 255, 1}, {"High Threshold", 200, 1, 255, 1}}},
	{"tile_resample", "tile_resample", []string{"Tile"}, false, []sdSlider{{"Down Sampling Rate", 1, 1, 8, 0.01}}},
	{"recolor_luminance", "recolor_luminance", []string{"Recolor"}, false, []sdSlider{{"Gamma Correction", 1, 0.1, 2, 0.001}}},
	{"invert", "invert (from white bg & black line)", []string{"Canny", "Lineart", "Scribble", "MLSD"}, false, nil},
	{"blur_gaussian", "blur_gaussian", []string{"Tile"}, true, []sdSlider{{"Sigma", 9, 0.01, 64, 0.01}}},
	{"recolor_intensity", "recolor_intensity", []string{"Recolor"}, false, []sdSlider{{"Gamma Correction", 1, 0.1, 2, 0.001}}},
}

// sdImagePrompts are the extension's names of what reads the image of an IP-Adapter. Which image encoder that is the
// adapter says here.
var sdImagePrompts = []sdModule{
	{"ip-adapter-auto", "ip-adapter-auto", []string{sdIPAdapterTag}, false, nil},
	{"ip-adapter_clip_sdxl_plus_vith", "ip-adapter_clip_sdxl_plus_vith", []string{sdIPAdapterTag}, false, nil},
	{"ip-adapter_clip_sdxl", "ip-adapter_clip_g", []string{sdIPAdapterTag}, false, nil},
	{"ip-adapter_clip_sd15", "ip-adapter_clip_h", []string{sdIPAdapterTag}, false, nil},
}

// sdAllModules are both.
func sdAllModules() []sdModule { return slices.Concat(sdModules, sdImagePrompts) }

// called reports whether a name is the module's, or the label of it.
func (m sdModule) called(name string) bool { return name == m.name || name == m.label && name != "" }

// shown is the label, or the name where there is none.
func (m sdModule) shown() string {
	if m.label == "" {
		return m.name
	}
	return m.label
}

// module reads the name of a preprocessor, none without one.
func (f *fields) module(name string) sdModule {
	known := []string{}
	for _, m := range sdAllModules() {
		known = append(known, m.name)
	}
	f.notes.form(name, &jsonschema.Schema{Type: "string", Examples: values(known)})
	text := or(f.optionalText(name), sdModuleNone)
	for _, m := range sdAllModules() {
		if m.called(text) || text == "" || m.name == sdModuleNone && strings.EqualFold(text, m.name) {
			return m
		}
	}
	why := ""
	switch err := preprocess.Check(text); {
	case strings.HasPrefix(text, "ip-adapter"), strings.HasPrefix(text, "instant_id"):
		why = ": goxl has no recognition of faces"
	case err != nil && !strings.Contains(text, ":"):
		why = ": " + err.Error()
	}
	f.report(name, "value_error", fmt.Sprintf("Value error, must be one of %s%s", strings.Join(known, ", "), why), nil)
	f.problems[len(f.problems)-1].logged = "Value error, no such module"
	return sdModules[0]
}

// preprocessor is the library's name of a module, with its numbers where they are not its own; "" is nothing.
func (m sdModule) preprocessor(thresholds [2]float64) string {
	if m.name == sdModuleNone {
		return ""
	}
	text, own := m.name, true
	for i, s := range m.sliders {
		v := thresholds[i]
		switch {
		case v < s.Min || v > s.Max: // as in the extension
			v = s.Value
		case s.Step == 1:
			v = float64(int(v))
		}
		own = own && v == s.Value
		text += ":" + strconv.FormatFloat(v, 'f', -1, 64)
	}
	if own {
		return m.name
	}
	return text
}
