package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// decoder is what images are decoded by: a VAE or a TAESD.
type decoder interface {
	// Unscale turns the UNet's latents into those that are decoded, in place.
	Unscale(z vae.Image)
	Decode(ctx context.Context, z vae.Image, taps ...nn.Tap) (vae.Image, error)
	DecodeImage(ctx context.Context, z vae.Image, taps ...nn.Tap) (*image.NRGBA, error)
	VerifyTaps(height, width int, taps ...nn.Tap) error
	Graph(decode bool, height, width int) func(*nn.Builder)
}

func (m *Model) decoder() decoder {
	if m.TAESD != nil {
		return m.TAESD
	}
	return m.VAE
}

func (m *Model) decoderTaps(t Taps) []nn.Tap {
	if m.TAESD != nil {
		return t.TAESD
	}
	return t.VAE
}

// tiling is an autoencoder as tile sees it.
type tiling struct {
	network    *nn.Network
	tile       *int // pixels a side
	unit, size int  // tiles are multiples of unit; diffusers' have size
	program    func(decode bool, height, width int) (*nn.Program, error)
	buffers    func(values bool, height, width int) int64
}

// tiling is that of what decodes images, or of the VAE, which encodes them.
func (m *Model) tiling(decode bool) tiling {
	if a := m.TAESD; decode && a != nil {
		return tilingOf(a)
	}
	a := m.VAE
	return tiling{a.Network, &a.Tile, 4 * a.Config.ScaleFactor(), a.Config.SampleSize, a.Program, func(values bool, height, width int) int64 {
		return a.Buffers(decode, values, height, width)
	}}
}

// tilingOf is that of a TAESD.
func tilingOf(a *taesd.Autoencoder) tiling {
	return tiling{a.Network, &a.Tile, 8 * a.Config.ScaleFactor(), taesd.TileSize, a.Program, a.Buffers}
}

// The parts that a TAESD may be, as PartError names them.
const (
	taesdPart        = "TAESD"
	previewTAESDPart = "preview TAESD"
)

// fitsTAESD checks that a TAESD, if there is one, decodes what the UNet gives.
func (m *Model) fitsTAESD(part string, a *taesd.Autoencoder) error {
	if a == nil {
		return nil
	}
	c := a.Config
	switch {
	case !a.Decodes():
		return &PartError{part, errors.New("the file holds an encoder alone: must hold a decoder, as taesdxl_decoder does")}
	case c.LatentChannels != m.UNet.Config.OutChannels:
		return &PartError{part, fmt.Errorf("%d latent channels: must be %d, as the UNet's (16 are those of TAESD3 and TAEF1)", c.LatentChannels, m.UNet.Config.OutChannels)}
	case c.ScaleFactor() != m.VAE.Config.ScaleFactor():
		return &PartError{part, fmt.Errorf("%d pixels a side of a latent: must be %d, as the VAE's", c.ScaleFactor(), m.VAE.Config.ScaleFactor())}
	}
	return nil
}

// sdxlScale is the scaling_factor of SDXL's VAE, whose scaled latents TAESDXL was made for.
const sdxlScale = 0.13025

// taesds opens Options.TAESD and Options.PreviewTAESD, or takes the base's.
func (l loader) taesds() error {
	base := l.options.Base
	if base == nil {
		base = &Model{}
	}
	for _, part := range []struct {
		name, source, path string
		to                 **taesd.Autoencoder
		base               *taesd.Autoencoder
	}{
		{taesdPart, "taesd", l.options.TAESD, &l.TAESD, base.TAESD},
		{previewTAESDPart, "preview_taesd", l.options.PreviewTAESD, &l.PreviewTAESD, base.PreviewTAESD},
	} {
		if part.path == "" {
			if part.base != nil {
				*part.to, l.sources[part.source] = part.base, base.sources[part.source]
			}
			continue
		}
		var err error
		if *part.to, err = l.openTAESD(part.source, part.path); err != nil {
			return &PartError{part.name, err}
		}
		if c := l.VAE.Config; c.ScalingFactor != sdxlScale || c.LatentsMean != nil {
			l.options.Log.Warn("TAESDXL was made for latents of SDXL's scale: colours may be off", "scaling_factor", c.ScalingFactor, "want", sdxlScale)
		}
	}
	return nil
}

// openTAESD opens the one at a path, under a component's name.
func (l loader) openTAESD(name, path string) (*taesd.Autoencoder, error) {
	c, file, err := openTAESDFile(path, l.variant())
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, c)
	l.sources[name] = c
	config, err := l.taesdConfig(c, file)
	if err != nil {
		return nil, err
	}
	opened, err := taesd.Open(l.host.device, c, config, l.kernelOptions())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path(), err)
	}
	l.manage(name, opened.Network)
	l.unclaimed(name, opened.Unclaimed)
	return opened, nil
}

// taesdConfig reads a TAESD's configuration from a file, or from its tensors if there is none.
func (l loader) taesdConfig(c *weights.Component, file string) (taesd.Config, error) {
	if file == "" {
		config, err := taesd.Detect(c)
		if err != nil {
			return config, fmt.Errorf("%s: %w", c.Path(), err)
		}
		return config, nil
	}
	files := &store{path: filepath.Dir(file), fsys: os.DirFS(filepath.Dir(file)), join: filepath.Join}
	data, err := files.read(filepath.Base(file))
	if err != nil {
		return taesd.Config{}, err
	}
	config, err := taesd.ParseConfig(data, file)
	if err != nil {
		return config, err
	}
	specReader{files, l.options.Log}.warnUnknown(filepath.Base(file), config.Unknown)
	return config, config.Fits(c, file)
}

// originalTAESD is the original name of the decoder's weights.
const originalTAESD = "taesdxl_decoder.safetensors"

// openTAESDFile opens the weights at a path, a file or a folder, and tells which file configures them, if one does.
func openTAESDFile(path string, v weights.Variant) (c *weights.Component, config string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		c, err = weights.OpenComponent(path)
		return c, "", err
	}
	config = filepath.Join(path, "config.json")
	if _, err := os.Stat(config); err == nil {
		c, err = weights.OpenComponentFolder(path, "vae", v)
		return c, config, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	original := filepath.Join(path, originalTAESD)
	if _, err := os.Stat(original); errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s: must be a TAESD's folder: it has neither config.json nor %s", path, originalTAESD)
	}
	c, err = weights.OpenComponent(original)
	return c, "", err
}
