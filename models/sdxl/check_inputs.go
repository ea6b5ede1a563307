package sdxl

import (
	"context"
	"errors"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer"
)

// What Check computes with. In the middle of the schedule both latents and text matter to the UNet.
const (
	checkPrompt   = "a lighthouse at dusk, oil on canvas"
	checkSeed     = 20250101
	checkTimestep = 500
	checkScale    = 5 // guidance, of models that embed its scale
)

// CheckSize is the size that Check computes at. One that can't be done is a *RequestError.
func (m *Model) CheckSize(o CheckOptions) (Size, error) {
	if err := m.check(); err != nil {
		return Size{}, err
	}
	f := m.VAE.Config.ScaleFactor()
	smallest := 2 * f << (len(m.UNet.Config.BlockOutChannels) - 1)
	size := Size{Height: o.Height, Width: o.Width}
	if size.Height == 0 {
		size.Height = smallest
	}
	if size.Width == 0 {
		size.Width = smallest
	}
	return checkSize(size, f)
}

// checkedParts lists what Check compares.
func (m *Model) checkedParts(size Size) []checkedPart {
	var parts []checkedPart
	if m.TextEncoder != nil {
		parts = append(parts, checkedEncoder("text_encoder", m.TextEncoder, m.Tokenizer))
	}
	f := m.VAE.Config.ScaleFactor()
	parts = append(parts, checkedEncoder("text_encoder_2", m.TextEncoder2, m.Tokenizer2),
		checkedPart{"unet", "unet", m.UNet.Network, func(ctx context.Context) (func(*nn.Builder), map[string]any, error) {
			return m.checkedUNet(ctx, size)
		}},
		checkedPart{"vae.encoder", "vae", m.VAE.Network, func(context.Context) (func(*nn.Builder), map[string]any, error) {
			return m.VAE.Graph(false, size.Height, size.Width), map[string]any{"image": checkedImage(size)}, nil
		}},
		checkedPart{"vae.decoder", "vae", m.VAE.Network, func(context.Context) (func(*nn.Builder), map[string]any, error) {
			z := one(checkedNoise(1, m.VAE.Config.LatentChannels, size.Height/f, size.Width/f), 0)
			m.VAE.Unscale(z)
			return m.VAE.Graph(true, size.Height, size.Width), map[string]any{"latents": z.Data}, nil
		}},
	)
	if m.TAESD != nil {
		parts = append(parts, checkedPart{"taesd.decoder", "taesd", m.TAESD.Network, func(context.Context) (func(*nn.Builder), map[string]any, error) {
			z := one(checkedNoise(1, m.TAESD.Config.LatentChannels, size.Height/f, size.Width/f), 0)
			return m.TAESD.Graph(true, size.Height, size.Width), map[string]any{"latents": z.Data}, nil
		}})
	}
	return parts
}

// checkedEncoder is a text encoder with the empty prompt and another one.
func checkedEncoder(name string, e *clip.Encoder, t *tokenizer.Tokenizer) checkedPart {
	return checkedPart{name, name, e.Network, func(context.Context) (func(*nn.Builder), map[string]any, error) {
		var ids, eos []int32
		texts := []string{"", checkPrompt}
		for _, text := range texts {
			encoded, err := tokenIDs(e, t, text)
			if err != nil {
				return nil, nil, err
			}
			ids, eos = append(ids, encoded...), append(eos, int32(clip.PooledRow(encoded, e.Config.EOSTokenID)))
		}
		return e.Graph(len(texts), len(ids)/len(texts), 0), map[string]any{"ids": ids, "eos": eos}, nil
	}}
}

// checkedUNet is one evaluation of both sides of guidance.
func (m *Model) checkedUNet(ctx context.Context, size Size) (func(*nn.Builder), map[string]any, error) {
	q := &resolved{size: size, guidance: []float64{checkScale}, schedule: &scheduler.Schedule{}, Parameters: Parameters{
		Images: 1, ImagesPerPrompt: 1, Prompts: []Prompt{{Prompt: checkPrompt, NegativePrompt: new("")}}, OriginalSize: size, TargetSize: size,
		AestheticScore: new(6.0), NegativeAestheticScore: new(2.5),
	}}
	if m.spec.refiner() {
		q.Task = ImageToImage
	}
	s := m.shape(q)
	c, err := m.condition(ctx, q, s.guided, func(string) {})
	if errors.Is(err, kernels.ErrNotFinite) { // of an encoder, which was found to be wrong already
		q.request.Embeddings = &Embeddings{
			Prompt: checkedNoise(1, s.tokens, s.text), Pooled: checkedNoise(1, s.pooled),
			Negative: checkedNoise(1, s.tokens, s.text), NegativePooled: checkedNoise(1, s.pooled),
		}
		c, err = m.condition(ctx, q, s.guided, func(string) {})
	}
	if err != nil {
		return nil, nil, err
	}
	text, pooled, timeIDs := c.rows(s, 0, 0)
	inputs := map[string]any{
		"x":           channelsLast(checkedNoise(1, m.UNet.Config.OutChannels, s.height, s.width)),
		"input scale": []float32{1}, "timestep": slices.Repeat([]float32{checkTimestep}, s.unetBatch()),
		"text": text, "pooled": pooled, "time ids": timeIDs,
	}
	if dim := int(m.UNet.Config.TimeCondProjDim); dim > 0 {
		inputs["guidance embedding"] = slices.Repeat(guidanceEmbedding(checkScale, dim), s.unetBatch())
	}
	if s.extra > 0 {
		inputs["image inputs"] = checkedNoise(s.unetBatch(), s.height, s.width, s.extra).Data
	}
	_, build := prediction(m.UNet, s)
	return build, inputs, nil
}

// checkedNoise is unit normal noise.
func checkedNoise(shape ...int) *Tensor {
	x := nn.NewTensor(shape...)
	scheduler.NewGenerator(checkSeed).Randn(x.Data)
	return x
}

// checkedImage is the pixels of noise about grey.
func checkedImage(size Size) []uint8 {
	pixels := make([]uint8, 4*size.Height*size.Width)
	for i, x := range checkedNoise(len(pixels)).Data {
		pixels[i] = uint8(min(max(128+64*x, 0), 255))
	}
	return pixels
}
