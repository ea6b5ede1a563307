package vae

import (
	"context"
	"fmt"
	"image"
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
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
	shift     int // of the residual stream; see rescaled
	// Tile, if it is not 0, makes Encode and Decode work on overlapping tiles of so many pixels a side, a multiple of 4 scale factors, which bounds
	// memory; images larger than a tile then differ a little. diffusers' tiles have Config.SampleSize.
	Tile int
}

// attentionNames are what the attention of checkpoints from before diffusers 0.18 is called.
var attentionNames = strings.NewReplacer(
	".attentions.0.query.", ".attentions.0.to_q.", ".attentions.0.key.", ".attentions.0.to_k.",
	".attentions.0.value.", ".attentions.0.to_v.", ".attentions.0.proj_attn.", ".attentions.0.to_out.0.")

// Open binds a checkpoint, which the configuration fits, and puts it on the device.
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
	return &Autoencoder{Network: n, Config: c, Unclaimed: bound.Unclaimed, model: m, shift: shift}, nil
}

// Encode gives the posterior of an image of values in −1…1 whose sides are multiples of the scale factor: means and log variances.
// Taps see every tile on its own.
func (a *Autoencoder) Encode(ctx context.Context, x Planes, taps ...nn.Tap) (Planes, error) {
	return a.encode(x.Height, x.Width, func(part image.Rectangle, moments Planes) error {
		x := x.crop(part)
		key := fmt.Sprintf("vae encode values %d×%d", x.Height, x.Width)
		return a.Evaluate(ctx, key,
			func(b *nn.Builder) {
				b.Output("moments", a.model.Encode(b, b.Input("values", kernels.Step, kernels.F32, 1, x.Height, x.Width, x.Channels)))
			},
			func(p *nn.Program) error { return p.SetFloats("values", x.Data...) },
			func(p *nn.Program) ([]float32, error) { return moments.Data, p.Floats(ctx, "moments", moments.Data) }, a.unscaled(taps)...)
	})
}

// EncodeImage is Encode of a picture, whose pixels become values on the device. Transparency is dropped.
func (a *Autoencoder) EncodeImage(ctx context.Context, picture *image.NRGBA, taps ...nn.Tap) (Planes, error) {
	return a.encode(picture.Rect.Dy(), picture.Rect.Dx(), func(part image.Rectangle, moments Planes) error {
		key, build := a.encoding(part.Dy(), part.Dx())
		return a.Evaluate(ctx, key, build,
			func(p *nn.Program) error { return p.SetPixels("picture", pixelsOf(picture, part)...) },
			func(p *nn.Program) ([]float32, error) { return moments.Data, p.Floats(ctx, "moments", moments.Data) }, a.unscaled(taps)...)
	})
}

// encode has one fill in the moments of the image, or of every tile of it.
func (a *Autoencoder) encode(height, width int, one func(part image.Rectangle, moments Planes) error) (Planes, error) {
	f := a.Config.ScaleFactor()
	encode := func(part image.Rectangle) (Planes, error) {
		moments := NewPlanes(part.Dy()/f, part.Dx()/f, 2*a.Config.LatentChannels)
		return moments, one(part, moments)
	}
	if a.tiles(height, width) {
		latent := a.Tile / f
		out := NewPlanes(height/f, width/f, 2*a.Config.LatentChannels)
		return tiled(out, height, width, a.Tile, blend(latent), latent-blend(latent), encode)
	}
	return encode(image.Rect(0, 0, width, height))
}

// Decode draws the image of unscaled latents: values about −1…1. Taps see every tile on its own.
func (a *Autoencoder) Decode(ctx context.Context, z Planes, taps ...nn.Tap) (Planes, error) {
	f := a.Config.ScaleFactor()
	if !a.tiles(f*z.Height, f*z.Width) {
		return a.decode(ctx, z, nil, taps)
	}
	size := a.Tile / f
	out := NewPlanes(f*z.Height, f*z.Width, a.Config.OutChannels)
	return tiled(out, z.Height, z.Width, size, blend(a.Tile), a.Tile-blend(a.Tile), func(part image.Rectangle) (Planes, error) {
		return a.decode(ctx, z.crop(part), nil, taps)
	})
}

// DecodeImage is Decode followed by Pixels. Nothing but the pixels leaves the device unless there are tiles to be joined.
func (a *Autoencoder) DecodeImage(ctx context.Context, z Planes, taps ...nn.Tap) (*image.NRGBA, error) {
	f := a.Config.ScaleFactor()
	if a.tiles(f*z.Height, f*z.Width) {
		x, err := a.Decode(ctx, z, taps...)
		if err != nil {
			return nil, err
		}
		return a.Pixels(ctx, x)
	}
	picture := image.NewNRGBA(image.Rect(0, 0, f*z.Width, f*z.Height))
	_, err := a.decode(ctx, z, picture, taps)
	return picture, err
}

