package taesd

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// Autoencoder is the model on a device. It is used by one goroutine at a time.
type Autoencoder struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
	// Tile, if it is not 0, makes Encode and Decode work on overlapping tiles of so many pixels a side, a multiple of 8
	// scale factors, which bounds memory; images larger than a tile then differ a little. diffusers' tiles have TileSize.
	Tile int
}

// TileSize is diffusers' tile_sample_min_size.
const TileSize = 512

// Open binds a checkpoint of either half or both, under diffusers' names or the original ones, and puts it on the
// device. The configuration must fit it.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Autoencoder, error) {
	src = diffusersNames(src)
	names := src.Names()
	has := func(half string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, half+".layers.") })
	}
	m := &Model{}
	if has("encoder") {
		m.Encoder = NewEncoder(c)
	}
	if has("decoder") {
		m.Decoder = NewDecoder(c)
		src = newDoubled(src, m)
	}
	if m.Encoder == nil && m.Decoder == nil {
		return nil, errors.New("must be a TAESD: no tensor is of an encoder or a decoder")
	}
	bound, err := nn.Bind(m, src)
	if err != nil {
		return nil, err
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &Autoencoder{Network: n, Config: c, Unclaimed: bound.Unclaimed, model: m}, nil
}

// Encodes reports whether the checkpoint has the encoder, Decodes whether it has the decoder.
func (a *Autoencoder) Encodes() bool { return a.model.Encoder != nil }

// Decodes reports whether the checkpoint has the decoder.
func (a *Autoencoder) Decodes() bool { return a.model.Decoder != nil }

var (
	errNoEncoder = errors.New("taesd: the file holds a decoder alone: must hold an encoder")
	errNoDecoder = errors.New("taesd: the file holds an encoder alone: must hold a decoder")
)

// Encode gives the latents of an image of values in −1…1 whose sides are multiples of the scale factor. They are the
// UNet's as they are where scaling_factor is 1, and there is no posterior. Taps see every tile on its own.
func (a *Autoencoder) Encode(ctx context.Context, x vae.Image, taps ...nn.Tap) (vae.Image, error) {
	if !a.Encodes() {
		return vae.Image{}, errNoEncoder
	}
	f := a.Config.ScaleFactor()
	encode := func(part image.Rectangle) (vae.Image, error) {
		values := crop(x, part)
		z := vae.NewImage(values.Height/f, values.Width/f, a.Config.LatentChannels)
		key, build := a.stage(false, values.Height, values.Width)
		unit := make([]float32, len(values.Data)) // the encoder takes 0…1
		for i, v := range values.Data {
			unit[i] = (v + 1) / 2
		}
		err := a.Evaluate(ctx, key, build,
			func(p *nn.Program) error { return p.SetFloats("values", unit...) },
			func(p *nn.Program) ([]float32, error) { return z.Data, p.Floats(ctx, "latents", z.Data) }, taps...)
		return z, err
	}
	if !a.tiles(x.Height, x.Width) {
		return encode(image.Rect(0, 0, x.Width, x.Height))
	}
	out := vae.NewImage(x.Height/f, x.Width/f, a.Config.LatentChannels)
	return out, tiled(out, x.Height, x.Width, a.Tile, blend(a.Tile)/f, func(part image.Rectangle) (vae.Image, image.Point, error) {
		tile, err := encode(part)
		return tile, part.Min.Div(f), err
	})
}

// Decode is the image of latents, divided by scaling_factor: values about −1…1. Taps see every tile on its own. The last
// layer's output is in that range too, which the checkpoint's own is not.
func (a *Autoencoder) Decode(ctx context.Context, z vae.Image, taps ...nn.Tap) (vae.Image, error) {
	if !a.Decodes() {
		return vae.Image{}, errNoDecoder
	}
	f := a.Config.ScaleFactor()
	if !a.tiles(f*z.Height, f*z.Width) {
		return a.decode(ctx, z, nil, taps)
	}
	size := a.Tile / f
	out := vae.NewImage(f*z.Height, f*z.Width, a.Config.OutChannels)
	return out, tiled(out, z.Height, z.Width, size, f*blend(size), func(part image.Rectangle) (vae.Image, image.Point, error) {
		tile, err := a.decode(ctx, crop(z, part), nil, taps)
		return tile, part.Min.Mul(f), err
	})
}

