package clip

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// VisionEncoder is an image encoder on a device. It is used by one goroutine at a time.
type VisionEncoder struct {
	*nn.Network
	Config    VisionConfig
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *VisionModel
	positions []float32 // [T, C], the class's row added to the first; read once
}

// OpenVision binds a checkpoint and puts it on the device. Tensors of a whole CLIP's text side may be there.
func OpenVision(dev kernels.Device, src kernels.Source, c VisionConfig, o kernels.Options) (*VisionEncoder, error) {
	ignore := []string{visionPrefix + "embeddings.position_ids", "logit_scale", "text_projection.weight"}
	for _, name := range src.Names() {
		if hasPrefix(name) {
			ignore = append(ignore, name)
		}
	}
	m := NewVision(c)
	bound, err := nn.Bind(m, patchMatrix{src}, ignore...)
	if err != nil {
		return nil, err
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &VisionEncoder{Network: n, Config: c, Unclaimed: bound.Unclaimed, model: m}, nil
}

// Embed gives the embedding [ProjectionDim] of an image (image_embeds), whose pixels [3, ImageSize, ImageSize]
// Preprocess gives.
func (e *VisionEncoder) Embed(ctx context.Context, pixels []float32) ([]float32, error) {
	return e.encode(ctx, pixels, true)
}

// Hidden gives the hidden states [T, HiddenSize] of an image before the last layer (hidden_states[-2]).
func (e *VisionEncoder) Hidden(ctx context.Context, pixels []float32) ([]float32, error) {
	return e.encode(ctx, pixels, false)
}

func (e *VisionEncoder) encode(ctx context.Context, pixels []float32, whole bool) (out []float32, err error) {
	c := e.Config
	if want := c.Channels * c.ImageSize * c.ImageSize; len(pixels) != want {
		return nil, fmt.Errorf("image encoder: %d numbers: must be %d, an image of %d×%d", len(pixels), want, c.ImageSize, c.ImageSize)
	}
	if e.positions == nil {
		if e.positions, err = e.readPositions(); err != nil {
			return nil, err
		}
	}
	out = make([]float32, c.Tokens()*c.HiddenSize)
	if whole {
		out = make([]float32, c.ProjectionDim)
	}
	err = e.Evaluate(ctx, fmt.Sprintf("image encoder, whole %v", whole), e.Graph(whole), func(p *nn.Program) error {
		if whole {
			if err := p.SetInts("first", 0); err != nil {
				return err
			}
		}
		if err := p.SetFloats("positions", e.positions...); err != nil {
			return err
		}
		return p.SetFloats("patches", c.patches(pixels)...)
	}, func(p *nn.Program) ([]float32, error) { return out, p.Floats(ctx, "out", out) })
	return out, err
}

// Graph builds the program of one image: to its embedding if whole, else to hidden states.
func (e *VisionEncoder) Graph(whole bool) func(*nn.Builder) {
	return visionGraph(e.Config, e.model, whole)
}

// VisionGraph is Graph of an encoder of a configuration, of which a plan counts operations.
func VisionGraph(c VisionConfig, whole bool) func(*nn.Builder) {
	return visionGraph(c, nn.Name(NewVision(c)), whole)
}

func visionGraph(c VisionConfig, m *VisionModel, whole bool) func(*nn.Builder) {
	return func(b *nn.Builder) {
		patches := b.Input("patches", kernels.Step, kernels.F32, 1, c.Tokens(), c.Channels*c.PatchSize*c.PatchSize)
		positions := b.Input("positions", kernels.Request, kernels.F32, 1, c.Tokens(), c.HiddenSize)
		var first *nn.Value
		if whole {
			first = b.Input("first", kernels.Request, kernels.I32, 1)
		}
		b.Output("out", m.Forward(b, patches, positions, first, whole))
	}
}

// readPositions reads what is added to the patches.
func (e *VisionEncoder) readPositions() ([]float32, error) {
	source, c := e.Updated(), e.Config
	classes, err := rowsOf(source, visionPrefix+"embeddings.class_embedding")
	if err != nil {
		return nil, err
	}
	row, err := rowsOf(source, visionPrefix+"embeddings.position_embedding.weight")
	if err != nil {
		return nil, err
	}
	class := make([]float32, c.HiddenSize)
	classes(class, 0)
	all := make([]float32, c.Tokens()*c.HiddenSize)
	for t := range c.Tokens() {
		row(all[t*c.HiddenSize:][:c.HiddenSize], t)
	}
	for i, v := range class {
		all[i] += v
	}
	return all, nil
}
