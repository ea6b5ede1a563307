package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"net/http"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/controlnet/preprocess"
	"github.com/goxl/goxl/nn/weights"
)

// The routes of the extension sd-webui-controlnet (scripts/api.py).

// sdControlNetVersion is the version of the extension's API.
const sdControlNetVersion = 3

// Answers of these routes.
type (
	sdControlModels struct {
		Models []string `json:"model_list" jsonschema:"ControlNets, T2I-Adapters and IP-Adapters of the server's folders."`
	}
	sdControlModules struct {
		Modules []string                  `json:"module_list"`
		Details map[string]sdModuleDetail `json:"module_detail" jsonschema:"By the names of the list."`
	}
	sdModuleDetail struct {
		ModelFree bool       `json:"model_free" jsonschema:"Whether a unit with the module has no model."`
		Sliders   []sdSlider `json:"sliders"`
	}
	sdControlTypes struct {
		Types map[string]sdControlType `json:"control_types"`
	}
	sdControlType struct {
		Modules       []string `json:"module_list"`
		Models        []string `json:"model_list" jsonschema:"None, and those whose names are of the type."`
		DefaultModule string   `json:"default_option"`
		DefaultModel  string   `json:"default_model"`
	}
	sdControlSettings struct {
		Units int `json:"control_net_unit_count" jsonschema:"How many units a request may have."`
	}
	sdControlVersion struct {
		Version int `json:"version"`
	}
	sdDetected struct {
		Images []string `json:"images" jsonschema:"PNG in base64."`
		Info   string   `json:"info"`
	}
)

// sdControlRoutes are the routes.
func (s *Server) sdControlRoutes() []route {
	return []route{
		{"GET", "/controlnet/version", func(x *exchange) error { return x.reply(http.StatusOK, sdControlVersion{sdControlNetVersion}) }},
		{"GET", "/controlnet/settings", func(x *exchange) error { return x.reply(http.StatusOK, sdControlSettings{maxControls}) }},
		{"GET", "/controlnet/model_list", func(x *exchange) error {
			models, err := s.sdControlModels()
			if err != nil {
				return err
			}
			return x.reply(http.StatusOK, sdControlModels{models})
		}},
		{"GET", "/controlnet/module_list", s.sdModuleList},
		{"GET", "/controlnet/control_types", s.sdControlTypes},
		{"POST", "/controlnet/detect", s.sdDetect},
	}
}

// sdControlModels are the names of models that units may have.
func (s *Server) sdControlModels() (models []string, err error) {
	models = []string{}
	for _, files := range []modelFiles{s.controlFiles(weights.ControlNet), s.controlFiles(weights.T2IAdapter), s.ipAdapterFiles(weights.IPAdapter)} {
		names, err := files.all()
		if err != nil {
			return nil, err
		}
		models = append(models, names...)
	}
	slices.Sort(models)
	return slices.Compact(models), nil
}

// sdAliasNames reads whether modules have their labels for names.
func (f *fields) sdAliasNames() bool { return f.boolean("alias_names", false) }

func (s *Server) sdModuleList(x *exchange) error {
	f := queryFields(x.r)
	labels := f.sdAliasNames()
	if err := f.err(); err != nil {
		return err
	}
	answer := sdControlModules{Modules: []string{}, Details: map[string]sdModuleDetail{}}
	for _, m := range sdAllModules() {
		name := m.name
		if labels {
			name = m.shown()
		}
		detail := sdModuleDetail{Sliders: []sdSlider{}}
		if m.resolution {
			detail.Sliders = append(detail.Sliders, sdResolution)
		}
		detail.Sliders = append(detail.Sliders, m.sliders...)
		answer.Modules, answer.Details[name] = append(answer.Modules, name), detail
	}
	return x.reply(http.StatusOK, answer)
}

// Control types that are more than a part of names.
const (
	sdAllTag       = "All"
	sdIPAdapterTag = "IP-Adapter"
)

// sdControlTags are the extension's control types that ControlNets, T2I-Adapters and IP-Adapters of SDXL are for, with
// what the names of their models have of it, in small letters. Those of which no module is here take a control image that
// was made elsewhere.
var sdControlTags = []struct {
	name  string
	parts []string
}{
	{sdAllTag, []string{""}}, {"Canny", []string{"canny", "union"}}, {"Depth", []string{"depth", "union"}}, {sdIPAdapterTag, []string{"ip-adapter", "ip_adapter", "ipadapter"}},
	{"Inpaint", []string{"inpaint", "union"}}, {"Lineart", []string{"lineart", "union"}}, {"MLSD", []string{"mlsd", "union"}}, {"NormalMap", []string{"normalmap", "normal", "union"}},
	{"OpenPose", []string{"openpose", "densepose", "union"}}, {"Recolor", []string{"recolor"}}, {"Scribble", []string{"scribble", "sketch", "union"}},
	{"Segmentation", []string{"segmentation", "seg", "union"}}, {"SoftEdge", []string{"softedge", "union"}},
	{"T2I-Adapter", []string{"t2i-adapter", "t2i_adapter", "t2iadapter", "t2ia"}}, {"Tile", []string{"tile", "blur", "union"}},
}

