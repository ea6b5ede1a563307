package sdxl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/ipadapter"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// imageStates are an image prompt as the UNet reads it.
type imageStates struct {
	positive, negative []ipadapter.KV    // by cross-attention, values times the scale
	masks              map[int][]float32 // by level of the UNet; nil without
	copies             int               // images of the batch
}

// openedImages are the files of an image prompt, which who has the right to compute may use.
type openedImages struct{ adapter, encoder *imageModel }

// openImages opens the files of a request's image prompts, which say how many tokens an image has.
func (m *Model) openImages(q *resolved) (opened []openedImages, err error) {
	for i := range q.images {
		a := &q.images[i]
		adapter, err := m.openIPAdapter(a.Path)
		if err == nil {
			err = m.fitsAdapter(adapter.adapter.Config)
		}
		if err != nil {
			return nil, badFile("ip_adapters.path", a.Path, "an IP-Adapter for this model", err)
		}
		config := adapter.adapter.Config
		a.tokens = config.Tokens * len(a.Images)
		var encoder *imageModel
		if a.Encoder == "" {
			encoder, err = m.findEncoder(a.Path, config)
		} else {
			encoder, err = m.openEncoder(a.Encoder, config)
		}
		if err != nil {
			value := a.Encoder
			if value == "" {
				value = "absent"
			}
			return nil, badFile("ip_adapters.encoder", value, "the image encoder of "+a.Path, err)
		}
		opened = append(opened, openedImages{adapter, encoder})
	}
	return opened, m.images.trim(2 * len(q.images))
}

