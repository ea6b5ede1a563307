package server

import (
	"cmp"
	"net/http"
	"path/filepath"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server/page"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// servePage answers GET / and GET /page/{file} with the web page and what it loads.
func (s *Server) servePage(x *exchange) error {
	if !page.Serve(&contentWriter{exchange: x}, x.r, cmp.Or(x.r.PathValue("file"), page.Index)) {
		return &failure{kind: notFound}
	}
	return nil
}

// modelOptions are what requests to a model may leave out, and what they get then.
type modelOptions struct {
	Name      string  `json:"name"`
	Steps     int     `json:"num_inference_steps"`
	Guidance  float64 `json:"guidance_scale"`
	Scheduler string  `json:"scheduler" jsonschema:"The class's name where no name stands for it."`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Strength  float64 `json:"strength"`

	Refiner *modelOptions `json:"refiner,omitempty" jsonschema:"Of the model; a refiner itself has none."`
}

// limitOptions are what one request may ask for.
type limitOptions struct {
	Pixels   int `json:"pixels" jsonschema:"Width × height."`
	Enlarged int `json:"upscaled_pixels" jsonschema:"Width × height of what the task upscale gives."`
	Side     int `json:"side"`
	Multiple int `json:"multiple" jsonschema:"What a side must be a multiple of."`
	Steps    int `json:"num_inference_steps"`
	Images   int `json:"n"`
	Upload   int `json:"upload_bytes"`
}

// optionsView is what the fields of a request may be.
type optionsView struct {
	Models        []modelOptions `json:"models"`
	Refiner       *modelOptions  `json:"refiner,omitempty" jsonschema:"Of the first model."`
	DenoisingEnd  float64        `json:"denoising_end,omitzero" jsonschema:"Where the base of an ensemble ends."`
	Schedulers    []string       `json:"schedulers"`
	Schedules     []string       `json:"schedules" jsonschema:"Schedule types that may follow the name of a scheduler."`
	Presets       []string       `json:"presets"`
	Preset        string         `json:"preset,omitzero"`
	PromptStyles  []prompt.Style `json:"prompt_styles"`
	PromptStyle   prompt.Style   `json:"prompt_style"`
	LoRAs         []string       `json:"loras"`
	Embeddings    []string       `json:"textual_inversions"`
	Controls      []string       `json:"controls" jsonschema:"ControlNets, as controls names them."`
	T2IAdapters   []string       `json:"t2i_adapters"`
	IPAdapters    []string       `json:"ip_adapters"`
	ImageEncoders []string       `json:"image_encoders" jsonschema:"Of IP-Adapters."`
	Upscalers     []string       `json:"upscalers" jsonschema:"Of hires, and but for latent ones of the task upscale: those that need no file, then those of the server's folder."`
	Preprocessors []string       `json:"control_preprocessors" jsonschema:"Numbers may follow, as canny:100:200."`
	Modes         [][]string     `json:"control_modes" jsonschema:"Names of the kinds of a union's control images, by the kind's number."`
	Resizes       []string       `json:"resize_modes"`
	Fills         []string       `json:"inpaint_fills"`
	Formats       []string       `json:"output_formats"`
	Limits        limitOptions   `json:"limits"`
	Version       string         `json:"version,omitzero"`
}

// listOptions answers GET /v1/options: what the fields of a request may be.
func (s *Server) listOptions(x *exchange) error {
	c := &s.config
	answer := optionsView{
		Schedulers: c.Schedulers, Schedules: scheduler.Schedules(),
		Presets: sdxl.PresetNames(), Preset: c.Preset,
		PromptStyles: prompt.Styles(), PromptStyle: cmp.Or(c.PromptStyle, prompt.Plain),
		LoRAs: []string{}, Embeddings: []string{}, Formats: outputFormats,
		Version: c.Version,
	}
	for _, m := range c.allModels() {
		of := optionsOf(m.Name, m.Specs.Base)
		if r := m.Specs.Refiner; r != nil {
			of.Refiner = new(optionsOf(filepath.Base(r.Path), r))
			answer.DenoisingEnd = sdxl.DefaultDenoisingEnd
		}
		answer.Models = append(answer.Models, of)
	}
	answer.Refiner = answer.Models[0].Refiner
	if c.LoRADir != "" {
		names, err := lora.Names(c.LoRADir)
		if err != nil {
			return &failure{kind: internal, detail: "The server's folder of adapters can't be read", err: err}
		}
		answer.LoRAs = append(answer.LoRAs, names...)
	}
	if err := s.listImages(&answer); err != nil {
		return err
	}
	for _, t := range c.TextualInversions {
		answer.Embeddings = append(answer.Embeddings, t.Name)
	}
	costs := s.costs.of(answer.Models[0].Name)
	pixels := s.maxPixels(costs)
	answer.Limits = limitOptions{
		Pixels: pixels, Enlarged: s.maxEnlarged(costs), Side: longestSide(pixels), Multiple: max(c.Specs.Base.VAE.ScaleFactor(), 8),
		Steps: s.mostSteps(), Images: c.MaxBatch, Upload: maxUpload,
	}
	return x.reply(http.StatusOK, answer)
}

// optionsOf are the defaults of a model, whose name a request may give.
func optionsOf(name string, spec *sdxl.Spec) modelOptions {
	info := spec.Info()
	return modelOptions{
		Name: name, Steps: info.Steps, Guidance: info.Guidance, Scheduler: cmp.Or(info.Sampler, info.Scheduler),
		Width: info.Width, Height: info.Height, Strength: info.Strength,
	}
}
