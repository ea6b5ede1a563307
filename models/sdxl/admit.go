package sdxl

import (
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// admit finds out, before anything is computed but the text, whether there is memory for all that a run still does: for
// its steps, and for the autoencoder, whole or in tiles. It makes no difference that programs run one after the other:
// they share the arena, and what they hold of their own is there once all are compiled.
func (p *Pipeline) admit(q *Request, s shape, imageToImage bool) (err error) {
	step, err := p.unet.step(s, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, step.Discard())
		}
	}()
	if err := p.memory.fits(p.unet.Network, step, 0); err != nil {
		return err
	}
	f := p.vae.Config.ScaleFactor()
	size := Size{f * s.height, f * s.width}
	if imageToImage && q.Image != nil {
		if err := p.tile(false, false, size); err != nil {
			return err
		}
	}
	if q.LatentsOnly {
		return nil
	}
	if err := p.tile(true, q.Watermark, size); err != nil {
		return err
	}
	return p.memory.fits(p.unet.Network, step, 0) // with what the autoencoder holds beside it
}

// tile chooses how the autoencoder works on an image of a size: whole if there is memory for it, else in tiles as
// diffusers' of sample_size pixels, or in smaller ones where those are too large too. values tells that it decodes to
// values, not to pixels. The error is that of the smallest tile.
func (p *Pipeline) tile(decode, values bool, picture Size) error {
	a := p.vae.Autoencoder
	a.Tile = 0
	if p.memory.device == nil {
		return nil
	}
	unit := 4 * a.Config.ScaleFactor()
	smallest := min(4*unit, a.Config.SampleSize)
	for {
		err := p.fitAutoencoder(decode, values, picture)
		if err == nil {
			break
		}
		if !errors.Is(err, kernels.ErrMemory) {
			return err
		}
		if next := a.Tile / 2; a.Tile == 0 {
			a.Tile = max(unit, a.Config.SampleSize/unit*unit)
		} else if next < smallest || next%unit != 0 {
			return err
		} else {
			a.Tile = next
		}
	}
	if a.Tile > 0 {
		p.memory.mu.Lock()
		defer p.memory.mu.Unlock()
		p.memory.say("the autoencoder works in tiles: the whole picture does not fit", "size", fmt.Sprintf("%d×%d", picture.Width, picture.Height), "tile", a.Tile)
	}
	return nil
}

// fitAutoencoder finds out whether there is memory for the autoencoder with the tile that is set.
func (p *Pipeline) fitAutoencoder(decode, values bool, picture Size) error {
	a := p.vae.Autoencoder
	program, err := a.Program(decode, picture.Height, picture.Width)
	if err != nil {
		return err
	}
	buffers := a.Buffers(decode, values, picture.Height, picture.Width)
	if a.Tile > 0 {
		buffers += program.Bytes() // of the program of the tiles at an edge, at most
	}
	if err := p.memory.fits(a.Network, program, buffers); err != nil {
		return errors.Join(err, program.Discard())
	}
	return nil
}
