package server

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// limitResult is the error of a job whose result is larger than what its size says, beyond the limits: by a second pass
// of too many pixels or steps, or a border around an image of which a part is computed.
func (s *Server) limitResult(j *engine.Job) error {
	p := &j.Parameters
	size := (&worker.Task{Job: *j}).ResultSize()
	pixels, most := size.Width*size.Height, s.maxPixels(s.costs.of(j.Name))
	shown := fmt.Sprintf("%d×%d, %d pixels", size.Width, size.Height, pixels)
	switch {
	case p.Hires != nil && pixels > most:
		return &sdxl.RequestError{Field: "hires", Value: shown, Allowed: fmt.Sprintf("a second pass of at most %d pixels", most)}
	case p.Hires != nil:
		return s.limitSecondPass(j)
	case p.MaskPadding != nil && p.Outpaint != (sdxl.Border{}) && pixels > most:
		return &sdxl.RequestError{Field: "outpaint", Value: shown, Allowed: fmt.Sprintf("a border that gives at most %d pixels with the image", most)}
	}
	return nil
}

// limitSecondPass is the error of steps of a second pass that are too many for its size. Where the request names none,
// they are those of the first pass, which limitSteps limits for both.
func (s *Server) limitSecondPass(j *engine.Job) error {
	most := float64(s.mostSteps())
	if s.config.MaxSteps == 0 && s.config.RequestTimeout > 0 {
		for _, c := range s.costs.of(j.Name) {
			most = min(most, c.SecondSteps(*j, s.config.RequestTimeout.Seconds()))
		}
	}
	own, h := j.Request.Hires, j.Parameters.Hires
	switch {
	case most < 1:
		return &sdxl.RequestError{Field: "hires", Value: fmt.Sprintf("%d×%d", h.Width, h.Height),
			Allowed: fmt.Sprintf("a second pass of which a step takes no longer than the %v that a request may take here", s.config.RequestTimeout)}
	case own != nil && float64(own.Steps) > most:
		return &sdxl.RequestError{Field: "hires.steps", Value: own.Steps, Allowed: fmt.Sprintf("at most %d", int(math.Floor(most)))}
	}
	return nil
}
