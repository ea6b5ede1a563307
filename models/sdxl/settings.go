package sdxl

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// warnUnknown logs the keys of a file that goxl, like diffusers, leaves out: one record a file.
func (r specReader) warnUnknown(file string, keys []string) {
	if len(keys) == 0 {
		return
	}
	const most = 20
	shown := strings.Join(keys[:min(len(keys), most)], ", ")
	if n := len(keys) - most; n > 0 {
		shown += fmt.Sprintf(" and %d more", n)
	}
	r.log.Warn("unknown settings are left out", slog.String("component", componentOf(file)), slog.String("file", r.files.name(file)), slog.String("keys", shown))
}

// componentOf is the component that a file of a model folder configures.
func componentOf(file string) string {
	if dir := path.Dir(file); dir != "." {
		return dir
	}
	return "model"
}

// pipelineClasses are the pipelines of diffusers whose parts are a base's or a refiner's. Inpainting with a UNet of
// four channels has a base's.
var pipelineClasses = []string{"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}

// pipelineParts are the components that those classes have.
var pipelineParts = []string{
	"feature_extractor", "image_encoder", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae",
}

// specReader reads the configurations of a model.
type specReader struct {
	files *store
	log   *slog.Logger
}

// index takes over the pipeline's own options from model_index.json.
func (r specReader) index(s *Spec) error {
	files := r.files
	if !slices.Contains(pipelineClasses, files.index.Class) {
		return fmt.Errorf("%s: _class_name is %s: must be %s", indexFile, files.index.Class, strings.Join(pipelineClasses, " or "))
	}
	options := struct {
		ForceZeros bool `json:"force_zeros_for_empty_prompt"`
		Aesthetics bool `json:"requires_aesthetics_score"`
	}{ForceZeros: true}
	data, err := json.Marshal(files.index.Options)
	if err != nil {
		return err
	}
	unknown, err := weights.ParseConfig(data, r.files.name(indexFile), &options)
	if err != nil {
		return err
	}
	for _, part := range slices.Sorted(maps.Keys(files.index.Components)) {
		if files.index.Components[part] != (weights.Class{}) && !slices.Contains(pipelineParts, part) {
			unknown = append(unknown, part)
		}
	}
	r.warnUnknown(indexFile, unknown)
	s.forceZeros, s.aestheticScore = options.ForceZeros, options.Aesthetics
	return nil
}

// encoder reads a text encoder's configuration, for the class that model_index.json names.
func (r specReader) encoder(name string) (clip.Config, error) {
	file := name + "/config.json"
	data, err := r.files.read(file)
	if err != nil {
		return clip.Config{}, err
	}
	config, err := clip.ParseConfig(data, r.files.name(file))
	if err != nil {
		return config, err
	}
	r.warnUnknown(file, config.Unknown)
	config.Unknown = nil // two models may use one encoder whatever else their files say
	if class := r.files.of(name).index.Components[name].Name; class != "" {
		if config, err = config.As(class); err != nil {
			return config, fmt.Errorf("%s: %s: %w", r.files.name(indexFile), name, err)
		}
	}
	return config, nil
}

// scheduler reads the model's own scheduler. One that goxl can't run is kept, with a warning, for requests that name
// another.
func (r specReader) scheduler() (scheduler.Config, error) {
	const file = "scheduler/scheduler_config.json"
	data, err := r.files.read(file)
	if err != nil {
		return scheduler.Config{}, err
	}
	config, err := scheduler.Parse(data)
	if err != nil {
		return config, fmt.Errorf("%s: %w", r.files.name(file), err)
	}
	r.warnUnknown(file, config.Unknown())
	if cause := config.Check(); cause != nil {
		others := config.Substitutes()
		if len(others) == 0 {
			return config, fmt.Errorf("%s: %w", r.files.name(file), cause)
		}
		r.log.Warn("the model's own scheduler can't be run: every request must name another", slog.String("component", componentOf(file)),
			slog.String("file", r.files.name(file)), slog.Any("reason", cause), slog.String("others", strings.Join(others, ", ")))
	}
	return config, nil
}

func (r specReader) unet() (unet.Config, error) {
	const file = "unet/config.json"
	data, err := r.files.read(file)
	if err != nil {
		return unet.Config{}, err
	}
	config, err := unet.ParseConfig(data, r.files.name(file))
	if err == nil {
		r.warnUnknown(file, config.Unknown)
	}
	return config, err
}

// vae reads the configuration of an autoencoder that may be another model's.
func (r specReader) vae(files *store, folder string) (vae.Config, error) {
	file := path.Join(folder, "config.json")
	data, err := files.read(file)
	if err != nil {
		return vae.Config{}, err
	}
	config, err := vae.ParseConfig(data, files.name(file))
	if err == nil {
		specReader{files, r.log}.warnUnknown(file, config.Unknown)
	}
	config.Unknown = nil // two models may use one VAE whatever else their files say
	return config, err
}

// ownScheduler is the error of a model's own scheduler that can't be run, with the names that may take its place; nil
// if it can be run.
func (s *Spec) ownScheduler() error {
	cause := s.Scheduler.Check()
	if cause == nil {
		return nil
	}
	return &RequestError{Field: "scheduler", Value: "the model's own " + s.Scheduler.Class,
		Allowed: "one of " + strings.Join(s.Scheduler.Substitutes(), ", ") + ", given in its place", Err: cause}
}
