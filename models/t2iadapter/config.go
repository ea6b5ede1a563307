package t2iadapter

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Config is a T2IAdapter's config.json.
type Config struct {
	Type      string   `json:"adapter_type"`     // full_adapter_xl
	Channels  int      `json:"in_channels"`      // of the image: 3, or 1 of a grey one
	Widths    []int    `json:"channels"`         // of the features: 320, 640, 1280, 1280
	ResBlocks int      `json:"num_res_blocks"`   // a level
	Downscale int      `json:"downscale_factor"` // pixels a side of the first features
	Unknown   []string `json:"-"`                // keys of the file that the class does not have; they change nothing
}

// XL is the configuration of the published adapters for SDXL.
var XL = Config{Type: xl, Channels: 3, Widths: []int{320, 640, 1280, 1280}, ResBlocks: 2, Downscale: 16}

const (
	xl        = "full_adapter_xl"
	maxBlocks = 64
)

// ParseConfig reads config.json; file is the name that errors give it. Keys that the class does not have are listed in
// Unknown.
func ParseConfig(data []byte, file string) (Config, error) {
	c := Config{Type: "full_adapter", Channels: 3, Widths: []int{320, 640, 1280, 1280}, ResBlocks: 2, Downscale: 8}
	if err := weights.RequireFixed(data, file, "T2IAdapter", nil); err != nil {
		return c, err
	}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &c); err != nil {
		return c, err
	}
	return c, c.validate(file)
}

func (c Config) validate(file string) error {
	bad := func(key string, value any, allowed string, args ...any) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: fmt.Sprintf(allowed, args...)}
	}
	switch {
	case c.Type != xl:
		return bad("adapter_type", c.Type, "%s, SDXL's; the others are of Stable Diffusion 1", xl)
	case c.Channels != 1 && c.Channels != 3:
		return bad("in_channels", c.Channels, "3, or 1 of a grey image")
	case len(c.Widths) != 4:
		return bad("channels", c.Widths, "four numbers")
	case c.ResBlocks < 0 || c.ResBlocks > maxBlocks:
		return bad("num_res_blocks", c.ResBlocks, "0 to %d", maxBlocks)
	case c.Downscale < 1 || c.Downscale > 64:
		return bad("downscale_factor", c.Downscale, "1 to 64")
	}
	for _, w := range c.Widths {
		if w < 1 {
			return bad("channels", c.Widths, "positive numbers")
		}
	}
	// diffusers builds the levels so that no others can be computed.
	if c.Widths[2] != c.Widths[3] {
		return bad("channels", c.Widths, "four numbers, the last two alike")
	}
	return nil
}

// Fits checks that a checkpoint has tensors as large as the configuration says, so that New declares no more than there
// is. file is the name that errors, each a *weights.ConfigError, give the configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	for i, width := range c.Widths {
		path := fmt.Sprintf("adapter.body.%d.resnets", i)
		if err := b.Count("num_res_blocks", c.ResBlocks, 0, path); err != nil {
			return err
		}
		if err := b.Sizes(weights.NewSize("channels", width, path+".0.block1.weight", 0)); err != nil {
			return err
		}
	}
	return b.Sizes(weights.NewSize("in_channels", c.Channels*c.Downscale*c.Downscale, "adapter.conv_in.weight", 1))
}