func (s *Server) sdControlTypes(x *exchange) error {
	models, err := s.sdControlModels()
	if err != nil {
		return err
	}
	answer := sdControlTypes{map[string]sdControlType{}}
	for _, tag := range sdControlTags {
		of := sdControlType{Modules: []string{}, Models: []string{"None"}}
		for _, m := range sdAllModules() {
			if m.name == sdModuleNone || tag.name == sdAllTag || slices.Contains(m.tags, tag.name) {
				of.Modules = append(of.Modules, m.shown())
			}
		}
		for _, model := range models {
			if slices.ContainsFunc(tag.parts, func(part string) bool { return strings.Contains(strings.ToLower(model), part) }) {
				of.Models = append(of.Models, model)
			}
		}
		of.DefaultModule, of.DefaultModel = of.Modules[0], of.Models[0]
		if tag.name != sdAllTag {
			of.DefaultModule, of.DefaultModel = of.Modules[min(1, len(of.Modules)-1)], of.Models[min(1, len(of.Models)-1)]
		}
		answer.Types[tag.name] = of
	}
	return x.reply(http.StatusOK, answer)
}

// sdDetection is what POST /controlnet/detect asks for.
type sdDetection struct {
	module     sdModule
	images     []json.RawMessage
	resolution int // of the shorter side; 0 is the image's own
	thresholds [2]float64
}

// mostDetected is how many images one request may have.
const mostDetected = 16

// sdDetectImages is the field of the images.
const sdDetectImages = "controlnet_input_images"

// sdDetection reads its fields.
func (f *fields) sdDetection() (d sdDetection) {
	d.module = f.module("controlnet_module")
	f.rename("controlnet_images", sdDetectImages) // as the webuiapi client has it
	f.notes.items(sdDetectImages, 1, mostDetected, &jsonschema.Schema{Type: "string"})
	f.notes.need(sdDetectImages)
	if d.images = f.items(sdDetectImages, mostDetected); len(d.images) == 0 && len(f.problems) == 0 {
		f.report(sdDetectImages, "value_error", "Value error, No image selected", nil)
	}
	number := interval{min: -1, max: 1e6}
	d.resolution = int(f.number("controlnet_processor_res", number, -1))
	if r := sdResolution; float64(d.resolution) < r.Min || float64(d.resolution) > r.Max {
		d.resolution = int(r.Value)
	}
	if !d.module.resolution {
		d.resolution = 0
	}
	d.thresholds = [2]float64{f.number("controlnet_threshold_a", number, -1), f.number("controlnet_threshold_b", number, -1)}
	f.items("controlnet_masks", mostDetected)
	f.boolean("low_vram", false)
	if slices.ContainsFunc(sdImagePrompts, func(m sdModule) bool { return m.name == d.module.name }) {
		f.report("controlnet_module", "value_error", "Value error, Module not supported: it makes no image", nil)
	}
	return d
}

// apply makes a control image.
func (d sdDetection) apply(img *image.NRGBA) (*image.NRGBA, error) {
	if size := img.Rect.Size(); d.resolution > 0 {
		k := float64(d.resolution) / float64(min(size.X, size.Y))
		img = resample.Lanczos(img, max(1, int(float64(size.X)*k+0.5)), max(1, int(float64(size.Y)*k+0.5)))
	}
	name := d.module.preprocessor(d.thresholds)
	if name == "" {
		return img, nil
	}
	return preprocess.Apply(name, img)
}

// sdDetect answers POST /controlnet/detect with the control images that a module makes.
func (s *Server) sdDetect(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	d := f.sdDetection()
	answer := sdDetected{Images: []string{}, Info: "Success"}
	for i, raw := range d.images {
		if len(f.problems) > 0 {
			break
		}
		f.item(sdDetectImages, i, raw, "string_type", "string", func(one *fields) {
			data := one.sdImage(sdDetectImages)
			if data == nil {
				return
			}
			encoded, err := s.sdDetectOne(x.r.Context(), d, data)
			if err != nil {
				one.sdBadImage(sdDetectImages, raw, err)
				return
			}
			answer.Images = append(answer.Images, encoded)
		})
	}
	if ctx := x.r.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := f.err(); err != nil {
		return err
	}
	return x.reply(http.StatusOK, answer)
}

// sdDetectOne is the control image of an image as PNG in base64.
func (s *Server) sdDetectOne(ctx context.Context, d sdDetection, data []byte) (encoded string, err error) {
	err = s.sdDecode(ctx, data, func(img *image.NRGBA, _ []imagefile.Text) error {
		if size := img.Rect.Size(); max(size.X, size.Y) > maxDetectedAspect*min(size.X, size.Y) {
			return fmt.Errorf("it has %d×%d pixels: no side may be more than %d times the other", size.X, size.Y, maxDetectedAspect)
		}
		out, err := d.apply(img)
		if err != nil {
			return err
		}
		png, err := imagefile.Encode(out, nil)
		encoded = base64.StdEncoding.EncodeToString(png)
		return err
	})
	return encoded, err
}

// maxDetectedAspect limits how long the longer side may become.
const maxDetectedAspect = 8
