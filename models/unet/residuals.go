package unet

import "github.com/goxl/goxl/nn"

// Residuals are the shapes [H, W, C] of what a ControlNet adds to the skip connections, in the order of the way down,
// and last to the middle, where the latents are height×width.
func (c Config) Residuals(height, width int) [][]int {
	shapes := [][]int{{height, width, c.BlockOutChannels[0]}}
	for i, channels := range c.BlockOutChannels {
		for range c.LayersPerBlock.At(i) {
			shapes = append(shapes, []int{height, width, channels})
		}
		if i < len(c.BlockOutChannels)-1 {
			height, width = (height+1)/2, (width+1)/2
			shapes = append(shapes, []int{height, width, channels})
		}
	}
	return append(shapes, []int{height, width, c.BlockOutChannels[len(c.BlockOutChannels)-1]})
}

// Features are the shapes [H, W, C] of what a T2I-Adapter adds to the levels of the way down and, last, to the middle,
// where the latents are height×width.
func (c Config) Features(height, width int) [][]int {
	var shapes [][]int
	for i, channels := range c.BlockOutChannels {
		h, w := height, width
		if i < len(c.BlockOutChannels)-1 {
			height, width = (height+1)/2, (width+1)/2
		}
		if !c.attends(i) {
			h, w = height, width // behind the downsampler
		}
		shapes = append(shapes, []int{h, w, channels})
	}
	return append(shapes, []int{height, width, c.BlockOutChannels[len(c.BlockOutChannels)-1]})
}

// feature is what T2I-Adapters add to level i, or behind the last one to the middle; nil for nothing.
func (in Inputs) feature(i int) *nn.Value {
	if i < len(in.Features) {
		return in.Features[i]
	}
	return nil
}

// addResiduals adds ControlNets' residuals to the skips, in place, and to x behind the middle, which it returns.
func (in Inputs) addResiduals(b *nn.Builder, x *nn.Value, skips []*nn.Value) *nn.Value {
	if in.Residuals == nil {
		return x
	}
	if len(in.Residuals) != len(skips)+1 {
		b.Fail("%d residuals: must be %d, one for each skip connection and one for the middle", len(in.Residuals), len(skips)+1)
	}
	for i := range skips {
		skips[i] = b.Add(skips[i], in.Residuals[i])
	}
	return b.Add(x, in.Residuals[len(skips)])
}