// stripPixels is how many pixels Pixels rounds at a time, at most: more take memory and are no faster.
const stripPixels = 1 << 18

// stripRows is how many rows that is of an image: strips of one height, if that makes them not much smaller, are one
// program.
func stripRows(height, width int) int {
	most := min(max(1, stripPixels/width), height)
	for rows := most; rows > most/2; rows-- {
		if height%rows == 0 {
			return rows
		}
	}
	return most
}

// Pixels rounds an image of values in −1…1 to bytes; see kernels.ToPixels.
func (a *Autoencoder) Pixels(ctx context.Context, x Planes) (*image.NRGBA, error) {
	picture := image.NewNRGBA(image.Rect(0, 0, x.Width, x.Height))
	step := stripRows(x.Height, x.Width)
	for y := 0; y < x.Height; y += step {
		rows := min(step, x.Height-y)
		values, pixels := x.Data[y*x.Width*x.Channels:][:rows*x.Width*x.Channels], picture.Pix[y*picture.Stride:][:rows*picture.Stride]
		key, build := pixelsOfValues(rows, x.Width, x.Channels)
		err := a.Evaluate(ctx, key, build,
			func(p *nn.Program) error { return p.SetFloats("values", values...) },
			func(p *nn.Program) ([]float32, error) { return values, p.Pixels(ctx, "picture", pixels) })
		if err != nil {
			return nil, err
		}
	}
	return picture, nil
}

// pixelsOfValues states the rounding of values, under the key that tells it from others.
func pixelsOfValues(height, width, channels int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae pixels %d×%d", height, width), func(b *nn.Builder) {
		b.Output("picture", b.ToPixels(b.Input("values", kernels.Step, kernels.F32, 1, height, width, channels)))
	}
}

// tiles reports whether an image of so many pixels is encoded and decoded in parts.
func (a *Autoencoder) tiles(height, width int) bool {
	return a.Tile > 0 && (height > a.Tile || width > a.Tile)
}

// decode runs the decoder. Where picture is given its pixels are filled in, and a device that has looked at the values by itself keeps them.
func (a *Autoencoder) decode(ctx context.Context, z Planes, picture *image.NRGBA, taps []nn.Tap) (x Planes, err error) {
	f := a.Config.ScaleFactor()
	key, build := a.decoding(z.Height, z.Width)
	err = a.Evaluate(ctx, key, build,
		func(p *nn.Program) error { return p.SetFloats("latents", z.Data...) },
		func(p *nn.Program) ([]float32, error) {
			if picture != nil {
				if err := p.Pixels(ctx, "picture", picture.Pix); err != nil || p.AsyncFinite() {
					return nil, err
				}
			}
			x = NewPlanes(f*z.Height, f*z.Width, a.Config.OutChannels)
			return x.Data, p.Floats(ctx, "values", x.Data)
		}, a.unscaled(taps)...)
	return x, err
}

// encoding states the encoder for pictures of one size, under the key that tells it from others; decoding states the decoder, by the size of the latents.
func (a *Autoencoder) encoding(height, width int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae encode %d×%d", height, width), func(b *nn.Builder) {
		picture := b.Input("picture", kernels.Step, kernels.U8, 1, height, width, 4)
		b.Output("moments", a.model.Encode(b, b.FromPixels(picture)))
	}
}

func (a *Autoencoder) decoding(height, width int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae decode %d×%d", height, width), func(b *nn.Builder) {
		x := a.model.Decode(b, b.Input("latents", kernels.Step, kernels.F32, 1, height, width, a.Config.LatentChannels))
		picture := b.ToPixels(x)
		b.Output("values", x)
		b.Output("picture", picture)
	}
}

// pixelsOf are those of a part of a picture, row after row.
func pixelsOf(picture *image.NRGBA, part image.Rectangle) []uint8 {
	part = part.Add(picture.Rect.Min)
	from, n := picture.PixOffset(part.Min.X, part.Min.Y), 4*part.Dx()
	if picture.Stride == n {
		return picture.Pix[from : from+n*part.Dy()]
	}
	pixels := make([]uint8, 0, n*part.Dy())
	for y := range part.Dy() {
		pixels = append(pixels, picture.Pix[from+y*picture.Stride:][:n]...)
	}
	return pixels
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

// Unscale undoes Scale, in place. Both are float64 on the host: on a device a factor would be rounded to float32, which
// changes bits of the latents. So latents pass from the UNet to Decode by way of the host; they are few.
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
