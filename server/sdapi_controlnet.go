package server

import (
	"net/http"
	"slices"
	"strings"

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
