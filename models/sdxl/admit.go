package sdxl

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// admit finds out, before anything is computed but the text, whether there is memory for all that a run still does: for
// its steps, and for the autoencoder, whole or in tiles. It makes no difference that programs run one after the other:
// they share the arena, and what they hold of their own is there once all are compiled.
func (m *Model) admit(q *resolved, s shape) (err error) {
	step, err := stepProgram(m.UNet, s, 0, q.request.Taps.UNet...)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, step.Discard())
		}
	}()
	if err := m.host.memory.fits(m.UNet.Network, step, 0); err != nil {
		return err
	}
	f := m.VAE.Config.ScaleFactor()
	size := Size{f * s.height, f * s.width}
	if q.request.Image != nil {
		if err := m.tile(false, false, size); err != nil {
			return err
		}
	}
	if q.request.LatentsOnly {
		return nil
	}
	if err := m.decoder().VerifyTaps(s.height, s.width, m.decoderTaps(q.request.Taps)...); err != nil {
		return err // before the steps, not after
	}
	if err := m.tile(true, q.Watermark, size); err != nil {
		return err
	}
	return m.host.memory.fits(m.UNet.Network, step, 0) // with what the autoencoder holds beside it
}

// admitLater is Run.admit of a run that is not prepared yet: a later expert's, or the second pass's of hires. No run is
// live on the UNet.
func (m *Model) admitLater(ctx context.Context, q *resolved) (err error) {
	if _, err := m.openImages(q); err != nil { // the shape has the number of their tokens
		return err
	}
	later := &Run{m: m, unet: m.UNet, q: q, shape: m.shape(q)}
	defer later.Close()
	if later.controls, err = m.groupControls(ctx, q); err != nil {
		return err
	}
	if err := m.admit(q, later.shape); err != nil {
		return err
	}
	return later.admitControls()
}

// tile chooses how an autoencoder works on an image of a size: whole if there is memory for it, else in tiles as
// diffusers', or in smaller ones where those are too large too. values tells that it decodes to values, not to pixels.
// The error is that of the smallest tile.
func (m *Model) tile(decode, values bool, image Size) error {
	return m.tileBy(m.tiling(decode), decode, values, image)
}

// tileBy is tile for an autoencoder.
func (m *Model) tileBy(a tiling, decode, values bool, image Size) error {
	*a.tile = 0
	smallest := min(4*a.unit, a.size)
	for {
		err := m.fitAutoencoder(a, decode, values, image)
		if err == nil {
			break
		}
		if !errors.Is(err, kernels.ErrMemory) {
			return err
		}
		if next := *a.tile / 2; *a.tile == 0 {
			*a.tile = max(a.unit, a.size/a.unit*a.unit)
		} else if next < smallest || next%a.unit != 0 {
			return err
		} else {
			*a.tile = next
		}
	}
	if *a.tile > 0 {
		m.host.memory.mu.Lock()
		defer m.host.memory.mu.Unlock()
		m.host.memory.say("the autoencoder works in tiles: the whole image does not fit", "size", fmt.Sprintf("%d×%d", image.Width, image.Height), "tile", *a.tile)
	}
	return nil
}

// fitAutoencoder finds out whether there is memory for an autoencoder with the tile that is set.
func (m *Model) fitAutoencoder(a tiling, decode, values bool, image Size) error {
	program, err := a.program(decode, image.Height, image.Width)
	if err != nil {
		return err
	}
	buffers := a.buffers(values, image.Height, image.Width)
	if values {
		buffers += watermarkBytes * int64(image.Height) * int64(image.Width)
	}
	if *a.tile > 0 {
		buffers += program.Bytes() // of the program of the tiles at an edge, at most
	}
	if err := m.host.memory.fits(a.network, program, buffers); err != nil {
		return errors.Join(err, program.Discard())
	}
	return nil
}
