package sdxl

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
)

// plusTokens is what an IP-Adapter plus makes of an image.
const plusTokens = 16

// steeringParts are the polynomials of what steers a base by images; none of a refiner, which has nothing of it.
func (m *Model) steeringParts(c *Cost) []costPart {
	if m.spec.refiner() {
		return nil
	}
	net := controlnet.Config{UNet: m.UNet.Config, Channels: 3, HintChannels: []int{16}}
	net.UNet.InChannels = m.VAE.Config.LatentChannels
	for width := 32; net.ScaleFactor() < m.VAE.Config.ScaleFactor(); width = 3 * width { // 16, 32, 96 and 256 in published ones
		net.HintChannels = append(net.HintChannels, min(width, 256))
	}
	prompt := fmt.Sprintf("[%d %s]", plusTokens, strings.Repeat("1", len(m.UNet.Config.CrossAttentions())))
	control := func(side int, guided bool) func(*nn.Builder) {
		s := m.costShape(side)
		return controlnet.Graph(net, controlnet.Shape{
			Batch: 1, Height: s.height, Width: s.width, Tokens: s.tokens, Text: s.text, Pooled: s.pooled, TimeIDs: s.ids, Guided: guided, Hints: 1, Sums: true,
		})
	}
	parts := []costPart{
		{&c.Control, func(side int) func(*nn.Builder) { return control(side, true) }},
		{&c.ControlImage, func(side int) func(*nn.Builder) { return control(side, false) }},
		{&c.ImagePrompt, func(side int) func(*nn.Builder) {
			s := m.costShape(side)
			s.images = prompt
			return sampling(m.UNet, s)
		}},
	}
	adapter := t2iadapter.XL
	if adapter.Widths = m.adapterWidths(); adapter.Widths == nil {
		return parts
	}
	return append(parts, costPart{&c.T2IAdapter, func(side int) func(*nn.Builder) { return t2iadapter.Graph(adapter, side, side) }})
}

// adapterWidths are those of a T2I-Adapter for the UNet, nil where there is none: they are made for three levels.
func (m *Model) adapterWidths() []int {
	channels := m.UNet.Config.BlockOutChannels
	if len(channels) != 3 {
		return nil
	}
	return []int{channels[0], channels[1], channels[2], channels[2]}
}

// imageCosts are those of models that do not go by the UNet.
func (m *Model) imageCosts(c *Cost, flops float64) error {
	encoders, _ := syntheticPrompts(false, nil)
	for _, e := range encoders {
		operations, err := m.operations(clip.VisionGraph(e.config, true))
		if err != nil {
			return err
		}
		c.ImageEncode = max(c.ImageEncode, operations/flops)
	}
	const pixels = 1 << 20
	c.Upscale[1] = float64(esrgan.X4Plus.FLOPs(pixels)) / pixels / flops
	return nil
}
