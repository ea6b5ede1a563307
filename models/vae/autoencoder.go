package vae

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Planes is one image, or its latents, in the order [row, column, channel].
type Planes struct {
	Height, Width, Channels int
	Data                    []float32
}

// NewPlanes returns zeros.
func NewPlanes(height, width, channels int) Planes {
	return Planes{height, width, channels, make([]float32, height*width*channels)}
}

// Autoencoder is the model on a device. It is used by one goroutine at a time.
type Autoencoder struct {
	*nn.Network
	Config Config
	model  *Model
	// Tile, if it is not 0, makes Encode and Decode work on overlapping tiles of so many pixels a side, a multiple of 4 scale factors, which bounds
	// memory; images larger than a tile then differ a little. diffusers' tiles have Config.SampleSize.
	Tile int
}

// attentionNames are what the attention of checkpoints from before diffusers 0.18 is called.
var attentionNames = strings.NewReplacer(
	".attentions.0.query.", ".attentions.0.to_q.", ".attentions.0.key.", ".attentions.0.to_k.",
	".attentions.0.value.", ".attentions.0.to_v.", ".attentions.0.proj_attn.", ".attentions.0.to_out.0.")

// Open binds a checkpoint and puts it on the device.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Autoencoder, error) {
	precision := o.Precision
	if precision == 0 {
		precision = dev.Info().Precisions[0]
	}
	if precision == kernels.F16 {
		return open(dev, src, c, o, streamShift)
	}
	return open(dev, src, c, o, 0)
}

func open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options, shift int) (*Autoencoder, error) {
	model := c
	model.shift = shift
	m := New(model)
	src = weights.Rename(src, attentionNames.Replace)
	if shift != 0 {
		src = &rescaled{src, shift}
	}
	bound, err := nn.Bind(m, src)
	if err != nil {
		return nil, err
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &Autoencoder{Network: n, Config: c, model: m}, nil
}

// Encode gives the posterior of an image of values in −1…1 whose sides are multiples of the scale factor: means and log variances.
func (a *Autoencoder) Encode(ctx context.Context, image Planes) (Planes, error) {
	c := a.Config
	f := c.ScaleFactor()
	encode := func(x Planes) (Planes, error) {
		return a.run(ctx, "encode", x, NewPlanes(x.Height/f, x.Width/f, 2*c.LatentChannels), a.model.Encode)
	}
	size := a.Tile
	if size == 0 || image.Height <= size && image.Width <= size {
		return encode(image)
	}
	latent := size / f
	return tiled(image, size, stride(size), blend(latent), latent-blend(latent), encode)
}

// Decode draws the image of unscaled latents: values about −1…1.
func (a *Autoencoder) Decode(ctx context.Context, z Planes) (Planes, error) {
	c := a.Config
	f := c.ScaleFactor()
	decode := func(z Planes) (Planes, error) {
		return a.run(ctx, "decode", z, NewPlanes(z.Height*f, z.Width*f, c.OutChannels), a.model.Decode)
	}
	size := a.Tile / f
	if size == 0 || z.Height <= size && z.Width <= size {
		return decode(z)
	}
	return tiled(z, size, stride(size), blend(a.Tile), a.Tile-blend(a.Tile), decode)
}

// plan states one half of the model for one size, under the key that tells it from others.
func plan(what string, height, width, channels int, forward func(*nn.Builder, *nn.Value) *nn.Value) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae %s %d×%d", what, height, width), func(b *nn.Builder) {
		x := b.Input("in", kernels.Step, kernels.F32, 1, height, width, channels)
		b.Output("out", forward(b, x))
	}
}

func (a *Autoencoder) run(ctx context.Context, what string, in, out Planes, forward func(*nn.Builder, *nn.Value) *nn.Value) (Planes, error) {
	key, build := plan(what, in.Height, in.Width, in.Channels, forward)
	return out, a.Evaluate(ctx, key, build,
		func(p *nn.Program) error { return p.SetFloats("in", in.Data...) },
		func(p *nn.Program) ([]float32, error) { return out.Data, p.Floats(ctx, "out", out.Data) })
}

// Sample draws latents, still unscaled, from the posterior that Encode gave: mean + exp(logvar/2)·noise, with the log variance clamped to [−30, 20].
// noise has a value for each latent, in the order [row, column, channel].
func (a *Autoencoder) Sample(moments Planes, noise []float32) Planes {
	c := a.Config.LatentChannels
	z := NewPlanes(moments.Height, moments.Width, c)
	for i := range z.Data {
		at := i/c*2*c + i%c
		mean, logvar := moments.Data[at], moments.Data[at+c]
		std := float32(math.Exp(float64(0.5 * min(max(logvar, -30), 20))))
		z.Data[i] = mean + float32(std*noise[i])
	}
	return z
}

// Scale turns the autoencoder's latents into those of the UNet, in place.
func (a *Autoencoder) Scale(z Planes) {
	c := a.Config
	for i := range z.Data {
		x := float64(z.Data[i])
		if c.LatentsMean != nil {
			k := i % c.LatentChannels
			x = (x - c.LatentsMean[k]) / c.LatentsStd[k]
		}
		z.Data[i] = float32(x * c.ScalingFactor)
	}
}

// Unscale undoes Scale, in place.
func (a *Autoencoder) Unscale(z Planes) {
	c := a.Config
	for i := range z.Data {
		x := float64(z.Data[i]) / c.ScalingFactor
		if c.LatentsMean != nil {
			k := i % c.LatentChannels
			x = x*c.LatentsStd[k] + c.LatentsMean[k]
		}
		z.Data[i] = float32(x)
	}
}
