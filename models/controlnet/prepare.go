package controlnet

import (
	"slices"

	"github.com/goxl/goxl/nn"
)

// Hint is a control image of a net.
type Hint struct {
	Values []float32 // RGB in 0…1, [H, W, 3], of the image's size
	Type   int       // of a union: the kind, below Config.ControlTypes
}

// farBelow is less than every residual, in float16 too.
const farBelow = -60000

// Prepare writes what a program of a shape reads once a request, but for the conditioning: the control images, as many
// as the shape has.
func (n *Network) Prepare(p *nn.Program, s Shape, hints []Hint) error {
	set := p.SetFloats
	if err := set("one", 1); err != nil {
		return err
	}
	types := make([]float32, n.Config.ControlTypes)
	for i, h := range hints {
		values := h.Values
		if n.Config.Order == "bgr" {
			values = reversed(values)
		}
		if err := set(hintName(i), values...); err != nil {
			return err
		}
		if !n.Config.Union() {
			continue
		}
		types[h.Type] = 1
		if err := set(taskName(i), n.tasks[h.Type]...); err != nil {
			return err
		}
	}
	if n.Config.Union() {
		if err := set("types", slices.Repeat(types, s.rows())...); err != nil {
			return err
		}
		width := n.Config.UNet.BlockOutChannels[0]
		if err := set(zerosName([]int{1, 1, 1, width}), make([]float32, width)...); err != nil {
			return err
		}
	}
	return n.prepareResiduals(p, s)
}

// prepareResiduals writes the constants that residuals are pooled and masked by.
func (n *Network) prepareResiduals(p *nn.Program, s Shape) error {
	if s.masked() {
		if err := p.SetFloats("minus one", -1); err != nil {
			return err
		}
	}
	done := map[int]bool{}
	for _, shape := range n.Config.UNet.Residuals(s.Height, s.Width) {
		width := shape[2]
		if done[width] {
			continue
		}
		done[width] = true
		if n.Config.GlobalPool {
			if err := p.SetFloats(zerosName([]int{s.rows(), 1, 1, width}), make([]float32, s.rows()*width)...); err != nil {
				return err
			}
		}
		if !s.masked() {
			continue
		}
		mask := make([]float32, 2*s.Batch*width)
		for i := range s.Batch * width {
			mask[i] = farBelow
		}
		if err := p.SetFloats(maskName(width), mask...); err != nil {
			return err
		}
	}
	return nil
}

// reversed is an image whose red and blue change places.
func reversed(values []float32) []float32 {
	out := slices.Clone(values)
	for i := 0; i+2 < len(out); i += 3 {
		out[i], out[i+2] = out[i+2], out[i]
	}
	return out
}

// SetScales writes the scales of a step, one for each control image. Where a shape has HintScales they scale those;
// elsewhere the first one scales the residuals, in guess mode growing from a tenth of it to all of it.
func (n *Network) SetScales(p *nn.Program, s Shape, scales []float64) error {
	count := len(n.Config.UNet.Residuals(s.Height, s.Width))
	residuals := slices.Repeat([]float32{1}, count)
	if s.Guess && !n.Config.GlobalPool {
		residuals = GuessScales(count)
	}
	for i := range residuals {
		if !s.HintScales {
			residuals[i] *= float32(scales[0])
		}
		if err := p.SetFloats(scaleName(i), residuals[i]); err != nil {
			return err
		}
	}
	if !s.HintScales {
		return nil
	}
	for i, scale := range scales {
		if err := p.SetFloats(hintScaleName(i), float32(scale)); err != nil {
			return err
		}
	}
	return nil
}
