package taesd_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn/weights"
)

// published is the content of taesdxl's config.json.
const published = `{"_class_name": "AutoencoderTiny", "_diffusers_version": "0.20.0.dev0", "act_fn": "relu",
 "decoder_block_out_channels": [64, 64, 64, 64], "encoder_block_out_channels": [64, 64, 64, 64], "force_upcast": false,
 "in_channels": 3, "latent_channels": 4, "latent_magnitude": 3, "latent_shift": 0.5, "num_decoder_blocks": [3, 3, 3, 1],
 "num_encoder_blocks": [1, 3, 3, 3], "out_channels": 3, "scaling_factor": 1.0, "upsampling_scaling_factor": 2}`

func TestParseConfig(t *testing.T) {
	for _, text := range []string{published, "{}"} {
		c, err := taesd.ParseConfig([]byte(text), "config.json")
		if err != nil || !reflect.DeepEqual(c, taesd.TAESDXL) || c.ScaleFactor() != 8 {
			t.Errorf("%v: %+v", err, c)
		}
	}
	for change, want := range map[string]string{
		`"act_fn": "silu"`:                                   `act_fn`,
		`"upsample_fn": "bilinear"`:                          `upsample_fn`,
		`"upsampling_scaling_factor": 3`:                     `upsampling_scaling_factor`,
		`"shift_factor": 0.1`:                                `shift_factor`,
		`"in_channels": 4`:                                   `"in_channels" is 4`,
		`"scaling_factor": 0`:                                `"scaling_factor" is 0`,
		`"latent_channels": 0`:                               `"latent_channels" is 0`,
		`"num_decoder_blocks": [3, 3, 3]`:                    `num_decoder_blocks`,
		`"num_encoder_blocks": [1, 3, 3, -1]`:                `num_encoder_blocks`,
		`"num_encoder_blocks": [1, 3, 3, 99999]`:             `num_encoder_blocks`,
		`"encoder_block_out_channels": [64, 64, 64, 128]`:    `all alike`,
		`"decoder_block_out_channels": [64]`:                 `decoder_block_out_channels`,
		`"num_decoder_blocks": [], "num_encoder_blocks": []`: `levels`,
	} {
		_, err := taesd.ParseConfig([]byte("{"+change+"}"), "taesdxl/config.json")
		var config *weights.ConfigError
		if !errors.As(err, &config) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "taesdxl/config.json") {
			t.Errorf("%s: %v, want a ConfigError with %q", change, err, want)
		}
	}
}

// TestWrongFiles: a configuration that declares more than a file holds, and files of other models, are refused by name
// before anything is allocated.
func TestWrongFiles(t *testing.T) {
	src := synthetic(small, kernels.F16)
	large := small
	large.NumDecoderBlocks = []int{256, 256, 256, 256}
	if err := large.Fits(src, "config.json"); err == nil || !strings.Contains(err.Error(), "num_decoder_blocks") {
		t.Errorf("1,024 blocks: %v", err)
	}
	wide := small
	wide.EncoderBlockOutChannels = []int{4096, 4096, 4096, 4096}
	if err := wide.Fits(src, "config.json"); err == nil || !strings.Contains(err.Error(), "encoder_block_out_channels") {
		t.Errorf("4,096 channels: %v", err)
	}
	deep := small
	deep.LatentChannels = 16
	if err := deep.Fits(src, "config.json"); err == nil || !strings.Contains(err.Error(), "latent_channels") {
		t.Errorf("16 latent channels: %v", err)
	}
	if err := small.Fits(src, "config.json"); err != nil {
		t.Error(err)
	}
	dev := processor(t)
	for what, other := range map[string]kernels.Source{
		"nothing": weights.FromMap(nil),
		"a VAE": weights.Rename(src, func(name string) string {
			return strings.ReplaceAll(strings.ReplaceAll(name, "decoder.layers.", "decoder.up_blocks."), "encoder.layers.", "encoder.down_blocks.")
		}),
	} {
		if _, err := taesd.Detect(other); err == nil || !strings.Contains(err.Error(), "must be a TAESD") {
			t.Errorf("%s is detected: %v", what, err)
		}
		if _, err := taesd.Open(dev, other, small, kernels.Options{}); err == nil || !strings.Contains(err.Error(), "must be a TAESD") {
			t.Errorf("%s is opened: %v", what, err)
		}
	}
	cut := weights.Rename(src, func(name string) string {
		if strings.HasPrefix(name, "decoder.layers.5.") {
			return ""
		}
		return name
	})
	if _, err := taesd.Detect(cut); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a decoder without a layer: %v", err)
	}
}

// TestNotFinite: latents that are not numbers give an error, no image.
func TestNotFinite(t *testing.T) {
	a := opened(t, processor(t), synthetic(small, kernels.F16), small)
	z := vae.NewImage(4, 4, 4)
	z.Data[5] = float32(math.NaN())
	if _, err := a.Decode(t.Context(), z); !errors.Is(err, kernels.ErrNotFinite) {
		t.Errorf("error %v, want ErrNotFinite", err)
	}
	if _, err := a.DecodeImage(t.Context(), z); !errors.Is(err, kernels.ErrNotFinite) {
		t.Errorf("error %v, want ErrNotFinite", err)
	}
}
