package sdxl

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/goxl/goxl/nn/weights"
)

// defaultsFile may lie beside model_index.json and give the default parameters of a model; diffusers ignores it.
const defaultsFile = "goxl.json"

// defaults are what a model is run with where a request does not say otherwise.
type defaults struct {
	steps         int
	guidance      float64
	rescale       float64 // guidance_rescale
	strength      float64
	height, width int        // 0: from the UNet's sample_size
	largest       int        // pixels that the model was trained on; 0: not known
	rgb           *latentRGB // of previews; nil: not given
}

// defaults reads goxl.json, if there is one; what it leaves out is as in diffusers.
func (r specReader) defaults() (defaults, error) {
	files := r.files
	d := defaults{steps: 50, guidance: 5, strength: 0.3} // diffusers'
	if _, err := fs.Stat(files.of(defaultsFile).fsys, defaultsFile); errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	data, err := files.read(defaultsFile)
	if err != nil {
		return d, err
	}
	file := files.name(defaultsFile)
	content := struct {
		Steps    int     `json:"num_inference_steps"`
		Guidance float64 `json:"guidance_scale"`
		Rescale  float64 `json:"guidance_rescale"`
		Strength float64 `json:"strength"`
		Height   int     `json:"height"`
		Width    int     `json:"width"`
		Largest  int     `json:"trained_pixels"`

		Factors [][]float64 `json:"latent_rgb_factors"`
		Bias    []float64   `json:"latent_rgb_factors_bias"`
	}{Steps: d.steps, Guidance: d.guidance, Strength: d.strength}
	unknown, err := weights.ParseConfig(data, file, &content)
	if err != nil {
		return d, err
	}
	r.warnUnknown(defaultsFile, unknown)
	if content.Steps < 1 {
		return d, &weights.ConfigError{File: file, Key: "num_inference_steps", Value: fmt.Sprint(content.Steps), Allowed: "positive"}
	}
	if !(content.Rescale >= 0 && content.Rescale <= 1) {
		return d, &weights.ConfigError{File: file, Key: "guidance_rescale", Value: fmt.Sprint(content.Rescale), Allowed: "0 to 1"}
	}
	if !(content.Strength > 0 && content.Strength <= 1) {
		return d, &weights.ConfigError{File: file, Key: "strength", Value: fmt.Sprint(content.Strength), Allowed: "above 0, up to 1"}
	}
	if min(content.Height, content.Width) < 0 || (content.Height == 0) != (content.Width == 0) {
		return d, &weights.ConfigError{File: file, Key: "height", Value: fmt.Sprintf("%d, width %d", content.Height, content.Width), Allowed: "both positive, or neither given"}
	}
	if content.Largest < 0 {
		return d, &weights.ConfigError{File: file, Key: "trained_pixels", Value: fmt.Sprint(content.Largest), Allowed: "positive"}
	}
	rgb, err := parseLatentRGB(file, content.Factors, content.Bias)
	if err != nil {
		return d, err
	}
	return defaults{content.Steps, content.Guidance, content.Rescale, content.Strength, content.Height, content.Width, content.Largest, rgb}, nil
}

// sizeWarning warns of a size far above what the model was trained on; "" if there is nothing to warn of.
func (s *Spec) sizeWarning(size Size) string {
	if d := s.defaults; d.largest > 0 && size.Height*size.Width > d.largest*3/2 {
		return fmt.Sprintf("%d×%d pixels: the model was trained at %d×%d and will repeat or smear things", size.Width, size.Height, d.width, d.height)
	}
	return ""
}
