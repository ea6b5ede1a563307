package sdxl

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// latentRGB is a linear approximation of a VAE's decoder: the colours, in −1…1, of a latent's values as the UNet has
// them.
type latentRGB struct {
	factors [][3]float32 // of each channel for red, green and blue
	bias    [3]float32
}

// Source of both: ComfyUI comfy/latent_formats.py, latent_rgb_factors and latent_rgb_factors_bias of SDXL and of
// SDXL_Playground_2_5.
var (
	sdxlRGB = &latentRGB{
		factors: [][3]float32{{0.3651, 0.4232, 0.4341}, {-0.2533, -0.0042, 0.1068}, {0.1076, 0.1111, -0.0362}, {-0.3165, -0.2492, -0.2188}},
		bias:    [3]float32{0.1084, -0.0175, -0.0011},
	}
	playgroundRGB = &latentRGB{
		factors: [][3]float32{{0.3920, 0.4054, 0.4549}, {-0.2634, -0.0196, 0.0653}, {0.0568, 0.1687, -0.0755}, {-0.3112, -0.2359, -0.2076}},
	}
)

// latentRGB is the model's own from goxl.json, Playground's where latents have statistics as there, else SDXL's.
func (s *Spec) latentRGB() (*latentRGB, error) {
	rgb := sdxlRGB
	switch {
	case s.defaults.rgb != nil:
		rgb = s.defaults.rgb
	case s.VAE.LatentsMean != nil:
		rgb = playgroundRGB
	}
	if n := s.VAE.LatentChannels; n != len(rgb.factors) {
		return nil, bad("preview", fmt.Sprintf("asked for with %d latent channels", n),
			"of a model of %d, unless its %s has latent_rgb_factors for each, or it has a TAESD", len(rgb.factors), defaultsFile)
	}
	return rgb, nil
}

// parseLatentRGB reads factors, one list a channel, and their bias from goxl.json. Without factors there is none.
func parseLatentRGB(file string, factors [][]float64, bias []float64) (*latentRGB, error) {
	wrong := func(key string, value any, allowed string) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: allowed}
	}
	if len(factors) == 0 {
		if len(bias) > 0 {
			return nil, wrong("latent_rgb_factors_bias", bias, "absent without latent_rgb_factors")
		}
		return nil, nil
	}
	rgb := &latentRGB{factors: make([][3]float32, len(factors))}
	for i, row := range factors {
		if !threeFinite(row) {
			return nil, wrong("latent_rgb_factors", row, "three finite numbers for each latent channel: red, green, blue")
		}
		for k, v := range row {
			rgb.factors[i][k] = float32(v)
		}
	}
	if len(bias) == 0 {
		return rgb, nil
	}
	if !threeFinite(bias) {
		return nil, wrong("latent_rgb_factors_bias", bias, "three finite numbers: red, green, blue")
	}
	for k, v := range bias {
		rgb.bias[k] = float32(v)
	}
	return rgb, nil
}

func threeFinite(row []float64) bool {
	for _, v := range row {
		if !isFinite(v) {
			return false
		}
	}
	return len(row) == 3
}

// source gives the tensors of a 1×1 convolution.
func (l *latentRGB) source() kernels.Source {
	var weight, bias []byte
	for k := range 3 {
		for _, row := range l.factors {
			weight = binary.LittleEndian.AppendUint32(weight, math.Float32bits(row[k]))
		}
		bias = binary.LittleEndian.AppendUint32(bias, math.Float32bits(l.bias[k]))
	}
	return weights.FromMap(map[string]weights.Tensor{
		"weight": weights.NewTensor("weight", kernels.F32, []int{3, len(l.factors), 1, 1}, weight),
		"bias":   weights.NewTensor("bias", kernels.F32, []int{3}, bias),
	})
}
