package main

import (
	"fmt"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
)

// upscaler is a model that is open.
type upscaler struct {
	*esrgan.Upscaler
	close func() error
}

// Close frees the model and what it is read from.
func (u upscaler) Close() error { return u.close() }

// open opens the model that -model names. An error begins with the name.
func (u *upscaling) open(device kernels.Device, precision kernels.DType) (upscaler, error) {
	o := kernels.Options{Precision: precision}
	if c, ok := syntheticUpscalers[u.model]; ok {
		m, err := esrgan.Open(device, esrgan.Synthetic(c, kernels.F16), o)
		if err != nil {
			return upscaler{}, fmt.Errorf("%s: %w", u.model, err)
		}
		return upscaler{m, m.Close}, nil
	}
	f, err := esrgan.OpenFile(device, u.model, o)
	if err != nil {
		return upscaler{}, err
	}
	return upscaler{f.Upscaler, f.Close}, nil
}

// tile shows how many tiles of an image are done.
func (p *progress) tile(done, tiles int) {
	text := fmt.Sprintf("tile %d/%d", done, tiles)
	if p.bar != nil {
		if p.bar.GetMax() != tiles {
			p.bar.ChangeMax(tiles)
		}
		p.bar.Describe(text)
		_ = p.bar.Set(done) // a lost terminal is no reason to lose the image
		return
	}
	if now := p.now(); now.Sub(p.last) >= time.Second {
		p.last = now
		fmt.Fprintln(p.w, text)
	}
}