// encodeImages computes what the UNet reads of a request's image prompts.
func (m *Model) encodeImages(ctx context.Context, q *resolved, opened []openedImages, guided bool) (all []imageStates, err error) {
	for i, a := range q.images {
		adapter, encoder := opened[i].adapter.adapter, opened[i].encoder
		s := imageStates{copies: q.Images}
		var inputs [][]float32
		for _, img := range a.Images {
			x, err := encoder.encode(ctx, clip.Preprocess(toNRGBA(img), encoder.encoder.Config.ImageSize), adapter.Config.Plus)
			if err != nil {
				return nil, fmt.Errorf("image encoder: %w", err)
			}
			inputs = append(inputs, x)
		}
		if s.positive, err = adapter.Project(ctx, inputs); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Path, err)
		}
		if guided {
			blank, err := encoder.negative(ctx, adapter.Config)
			if err != nil {
				return nil, fmt.Errorf("image encoder: %w", err)
			}
			if s.negative, err = adapter.Project(ctx, [][]float32{blank}); err != nil {
				return nil, fmt.Errorf("%s: %w", a.Path, err)
			}
			for l, kv := range s.negative {
				s.negative[l] = ipadapter.KV{K: slices.Repeat(kv.K, len(a.Images)), V: slices.Repeat(kv.V, len(a.Images))}
			}
		}
		s.scale(a.scales)
		if a.Mask != nil {
			mask := a.Mask
			if q.MaskPadding == nil { // see IPAdapter.Mask
				mask = q.placed(mask, "")
			}
			s.masks = attentionMasks(mask, q.size, q.latents[2], q.latents[3], len(m.UNet.Config.BlockOutChannels))
		}
		all = append(all, s)
		for _, n := range []*nn.Network{encoder.network, adapter.Network} {
			if err := m.host.memory.done(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// encode gives hidden states or the embedding of an image.
func (c *imageModel) encode(ctx context.Context, pixels []float32, hidden bool) ([]float32, error) {
	if hidden {
		return c.encoder.Hidden(ctx, pixels)
	}
	return c.encoder.Embed(ctx, pixels)
}

// negative is what the negative side of guidance has in an image's place.
func (c *imageModel) negative(ctx context.Context, of ipadapter.Config) ([]float32, error) {
	if !of.Plus {
		return make([]float32, of.Width), nil
	}
	if c.blank == nil {
		size := c.encoder.Config.ImageSize
		blank, err := c.encoder.Hidden(ctx, make([]float32, 3*size*size))
		if err != nil {
			return nil, err
		}
		c.blank = blank
	}
	return c.blank, nil
}

// scale multiplies the values, in which attention is linear.
func (s *imageStates) scale(scales []float64) {
	for _, side := range [][]ipadapter.KV{s.positive, s.negative} {
		for l := range side {
			for i := range side[l].V {
				side[l].V[i] *= float32(scales[l])
			}
		}
	}
}

// imageShape is what a compiled step depends on of image prompts: of each the number of tokens, whether it has a mask,
// and which cross-attentions read it.
func imageShape(prompts []imagePrompt) string {
	var s strings.Builder
	for _, a := range prompts {
		mask := ""
		if a.Mask != nil {
			mask = " masked"
		}
		fmt.Fprintf(&s, "[%d%s ", a.tokens, mask)
		for _, v := range a.scales {
			if v != 0 {
				s.WriteByte('1')
			} else {
				s.WriteByte('0')
			}
		}
		s.WriteByte(']')
	}
	return s.String()
}

// imageInput is one that a step reads: of an adapter for a cross-attention.
type imageInput struct {
	adapter, tokens, attention int
	masked                     bool
	at                         unet.CrossAttention
}

// imageInputs undoes imageShape.
func (s shape) imageInputs(c unet.Config) (all []imageInput) {
	if s.images == "" {
		return nil
	}
	attentions := c.CrossAttentions()
	for i, part := range strings.Split(strings.Trim(s.images, "[]"), "][") {
		words := strings.Fields(part)
		tokens := 0
		fmt.Sscan(words[0], &tokens)
		for l, used := range words[len(words)-1] {
			if used == '1' {
				all = append(all, imageInput{i, tokens, l, len(words) == 3, attentions[l]})
			}
		}
	}
	return all
}

func (i imageInput) name(what string) string {
	return fmt.Sprintf("image %s %d of attention %d", what, i.adapter, i.attention)
}

func (i imageInput) maskName() string {
	return fmt.Sprintf("image mask %d of level %d", i.adapter, i.at.Level)
}

// positions is the number of queries of a cross-attention.
func positions(height, width, level int) int {
	for range level {
		height, width = (height+1)/2, (width+1)/2
	}
	return height * width
}

// declareImages declares what a step reads of image prompts.
func declareImages(b *nn.Builder, c unet.Config, s shape) [][]unet.ImagePrompt {
	inputs := s.imageInputs(c)
	if inputs == nil {
		return nil
	}
	n := s.unetBatch()
	all := make([][]unet.ImagePrompt, len(c.CrossAttentions()))
	masks := map[string]*nn.Value{}
	for _, i := range inputs {
		p := unet.ImagePrompt{
			K: b.Input(s.named(i.name("keys"), 0), kernels.Request, kernels.F32, n, i.tokens, i.at.Channels),
			V: b.Input(s.named(i.name("values"), 0), kernels.Request, kernels.F32, n, i.tokens, i.at.Channels),
		}
		if name := i.maskName(); i.masked {
			if masks[name] == nil {
				masks[name] = b.Input(s.named(name, 0), kernels.Request, kernels.F32, n, positions(s.height, s.width, i.at.Level))
			}
			p.Mask = masks[name]
		}
		all[i.attention] = append(all[i.attention], p)
	}
	return all
}

// setImages writes what a step reads of image prompts.
func setImages(u *unet.Denoiser, p *nn.Program, s shape, c *conditioning) error {
	for _, i := range s.imageInputs(u.Config) {
		for _, in := range []struct {
			name string
			of   func(imageStates, []ipadapter.KV) []float32
		}{
			{i.name("keys"), func(_ imageStates, side []ipadapter.KV) []float32 { return side[i.attention].K }},
			{i.name("values"), func(_ imageStates, side []ipadapter.KV) []float32 { return side[i.attention].V }},
			{i.maskName(), func(states imageStates, _ []ipadapter.KV) []float32 { return states.masks[i.at.Level] }},
		} {
			if in.name == i.maskName() && !i.masked {
				continue
			}
			if err := p.SetFloats(s.named(in.name, 0), c.imageRows(s.guided, i.adapter, in.of)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// imageRows lays a part of an image prompt out as the UNet's batch takes it: the negative side of all, then the positive
// one, or that alone.
func (c *conditioning) imageRows(guided bool, adapter int, of func(imageStates, []ipadapter.KV) []float32) (rows []float32) {
	members := c.members
	if members == nil {
		members = []*conditioning{c}
	}
	add := func(negative bool) {
		for _, m := range members {
			states := m.images[adapter]
			side := states.positive
			if negative {
				side = states.negative
			}
			row := of(states, side)
			for range states.copies {
				rows = append(rows, row...)
			}
		}
	}
	if guided {
		add(true)
	}
	add(false)
	return rows
}
