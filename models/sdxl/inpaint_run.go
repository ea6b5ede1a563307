package sdxl

import (
	"context"

	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// inpainting is what a run has of its image and mask. N images have latents of h×w positions.
type inpainting struct {
	*canvas
	nothing bool      // the mask is black
	latents []float32 // the image's, which are put back where nothing is repainted, in the device's order; nil of an inpainting model
	noise   []float32 // the initial one
	amount  []float32 // h·w: 1 repaints, 0 does not; of a soft mask between
	inputs  []float32 // [N, h, w, 1+C]: mask and masked latents, which an inpainting model reads; nil of others
}

// idle reports whether there is nothing to compute; nil is a run without a mask.
func (p *inpainting) idle() bool { return p != nil && p.nothing }

// inpaintLatents returns what inpainting starts from, and sets the run's inpainting. See Request.Mask for the draws.
func (r *Run) inpaintLatents(ctx context.Context) ([]float32, error) {
	q := r.q
	p := &inpainting{canvas: q.inpaintCanvas()}
	p.nothing = p.empty()
	f := r.m.VAE.Config.ScaleFactor()
	p.amount = latentMask(p.grey, q.size, f, q.SoftMask)
	r.inpaint = p
	var latents []float32
	reads := r.shape.extra > 0
	pure := q.Strength == 1 && !q.SoftMask // from noise alone
	switch given := q.request.ImageLatents; {
	case given != nil:
		latents = r.forAll(channelsLast(given))
	case !reads || !pure || p.nothing:
		moments, err := r.m.encodeImage(ctx, p.image, q.request.Taps.VAE...)
		if err != nil {
			return nil, err
		}
		latents = r.forAll(r.draws(moments))
	}
	if p.nothing {
		r.warnings = append(r.warnings, "the mask is black, so nothing is repainted: the image is returned as it is")
		return latents, nil
	}
	p.noise = r.firstNoise()
	if err := r.drawMasked(ctx, reads); err != nil {
		return nil, err
	}
	if latents != nil {
		r.fillLatents(latents)
	}
	if !reads {
		p.latents = latents
		if !p.anyRepainted() {
			r.warnings = append(r.warnings, "the mask is white at none of the latents, of 8×8 pixels each, that it is read at: nothing is repainted")
		}
	}
	switch {
	case q.DenoisingStart > 0:
		return append([]float32(nil), latents...), nil
	case pure:
		return mixed(0, float32(q.schedule.InitNoiseSigma), p.noise, p.noise), nil
	}
	scale, sigma := q.schedule.AddNoise(0)
	return mixed(float32(scale), float32(sigma), latents, p.noise), nil
}

// mixed is a·x + b·noise.
func mixed(a, b float32, x, noise []float32) []float32 {
	out := make([]float32, len(x))
	for i := range x {
		out[i] = float32(a*x[i]) + float32(b*noise[i])
	}
	return out
}

// drawMasked draws the latents of the image without what is repainted. Models that do not read them take the draw all
// the same, unless there are latents in the image's place.
func (r *Run) drawMasked(ctx context.Context, reads bool) error {
	p := r.inpaint
	c, h, w := r.m.VAE.Config.LatentChannels, r.shape.height, r.shape.width
	if !reads {
		if r.q.request.ImageLatents == nil {
			for _, g := range r.noise.generators {
				g.Randn(make([]float32, c*h*w))
			}
		}
		return nil
	}
	moments, err := r.m.encodeMasked(ctx, p.canvas, r.q.request.Taps.VAE...)
	if err != nil {
		return err
	}
	masked := r.forAll(r.draws(moments))
	p.inputs = make([]float32, 0, r.shape.batch*h*w*(1+c))
	for i := 0; i < len(masked); i += c {
		p.inputs = append(append(p.inputs, p.amount[i/c%(h*w)]), masked[i:i+c]...)
	}
	return nil
}

// encodeMasked encodes the image with 0, the middle between black and white, where it is repainted.
func (m *Model) encodeMasked(ctx context.Context, c *canvas, taps ...nn.Tap) (vae.Image, error) {
	size := c.image.Rect.Size()
	if err := m.tile(false, false, Size{size.Y, size.X}); err != nil {
		return vae.Image{}, err
	}
	x := vae.NewImage(size.Y, size.X, 3)
	for i, v := range c.grey {
		if v >= 128 {
			continue
		}
		for k := range 3 {
			x.Data[3*i+k] = float32(2*(float32(c.image.Pix[4*i+k])/255)) - 1
		}
	}
	return m.VAE.Encode(ctx, x, taps...)
}

// fillLatents puts noise or nothing where the image is repainted, as A1111 does.
func (r *Run) fillLatents(latents []float32) {
	p := r.inpaint
	fill := r.q.InpaintFill
	if fill != FillNoise && fill != FillNothing {
		return
	}
	c, positions := r.m.VAE.Config.LatentChannels, len(p.amount)
	for i := range latents {
		if p.amount[i/c%positions] < 0.5 {
			continue
		}
		if latents[i] = 0; fill == FillNoise {
			latents[i] = p.noise[i]
		}
	}
}

// latentMask is a mask at the latents: of two values, the nearest pixel's, or of a soft one the mean of the four in the
// middle, as torch's interpolate has them (nearest, bilinear).
func latentMask(grey []uint8, size Size, factor int, soft bool) []float32 {
	var amount []float32
	low, high := factor/2-1, factor/2
	if factor == 1 {
		low, high = 0, 0
	}
	for y := 0; y < size.Height; y += factor {
		for x := 0; x < size.Width; x += factor {
			at := func(dx, dy int) float32 { return float32(grey[(y+dy)*size.Width+x+dx]) / 255 }
			if soft {
				top, bottom := 0.5*at(low, low)+0.5*at(high, low), 0.5*at(low, high)+0.5*at(high, high)
				amount = append(amount, 0.5*top+0.5*bottom)
			} else if at(0, 0) >= 0.5 {
				amount = append(amount, 1)
			} else {
				amount = append(amount, 0)
			}
		}
	}
	return amount
}

// anyRepainted reports whether the latents' mask has anything to repaint.
func (p *inpainting) anyRepainted() bool {
	for _, a := range p.amount {
		if a > 0 {
			return true
		}
	}
	return false
}

// setImageInputs writes what an inpainting model reads beside the latents, once for each side of guidance.
func (r *Run) setImageInputs(p *nn.Program, s shape) error {
	if s.extra == 0 {
		return nil
	}
	var inputs []float32
	for _, one := range r.each() {
		inputs = append(inputs, one.inpaint.inputs...)
	}
	if s.guided {
		inputs = append(inputs, inputs...)
	}
	return p.SetFloats(s.named("image inputs", 0), inputs...)
}

// each is the members of a batch, or the run itself.
func (r *Run) each() []*Run {
	if r.members != nil {
		return r.members
	}
	return []*Run{r}
}
