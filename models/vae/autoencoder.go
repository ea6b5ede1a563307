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

// Image is one image, or its latents, in the order [row, column, channel] (HWC).
type Image struct {
	Height, Width, Channels int
	Data                    []float32
}

// NewImage returns zeros.
func NewImage(height, width, channels int) Image {
	return Image{height, width, channels, make([]float32, height*width*channels)}
}

// Autoencoder is the model on a device. It is used by one goroutine at a time.
type Autoencoder struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
	shift     int // of the residual stream; see rescaled
	// Tile, if it is not 0, makes Encode and Decode work on overlapping tiles of so many pixels a side, a multiple of 4
	// scale factors, which bounds memory; images larger than a tile then differ a little. diffusers' tiles have
	// Config.SampleSize.
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

// Encode gives the posterior of an image of values in −1…1 whose sides are multiples of the scale factor: means and log
// variances. Taps see every tile on its own; those of the decoder alone are ignored.
func (a *Autoencoder) Encode(ctx context.Context, x Image, taps ...nn.Tap) (Image, error) {
	return a.encode(x.Height, x.Width, func(part image.Rectangle, moments Image) error {
		x := x.crop(part)
		key := fmt.Sprintf("vae encode values %d×%d", x.Height, x.Width)
		return a.Evaluate(ctx, key,
			func(b *nn.Builder) {
				b.Output("moments", a.model.Encode(b, b.Input("values", kernels.Step, kernels.F32, 1, x.Height, x.Width, x.Channels)))
			},
			func(p *nn.Program) error { return p.SetFloats("values", x.Data...) },
			func(p *nn.Program) ([]float32, error) { return moments.Data, p.Floats(ctx, "moments", moments.Data) }, a.tapsOf(false, taps)...)
	})
}

// EncodeImage is Encode of an image, whose pixels become values on the device. Transparency is dropped.
func (a *Autoencoder) EncodeImage(ctx context.Context, img *image.NRGBA, taps ...nn.Tap) (Image, error) {
	return a.encode(img.Rect.Dy(), img.Rect.Dx(), func(part image.Rectangle, moments Image) error {
		key, build := a.encoding(part.Dy(), part.Dx())
		return a.Evaluate(ctx, key, build,
			func(p *nn.Program) error { return p.SetPixels("image", pixelsOf(img, part)...) },
			func(p *nn.Program) ([]float32, error) { return moments.Data, p.Floats(ctx, "moments", moments.Data) }, a.tapsOf(false, taps)...)
	})
}

// encode has one fill in the moments of the image, or of every tile of it.
func (a *Autoencoder) encode(height, width int, one func(part image.Rectangle, moments Image) error) (Image, error) {
	f := a.Config.ScaleFactor()
	encode := func(part image.Rectangle) (Image, error) {
		moments := NewImage(part.Dy()/f, part.Dx()/f, 2*a.Config.LatentChannels)
		return moments, one(part, moments)
	}
	if a.tiles(height, width) {
		latent := a.Tile / f
		out := NewImage(height/f, width/f, 2*a.Config.LatentChannels)
		return tiled(out, height, width, a.Tile, blend(latent), latent-blend(latent), encode)
	}
	return encode(image.Rect(0, 0, width, height))
}

// Decode is the image of unscaled latents: values about −1…1. Taps see every tile on its own; those of the encoder
// alone are ignored.
func (a *Autoencoder) Decode(ctx context.Context, z Image, taps ...nn.Tap) (Image, error) {
	f := a.Config.ScaleFactor()
	if !a.tiles(f*z.Height, f*z.Width) {
		return a.decode(ctx, z, nil, taps)
	}
	size := a.Tile / f
	out := NewImage(f*z.Height, f*z.Width, a.Config.OutChannels)
	return tiled(out, z.Height, z.Width, size, blend(a.Tile), a.Tile-blend(a.Tile), func(part image.Rectangle) (Image, error) {
		return a.decode(ctx, z.crop(part), nil, taps)
	})
}