// DecodeImage is Decode followed by Image.Pixels. Nothing but the pixels leaves the device unless there are tiles to be
// joined.
func (a *Autoencoder) DecodeImage(ctx context.Context, z vae.Image, taps ...nn.Tap) (*image.NRGBA, error) {
	f := a.Config.ScaleFactor()
	if !a.Decodes() || a.tiles(f*z.Height, f*z.Width) {
		x, err := a.Decode(ctx, z, taps...)
		if err != nil {
			return nil, err
		}
		return x.Pixels(), nil
	}
	img := image.NewNRGBA(image.Rect(0, 0, f*z.Width, f*z.Height))
	_, err := a.decode(ctx, z, img, taps)
	return img, err
}

// decode runs the decoder. Where img is not nil its pixels are filled in, and a device that looks for NaN and Inf
// itself keeps the values, which are not returned.
func (a *Autoencoder) decode(ctx context.Context, z vae.Image, img *image.NRGBA, taps []nn.Tap) (x vae.Image, err error) {
	f := a.Config.ScaleFactor()
	key, build := a.stage(true, f*z.Height, f*z.Width)
	err = a.Evaluate(ctx, key, build,
		func(p *nn.Program) error { return p.SetFloats("latents", z.Data...) },
		func(p *nn.Program) ([]float32, error) {
			if img != nil {
				if err := p.Pixels(ctx, "image", img.Pix); err != nil || p.AsyncFinite() {
					return nil, err
				}
			}
			x = vae.NewImage(f*z.Height, f*z.Width, a.Config.OutChannels)
			return x.Data, p.Floats(ctx, "values", x.Data)
		}, taps...)
	return x, err
}

// stage states the decoder, or the encoder, for images of height×width pixels, under a key of its own.
func (a *Autoencoder) stage(decode bool, height, width int) (key string, build func(*nn.Builder)) {
	if !decode {
		return fmt.Sprintf("taesd encode %d×%d", height, width), func(b *nn.Builder) {
			x := b.Input("values", kernels.Step, kernels.F32, 1, height, width, a.Config.InChannels)
			b.Output("latents", a.model.Encode(b, x))
		}
	}
	f := a.Config.ScaleFactor()
	return fmt.Sprintf("taesd decode %d×%d", height, width), func(b *nn.Builder) {
		x := a.model.Decode(b, b.Input("latents", kernels.Step, kernels.F32, 1, height/f, width/f, a.Config.LatentChannels))
		img := b.ToPixels(x)
		b.Output("values", x)
		b.Output("image", img)
	}
}

// VerifyTaps returns the error that decoding latents of height×width has with these taps, such as one that finds no
// module, before anything is computed.
func (a *Autoencoder) VerifyTaps(height, width int, taps ...nn.Tap) error {
	f := a.Config.ScaleFactor()
	_, build := a.stage(true, f*height, f*width)
	return nn.VerifyTaps(build, taps...)
}

// Scale turns latents that Encode gives into those of the UNet, in place.
func (a *Autoencoder) Scale(z vae.Image) {
	for i := range z.Data {
		z.Data[i] = float32(float64(z.Data[i]) * a.Config.ScalingFactor)
	}
}

// Unscale undoes Scale, in place.
func (a *Autoencoder) Unscale(z vae.Image) {
	for i := range z.Data {
		z.Data[i] = float32(float64(z.Data[i]) / a.Config.ScalingFactor)
	}
}
