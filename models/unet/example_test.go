package unet_test

import (
	"context"
	"fmt"
	"log"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Small is a UNet of two levels, with attention in the lower one, that reads no sizes. The tags are its checkpoint's
// names.
type Small struct {
	ConvIn   *nn.Conv2d              `weight:"conv_in"`
	Time     *unet.TimestepEmbedding `weight:"time_embedding"`
	Down     []*unet.Level           `weight:"down_blocks"`
	Mid      *unet.MidBlock          `weight:"mid_block"`
	Up       []*unet.Level           `weight:"up_blocks"`
	NormOut  *nn.GroupNorm           `weight:"conv_norm_out"`
	ConvOut  *nn.Conv2d              `weight:"conv_out"`
	channels int
}

func NewSmall(channels, text int) *Small {
	const groups, eps = 4, 1e-5
	plain := unet.LevelConfig{
		In: channels, Out: channels, Layers: 1, Resample: true, Embedding: 4 * channels, Groups: groups, Eps: eps,
	}
	deep := plain
	deep.Out, deep.Resample = 2*channels, false
	deep.Attention, deep.Depth, deep.Heads, deep.Context = true, 1, 2, text
	mid, up, last := deep, deep, plain
	mid.In = 2 * channels
	up.In, up.Layers, up.Resample = 2*channels, 2, true
	last.In, last.Layers, last.Resample = 2*channels, 2, false
	// conv_in, the plain level and its halving leave skips of channels, the deep level one of 2·channels.
	skips := []int{channels, channels, channels, 2 * channels}
	return &Small{
		channels: channels,
		ConvIn:   nn.NewConv2d(4, channels, 3),
		Time:     unet.NewTimestepEmbedding(channels, 4*channels, 0),
		Down:     []*unet.Level{unet.NewDownLevel(plain), unet.NewDownLevel(deep)},
		Mid:      unet.NewMidBlock(mid),
		Up:       []*unet.Level{unet.NewUpLevel(up, skips), unet.NewUpLevel(last, skips[:2])},
		NormOut:  nn.NewGroupNorm(groups, channels, eps),
		ConvOut:  nn.NewConv2d(channels, 4, 3),
	}
}

// Forward implements unet.Predictor.
func (m *Small) Forward(b *nn.Builder, in unet.Inputs) *nn.Value {
	emb := b.Sinusoid(in.Timestep, kernels.Sinusoid{Dim: m.channels, CosFirst: true})
	emb = b.Activate(m.Time.Forward(b, emb, nil, nil), kernels.SiLU)
	x := m.ConvIn.Forward(b, in.Sample)
	skips := []*nn.Value{x}
	for _, level := range m.Down {
		x, skips = level.Down(b, x, emb, in.Text, skips)
	}
	x = m.Mid.Forward(b, x, emb, in.Text)
	for _, level := range m.Up {
		x, skips = level.Up(b, x, emb, in.Text, skips)
	}
	return m.ConvOut.Forward(b, m.NormOut.Forward(b, x, nil, kernels.SiLU))
}

// A UNet of one's own is put together from blocks, opened with its weights, and run with a tap on its attention.
func Example_ownModel() {
	const channels, text, height, width, tokens = 16, 8, 8, 12, 5
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	model := NewSmall(channels, text)
	src := weights.Synthetic("small", nn.Shapes(model), kernels.F32) // or weights.Open of a file
	config := unet.Config{InChannels: 4, OutChannels: 4, CrossAttentionDim: unet.PerLevel{text}}
	d, err := unet.OpenModel(dev, src, config, model, kernels.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	program, err := d.Program("prediction", func(b *nn.Builder) {
		b.Output("prediction", d.Model.Forward(b, unet.Inputs{
			Sample:   b.Input("sample", kernels.Step, kernels.F32, 1, height, width, config.InChannels),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, 1, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, 1, tokens, text),
		}))
	}, nn.Tap{Path: "mid_block.**.attn2", Probabilities: func(path string, p *nn.Tensor) { fmt.Println(path, p.Shape) }})
	if err != nil {
		log.Fatal(err)
	}
	sample := nn.NewTensor(1, height, width, config.InChannels)
	for i := range sample.Data {
		sample.Data[i] = float32(i%7) - 3
	}
	if err := program.SetFloats("sample", sample.Data...); err != nil {
		log.Fatal(err)
	}
	if err := program.SetFloats("timestep", 981); err != nil {
		log.Fatal(err)
	}
	if err := program.SetFloats("text", make([]float32, tokens*text)...); err != nil {
		log.Fatal(err)
	}
	if err := program.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	prediction := nn.NewTensor(sample.Shape...)
	if err := program.Floats(context.Background(), "prediction", prediction.Data); err != nil {
		log.Fatal(err)
	}
	fmt.Println("prediction", prediction.Shape)
	// Output:
	// mid_block.attentions.0.transformer_blocks.0.attn2 [1 2 24 5]
	// prediction [1 8 12 4]
}
