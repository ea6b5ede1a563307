// Package taesd is the Tiny AutoEncoder (TAESD): it decodes latents to an image, and encodes one, by 2.4 million
// parameters in place of the VAE's 84 million. TAESDXL is the one that was distilled from SDXL's VAE.
//
// Source: diffusers 0.42 models/autoencoders/autoencoder_tiny.py, vae.py (EncoderTiny, DecoderTiny) and
// models/unets/unet_2d_blocks.py (AutoencoderTinyBlock); the names of the original files are those of
// github.com/madebyollin/taesd.
package taesd

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors under diffusers' names. A half that the checkpoint lacks is nil.
type Model struct {
	Encoder *Half `weight:"encoder"`
	Decoder *Half `weight:"decoder"`
}

// New declares both halves of a configuration.
func New(c Config) *Model { return &Model{Encoder: NewEncoder(c), Decoder: NewDecoder(c)} }

// Half is an encoder or a decoder: layers one behind the other (nn.Sequential).
type Half struct {
	Layers []Layer `weight:"layers"` // nil where diffusers has a layer without tensors
	steps  []step
}

// Layer maps images [B, H, W, C] to others.
type Layer interface {
	Forward(b *nn.Builder, x *nn.Value) *nn.Value
}

// step is a layer with what lies around it and has no tensors.
type step struct {
	layer  Layer
	double bool // the image is doubled in front of a convolution
	relu   bool // behind it
}

func (h *Half) add(s step) {
	if s.double {
		h.Layers = append(h.Layers, nil)
	}
	h.Layers = append(h.Layers, s.layer)
	if s.relu {
		h.Layers = append(h.Layers, nil)
	}
	h.steps = append(h.steps, s)
}

// NewEncoder declares the encoder of a configuration. It halves the image once a level but the first.
func NewEncoder(c Config) *Half {
	h := &Half{}
	width := c.EncoderBlockOutChannels[0]
	for i, blocks := range c.NumEncoderBlocks {
		if i == 0 {
			h.add(step{layer: nn.NewConv2d(c.InChannels, width, 3)})
		} else {
			conv := nn.NewConv2d(width, width, 3)
			conv.Stride, conv.Bias = 2, nil
			h.add(step{layer: conv})
		}
		for range blocks {
			h.add(step{layer: NewBlock(width)})
		}
	}
	h.add(step{layer: nn.NewConv2d(width, c.LatentChannels, 3)})
	return h
}

// NewDecoder declares the decoder of a configuration. It doubles the image once a level but the last.
func NewDecoder(c Config) *Half {
	h := &Half{}
	width := c.DecoderBlockOutChannels[0]
	h.add(step{layer: nn.NewConv2d(c.LatentChannels, width, 3), relu: true})
	for i, blocks := range c.NumDecoderBlocks {
		for range blocks {
			h.add(step{layer: NewBlock(width)})
		}
		if i == len(c.NumDecoderBlocks)-1 {
			h.add(step{layer: nn.NewConv2d(width, c.OutChannels, 3)})
			break
		}
		conv := nn.NewConv2d(width, width, 3)
		conv.Bias = nil
		h.add(step{layer: conv, double: true})
	}
	return h
}

// Forward applies the layers.
func (h *Half) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	for _, s := range h.steps {
		conv, ok := s.layer.(*nn.Conv2d)
		if !ok {
			x = s.layer.Forward(b, x)
			continue
		}
		in, e := nn.Source{X: x}, nn.Epilogue{}
		if s.double {
			in.Height, in.Width = 2*x.Dim(1), 2*x.Dim(2)
		}
		if s.relu {
			e.Act = kernels.ReLU
		}
		x = conv.Fused(b, in, e)
	}
	return b.Tap(h, x)
}

// Encode maps images [B, H, W, 3] of values in 0…1 to latents [B, H/f, W/f, latent channels], as the UNet takes them.
func (m *Model) Encode(b *nn.Builder, x *nn.Value) *nn.Value { return m.Encoder.Forward(b, x) }

// Decode maps latents [B, h, w, latent channels], as the UNet gives them, to images [B, f·h, f·w, 3] in the range that
// the weights of the last layer give: the checkpoint's own is about 0…1.
func (m *Model) Decode(b *nn.Builder, z *nn.Value) *nn.Value {
	return m.Decoder.Forward(b, b.Activate(z, kernels.SoftClamp))
}

// Block is three convolutions with a residual (AutoencoderTinyBlock).
type Block struct {
	Conv []*nn.Conv2d `weight:"conv"` // at 0, 2 and 4; a ReLU lies between them
}

// NewBlock declares a block of a width.
func NewBlock(width int) *Block {
	conv := func() *nn.Conv2d { return nn.NewConv2d(width, width, 3) }
	return &Block{Conv: []*nn.Conv2d{conv(), nil, conv(), nil, conv()}}
}

// Forward keeps the shape [B, H, W, C].
func (t *Block) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	relu := nn.Epilogue{Act: kernels.ReLU}
	h := t.Conv[0].Fused(b, nn.Source{X: x}, relu)
	h = t.Conv[2].Fused(b, nn.Source{X: h}, relu)
	return b.Tap(t, t.Conv[4].Fused(b, nn.Source{X: h}, nn.Epilogue{Act: kernels.ReLU, ActLast: true, Residual: x}))
}
