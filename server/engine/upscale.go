package engine

import (
	"context"

	"github.com/goxl/goxl/models/sdxl"
)

// resolveUpscale is Specs.Resolve of a job that enlarges an image.
func (j *Job) resolveUpscale() (sdxl.Parameters, error) {
	if j.Request.Image == nil {
		return sdxl.Parameters{}, &sdxl.RequestError{Field: "image", Value: nil, Allowed: "an image"}
	}
	b := j.Request.Image.Bounds()
	return j.Upscale.Resolve(sdxl.Size{Height: b.Dy(), Width: b.Dx()})
}

// upscaleRequest is what a job asks of a host.
func (j *Job) upscaleRequest() sdxl.UpscaleRequest {
	r := &j.Request
	return sdxl.UpscaleRequest{Upscaling: *j.Upscale, Image: r.Image, Progress: r.Progress, Stop: r.Stop, OnComputed: r.OnComputed}
}

// upscale does a job on the device's host: models stay as they are, and none is opened for it. Without a host in its
// configuration, the first model's engine does it, which is opened then if it is not.
func (s *Several) upscale(ctx context.Context, j Job) (*sdxl.Result, error) {
	if s.config.Host != nil {
		r := j.upscaleRequest()
		r.Precision = s.config.Precision
		return s.config.Host.Upscale(ctx, r)
	}
	m, err := s.model("")
	if err != nil {
		return nil, err
	}
	e, err := s.acquire(ctx, m, j.OnLoading)
	if err != nil {
		return nil, err
	}
	defer s.release(m)
	return e.Generate(ctx, s.own(m, j))
}

// closeUpscaler closes what upscale left open on the host.
func (s *Several) closeUpscaler() error {
	if s.config.Host == nil {
		return nil
	}
	return s.config.Host.CloseUpscaler()
}