// DecodeImage is Decode followed by Image.Pixels. Nothing but the pixels leaves the device unless there are tiles to be
// joined.
func (a *Autoencoder) DecodeImage(ctx context.Context, z Image, taps ...nn.Tap) (*image.NRGBA, error) {
	f := a.Config.ScaleFactor()
	if a.tiles(f*z.Height, f*z.Width) {
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

// tiles reports whether an image of so many pixels is encoded and decoded in parts.
func (a *Autoencoder) tiles(height, width int) bool {
	return a.Tile > 0 && (height > a.Tile || width > a.Tile)
}

// decode runs the decoder. Where img is not nil its pixels are filled in, and a device that looks for NaN and Inf
// itself keeps the values, which are not returned.
func (a *Autoencoder) decode(ctx context.Context, z Image, img *image.NRGBA, taps []nn.Tap) (x Image, err error) {
	f := a.Config.ScaleFactor()
	key, build := a.decoding(z.Height, z.Width)
	err = a.Evaluate(ctx, key, build,
		func(p *nn.Program) error { return p.SetFloats("latents", z.Data...) },
		func(p *nn.Program) ([]float32, error) {
			if img != nil {
				if err := p.Pixels(ctx, "image", img.Pix); err != nil || p.AsyncFinite() {
					return nil, err
				}
			}
			x = NewImage(f*z.Height, f*z.Width, a.Config.OutChannels)
			return x.Data, p.Floats(ctx, "values", x.Data)
		}, a.tapsOf(true, taps)...)
	return x, err
}

// encoding states the encoder for images of one size, under a key of its own; decoding states the decoder, by the size
// of the latents.
func (a *Autoencoder) encoding(height, width int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae encode %d×%d", height, width), func(b *nn.Builder) {
		img := b.Input("image", kernels.Step, kernels.U8, 1, height, width, 4)
		b.Output("moments", a.model.Encode(b, b.FromPixels(img)))
	}
}

func (a *Autoencoder) decoding(height, width int) (key string, build func(*nn.Builder)) {
	return fmt.Sprintf("vae decode %d×%d", height, width), func(b *nn.Builder) {
		x := a.model.Decode(b, b.Input("latents", kernels.Step, kernels.F32, 1, height, width, a.Config.LatentChannels))
		img := b.ToPixels(x)
		b.Output("values", x)
		b.Output("image", img)
	}
}

// pixelsOf are those of a part of an image, row after row.
func pixelsOf(img *image.NRGBA, part image.Rectangle) []uint8 {
	part = part.Add(img.Rect.Min)
	from, n := img.PixOffset(part.Min.X, part.Min.Y), 4*part.Dx()
	if img.Stride == n {
		return img.Pix[from : from+n*part.Dy()]
	}
	pixels := make([]uint8, 0, n*part.Dy())
	for y := range part.Dy() {
		pixels = append(pixels, img.Pix[from+y*img.Stride:][:n]...)
	}
	return pixels
}

// Sample draws latents, still unscaled, from the posterior that Encode gave: mean + exp(logvar/2)·noise, with the log
// variance clamped to [−30, 20]. noise has a value for each latent, in the order [row, column, channel].
func (a *Autoencoder) Sample(moments Image, noise []float32) Image {
	c := a.Config.LatentChannels
	z := NewImage(moments.Height, moments.Width, c)
	for i := range z.Data {
		at := i/c*2*c + i%c
		mean, logvar := moments.Data[at], moments.Data[at+c]
		std := float32(math.Exp(float64(0.5 * min(max(logvar, -30), 20))))
		z.Data[i] = mean + float32(std*noise[i])
	}
	return z
}

// Scale turns the autoencoder's latents into those of the UNet, in place.
func (a *Autoencoder) Scale(z Image) {
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
func (a *Autoencoder) Unscale(z Image) {
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
