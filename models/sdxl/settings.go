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
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// warnUnknown tells of keys of a file that goxl, like diffusers, leaves out: one record a file.
func (p *Pipeline) warnUnknown(files *store, file string, keys []string) {
	if len(keys) == 0 {
		return
	}
	const most = 20
	shown := strings.Join(keys[:min(len(keys), most)], ", ")
	if n := len(keys) - most; n > 0 {
		shown += fmt.Sprintf(" and %d more", n)
	}
	p.options.Log.Warn("unknown settings are left out", slog.String("component", componentOf(file)), slog.String("file", files.name(file)), slog.String("keys", shown))
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

// readIndex takes over the pipeline's own options from model_index.json.
func (p *Pipeline) readIndex(files *store) error {
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
	unknown, err := weights.ParseConfig(data, files.name(indexFile), &options)
	if err != nil {
		return err
	}
	for _, part := range slices.Sorted(maps.Keys(files.index.Components)) {
		if files.index.Components[part] != (weights.Class{}) && !slices.Contains(pipelineParts, part) {
			unknown = append(unknown, part)
		}
	}
	p.warnUnknown(files, indexFile, unknown)
	p.forceZeros, p.timeIDs = options.ForceZeros, 6
	if options.Aesthetics {
		p.timeIDs = 5
	}
	return nil
}

// encoderConfig reads a text encoder's configuration, for the class that model_index.json names.
func (p *Pipeline) encoderConfig(files *store, name string) (clip.Config, error) {
	file := name + "/config.json"
	data, err := files.read(file)
	if err != nil {
		return clip.Config{}, err
	}
	config, err := clip.ParseConfig(data, files.name(file))
	if err != nil {
		return config, err
	}
	p.warnUnknown(files, file, config.Unknown)
	config.Unknown = nil // two models share an encoder whatever else their files say
	if class := files.index.Components[name].Name; class != "" {
		if config, err = config.As(class); err != nil {
			return config, fmt.Errorf("%s: %s: %w", files.name(indexFile), name, err)
		}
	}
	return config, nil
}

// readScheduler reads the model's own scheduler. One that goxl can't run is kept, with a warning, for requests that name
// another.
func (p *Pipeline) readScheduler(files *store) error {
	const file = "scheduler/scheduler_config.json"
	data, err := files.read(file)
	if err != nil {
		return err
	}
	config, err := scheduler.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", files.name(file), err)
	}
	p.warnUnknown(files, file, config.Unknown())
	if cause := config.Check(); cause != nil {
		others := config.Substitutes()
		if len(others) == 0 {
			return fmt.Errorf("%s: %w", files.name(file), cause)
		}
		p.options.Log.Warn("the model's own scheduler can't be run: every request must name another", slog.String("component", componentOf(file)),
			slog.String("file", files.name(file)), slog.Any("reason", cause), slog.String("others", strings.Join(others, ", ")))
	}
	p.scheduler = config
	return nil
}

// ownScheduler tells why the model's own scheduler can't be run, and which names may take its place; nil if it can be
// run.
func (p *Pipeline) ownScheduler() error {
	cause := p.scheduler.Check()
	if cause == nil {
		return nil
	}
	return &RequestError{Field: "scheduler", Value: "the model's own " + p.scheduler.Class,
		Allowed: "one of " + strings.Join(p.scheduler.Substitutes(), ", ") + ", given in its place", Err: cause}
}
