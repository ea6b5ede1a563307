package sdxl

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/models/esrgan"
)

// admitHires finds out, before the first step of the first pass, whether there is memory for what comes behind it: the
// second pass, and the upscaler with what decodes and encodes for it. The first pass is started, and no run is live on
// the UNet. Its caller has the right to compute.
func (m *Model) admitHires(ctx context.Context, q *resolved, upscaler *esrgan.File) error {
	two, err := m.resolve(q.hires.request)
	if err != nil {
		return err
	}
	two.request.Image = nil // which is encoded, if at all, in the size that it is enlarged to
	if err := m.admitLater(ctx, two); err != nil {
		return fmt.Errorf("hires, the second pass: %w", err)
	}
	if err := m.admitEnlarging(q, upscaler); err != nil { // with what the passes hold beside it
		return fmt.Errorf("hires: %w", err)
	}
	return nil
}

// admitEnlarging is about what Model.enlarge computes.
func (m *Model) admitEnlarging(q *resolved, upscaler *esrgan.File) error {
	h := q.hires
	if h.latent {
		return nil
	}
	if err := m.tile(true, false, q.size); err != nil {
		return err
	}
	if err := m.tile(false, false, m.upscaledSize(h)); err != nil {
		return err
	}
	if upscaler == nil {
		return nil
	}
	scale := upscaler.Config.Scale()
	for _, from := range upscalePasses(q.size, m.upscaledSize(h), scale) {
		if w, h := from.Width*scale, from.Height*scale; w*h > esrgan.MaxPixels {
			return bad("hires.upscaler", q.Hires.Upscaler, "one that comes to %d×%d pixels by way of at most %d pixels: this one gives %d×%d on the way", q.Hires.Width, q.Hires.Height, esrgan.MaxPixels, w, h)
		}
		if err := m.admitUpscaler(upscaler, from); err != nil {
			return fmt.Errorf("upscaler: %w", err)
		}
	}
	return nil
}

// admitUpscaler is about one pass of an upscaler over an image of a size.
func (m *Model) admitUpscaler(u *esrgan.File, from Size) error {
	scale := int64(u.Config.Scale())
	large := int64(from.Width) * scale * int64(from.Height) * scale
	p, err := u.Smallest(from.Width, from.Height)
	if err != nil {
		return err
	}
	const rgba = 4
	if err := m.host.memory.fits(u.Network, p, rgba*large); err != nil {
		return errors.Join(err, p.Discard())
	}
	return nil
}

// upscaledSize is what the first pass's image is enlarged to, in whole latents.
func (m *Model) upscaledSize(h *hires) Size {
	f := m.VAE.Config.ScaleFactor()
	return Size{h.upscaled.Height / f * f, h.upscaled.Width / f * f}
}
