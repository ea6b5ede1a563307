// Package controlnet is the networks that steer SDXL's UNet by an image: ControlNetModel and ControlNetUnionModel.
//
// Source: diffusers 0.42 models/controlnets/controlnet.py, controlnet_union.py, multicontrolnet.py and
// multicontrolnet_union.py.
package controlnet

import (
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of a ControlNet under their checkpoint names.
type Model struct {
	config Config
	unet   *unet.Model // declares the way down; its way up is not there

	ConvIn        *nn.Conv2d              `weight:"conv_in"`
	TimeEmbedding *unet.TimestepEmbedding `weight:"time_embedding"`
	AddEmbedding  *unet.TimestepEmbedding `weight:"add_embedding"`
	Hint          *HintEmbedding          `weight:"controlnet_cond_embedding"`
	DownBlocks    []*unet.Level           `weight:"down_blocks"`
	MidBlock      *unet.MidBlock          `weight:"mid_block"`
	DownOut       []*nn.Conv2d            `weight:"controlnet_down_blocks"` // the zero convolutions, one a skip connection
	MidOut        *nn.Conv2d              `weight:"controlnet_mid_block"`

	// Of a union; nil in others.
	TypeEmbedding *unet.TimestepEmbedding `weight:"control_add_embedding"`
	Fusion        []*FusionBlock          `weight:"transformer_layes"` // the checkpoint's own spelling
	FusionOut     *nn.Linear              `weight:"spatial_ch_projs"`

	// Of other classes: tensors of theirs mean that the checkpoint is not the model's own.
	ClassEmbedding *nn.Linear `weight:"class_embedding"`
	EncoderHidProj *nn.Linear `weight:"encoder_hid_proj"`
}

// New declares the model of a configuration.
func New(c Config) *Model {
	u := unet.New(c.UNet)
	m := &Model{
		config: c, unet: u,
		ConvIn: u.ConvIn, TimeEmbedding: u.TimeEmbedding, AddEmbedding: u.AddEmbedding, DownBlocks: u.DownBlocks, MidBlock: u.MidBlock,
		Hint: NewHintEmbedding(c),
	}
	shapes := c.UNet.Residuals(1, 1)
	for _, shape := range shapes[:len(shapes)-1] {
		m.DownOut = append(m.DownOut, nn.NewConv2d(shape[2], shape[2], 1))
	}
	last := shapes[len(shapes)-1][2]
	m.MidOut = nn.NewConv2d(last, last, 1)
	if c.Union() {
		m.declareFusion()
	}
	return m
}

// HintEmbedding turns a control image into features of the latents' size. Source: ControlNetConditioningEmbedding.
type HintEmbedding struct {
	ConvIn  *nn.Conv2d   `weight:"conv_in"`
	Blocks  []*nn.Conv2d `weight:"blocks"` // in pairs, the second one with stride 2
	ConvOut *nn.Conv2d   `weight:"conv_out"`
}

// NewHintEmbedding declares it.
func NewHintEmbedding(c Config) *HintEmbedding {
	widths := c.HintChannels
	e := &HintEmbedding{ConvIn: nn.NewConv2d(c.Channels, widths[0], 3)}
	for i, in := range widths[:len(widths)-1] {
		half := nn.NewConv2d(in, widths[i+1], 3)
		half.Stride = 2
		e.Blocks = append(e.Blocks, nn.NewConv2d(in, in, 3), half)
	}
	e.ConvOut = nn.NewConv2d(widths[len(widths)-1], c.UNet.BlockOutChannels[0], 3)
	return e
}

// Forward maps an image of values in 0…1, [B, H, W, 3], to [B, h, w, C].
func (e *HintEmbedding) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	silu := nn.Epilogue{Act: kernels.SiLU}
	x = e.ConvIn.Fused(b, nn.Source{X: x}, silu)
	for _, block := range e.Blocks {
		x = block.Fused(b, nn.Source{X: x}, silu)
	}
	return b.Tap(e, e.ConvOut.Forward(b, x))
}

// Inputs of a ControlNet. B is its batch.
type Inputs struct {
	unet.Inputs                              // Sample, Timestep, Text, Pooled and TimeIDs as of the UNet; nothing else
	Hints       []*nn.Value                  // control images of values in 0…1, each [1, H, W, 3]: one, of a union one or more
	One         *nn.Value                    // [1], which is 1
	Zeros       func(shape ...int) *nn.Value // a value of zeros: of unions and of nets with global pooling
	Types       *nn.Value                    // of a union: [B, ControlTypes], 1 for each kind that there is, else 0
	Tasks       []*nn.Value                  // of a union: the row of task_embedding of each hint's kind, [1, 1, 1, C]
	Scales      []*nn.Value                  // of a union whose hints are scaled before they are joined: [1] each, else nil
}

// Forward returns the residuals before they are scaled, one for each of Config.UNet.Residuals with B before its shape.
func (m *Model) Forward(b *nn.Builder, in Inputs) []*nn.Value {
	emb := m.unet.Embed(b, in.Inputs)
	if m.config.Union() {
		emb = b.Add(emb, m.embedTypes(b, in.Types))
	}
	emb = b.Activate(emb, kernels.SiLU)
	hint := b.ScaleRepeat(m.hint(b, in), in.One, in.Sample.Dim(0))
	x := m.ConvIn.Fused(b, nn.Source{X: in.Sample}, nn.Epilogue{Residual: hint})
	skips := []*nn.Value{x}
	for _, level := range m.DownBlocks {
		x, skips = level.Down(b, x, emb, in.Text, skips)
	}
	x = m.MidBlock.Forward(b, x, emb, in.Text)
	if len(skips) != len(m.DownOut) {
		b.Fail("%d skip connections: must be %d", len(skips), len(m.DownOut))
	}
	var out []*nn.Value
	for i, skip := range skips {
		out = append(out, m.DownOut[i].Forward(b, skip))
	}
	out = append(out, m.MidOut.Forward(b, x))
	if m.config.GlobalPool {
		return pool(b, out, in.Zeros)
	}
	return out
}

// hint is what the control images add to the latents' features: [1, h, w, C].
func (m *Model) hint(b *nn.Builder, in Inputs) *nn.Value {
	if !m.config.Union() {
		return m.Hint.Forward(b, in.Hints[0])
	}
	return m.fuse(b, in)
}

// pool replaces residuals by their means over the image.
func pool(b *nn.Builder, residuals []*nn.Value, zeros func(shape ...int) *nn.Value) []*nn.Value {
	out := make([]*nn.Value, len(residuals))
	for i, r := range residuals {
		out[i] = b.Resize(mean(b, r, zeros(r.Dim(0), 1, 1, r.Dim(3))), r.Dim(1), r.Dim(2))
	}
	return out
}

// mean is that over the positions of x [B, H, W, C], [B, 1, 1, C]: attention that asks for nothing in particular, with
// zeros of the result's shape for queries.
func mean(b *nn.Builder, x, zeros *nn.Value) *nn.Value {
	return b.Attention(zeros, x, x, meanHeads(x.Dim(3)), false)
}

// meanHeads is a number of heads that devices are fast at: of 64 channels where they divide the width.
func meanHeads(channels int) int {
	if channels%64 == 0 {
		return channels / 64
	}
	return 1
}

// GuessScales are what guess mode multiplies n residuals by: torch.logspace(-1, 0, n).
func GuessScales(n int) []float32 {
	scales := make([]float32, n)
	for i := range scales {
		scales[i] = 1
		if n > 1 {
			scales[i] = float32(math.Pow(10, -1+float64(i)/float64(n-1)))
		}
	}
	return scales
}
