package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/models/sdxl"
)

// MostSteps is the most that Config.MaxSteps can be: diffusers' schedulers are trained on as many timesteps.
const MostSteps = 1000

// Limits of a request where Config names none and the devices are fast enough for them within Config.RequestTimeout.
const (
	mostPixels = 2048 * 2048
	mostSteps  = 200
)

// costs are those of the engines that were loaded, by worker.
type costs struct {
	mu       sync.Mutex
	byWorker map[int]sdxl.Cost
}

// set notes the cost of a worker's engine.
func (c *costs) set(worker int, e Engine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byWorker == nil {
		c.byWorker = map[int]sdxl.Cost{}
	}
	c.byWorker[worker] = e.Cost()
}

func (c *costs) all() []sdxl.Cost {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.byWorker))
}

// maxPixels is the most that a request may ask for: Config.MaxPixels, else as many as each of the devices can draw in
// one step, in a square whose sides are multiples of 64.
func (s *Server) maxPixels(of []sdxl.Cost) int {
	if s.config.MaxPixels > 0 {
		return s.config.MaxPixels
	}
	side := int(math.Sqrt(mostPixels))
	for _, cost := range of {
		for ; side > 64 && s.stepsInTime(cost, sdxl.Parameters{Width: side, Height: side, Images: 1, Guidance: 2}) < 1; side -= 64 {
		}
	}
	return side * side
}

// longestSide is the longest side that an image of so many pixels may have.
func longestSide(pixels int) int { return max(2048, int(math.Sqrt(float64(pixels)))) }

// maxSteps is the most steps that a request may ask for, its other fields given: Config.MaxSteps, else as many as each
// of the devices takes within Config.RequestTimeout; 0 if that is none.
func (s *Server) maxSteps(r sdxl.Request, own string, of []sdxl.Cost) int {
	if s.config.MaxSteps > 0 {
		return s.config.MaxSteps
	}
	p := sdxl.Parameters{Task: sdxl.TextToImage, Width: r.Width, Height: r.Height, Images: r.ImagesPerPrompt, Guidance: *r.Guidance, Scheduler: cmp.Or(r.Scheduler, own), Strength: r.Strength}
	if r.Image != nil {
		p.Task = sdxl.ImageToImage
	}
	most := float64(mostSteps)
	for _, cost := range of {
		most = min(most, s.stepsInTime(cost, p))
	}
	return max(0, int(most))
}

func (s *Server) stepsInTime(c sdxl.Cost, p sdxl.Parameters) float64 {
	if s.config.RequestTimeout == 0 {
		return math.Inf(1)
	}
	return c.Steps(p, s.config.RequestTimeout.Seconds())
}

// limitSize reports a size of too many pixels.
func (s *Server) limitSize(f *fields, r *sdxl.Request) {
	if most := s.maxPixels(s.costs.all()); r.Width*r.Height > most {
		f.tooLarge(r, fmt.Sprintf("%d×%d is %d pixels: must be at most %d", r.Width, r.Height, r.Width*r.Height, most), map[string]any{"max_pixels": most})
	}
}

// limitSteps reports steps of which there are too many for the size, and takes as many as there may be where the
// request names none. The warning is then what the client is to be told.
func (s *Server) limitSteps(f *fields, r *sdxl.Request, info sdxl.Info, of []sdxl.Cost) (warning string) {
	const name = "num_inference_steps"
	most := s.maxSteps(*r, info.Scheduler, of)
	switch {
	case most == 0:
		f.tooLarge(r, fmt.Sprintf("%d×%d: one step takes longer than the %v that a request may take here", r.Width, r.Height, s.config.RequestTimeout), nil)
	case r.Steps <= most:
	case f.given(name) == nil:
		warning = fmt.Sprintf("%s: %d, the most that this server does at %d×%d, in place of the model's own %d", name, most, r.Width, r.Height, r.Steps)
		r.Steps = most
	default:
		f.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most), map[string]any{"ge": 1, "le": most})
	}
	return warning
}

// tooLarge reports a size, by the longer side, or the id of the image that has it.
func (f *fields) tooLarge(r *sdxl.Request, msg string, ctx map[string]any) {
	name, value := "width", json.RawMessage(fmt.Sprint(r.Width))
	if r.Height > r.Width {
		name, value = "height", json.RawMessage(fmt.Sprint(r.Height))
	}
	if id, ok := f.values["id"]; ok && r.Image != nil {
		name, value = "id", id
	}
	f.problems = append(f.problems, problem{Type: "value_error", Loc: []any{"body", name}, Msg: "Value error, " + msg, Input: value, Ctx: ctx})
}

// check is the engine's, after the limit that no field of a body can reach today: a body asks for one image.
func (s *Server) check(e Engine, r sdxl.Request) error {
	if r.ImagesPerPrompt > s.config.MaxBatch {
		return &sdxl.RequestError{Field: "num_images_per_prompt", Value: r.ImagesPerPrompt, Allowed: fmt.Sprintf("1 to %d", s.config.MaxBatch)}
	}
	return e.Check(r)
}

// limitTime ends a computation that takes too long.
func (s *Server) limitTime(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.config.RequestTimeout
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, &failure{kind: tookTooLong,
		detail: fmt.Sprintf("%s: at most %v (-request-timeout); ask for fewer steps or a smaller image", answers[tookTooLong].detail, limit)})
}

// logLimits says what a request may ask of an engine that was just loaded.
func (s *Server) logLimits(w *worker, info sdxl.Info, cost []sdxl.Cost) {
	own := sdxl.Request{Width: info.Width, Height: info.Height, ImagesPerPrompt: 1, Guidance: &info.Guidance, Steps: info.Steps}
	pixels := s.maxPixels(cost)
	steps := fmt.Sprint(s.config.MaxSteps)
	if s.config.MaxSteps == 0 {
		var each []string
		largest := int(math.Sqrt(float64(pixels)))
		for _, size := range [][2]int{{512, 512}, {own.Width, own.Height}, {largest, largest}} {
			r := own
			r.Width, r.Height = size[0], size[1]
			line := fmt.Sprintf("%d at %d×%d", s.maxSteps(r, info.Scheduler, cost), r.Width, r.Height)
			if r.Width*r.Height <= pixels && !slices.Contains(each, line) {
				each = append(each, line)
			}
		}
		steps = strings.Join(each, ", ")
	}
	s.config.Log.Info("limits of a request", w.attrs(slog.Int("max_pixels", pixels), slog.String("max_steps", steps), slog.Int("max_batch", s.config.MaxBatch),
		slog.Duration("request_timeout", s.config.RequestTimeout))...)
	most := s.maxSteps(own, info.Scheduler, cost)
	switch {
	case own.Width*own.Height > pixels || most == 0:
		s.config.Log.Warn("the model's own size is beyond the limits: requests must name a smaller width and height", w.attrs(slog.Int("width", own.Width), slog.Int("height", own.Height))...)
	case own.Steps > most:
		s.config.Log.Warn("the model's own steps are beyond the limits: requests that name none get fewer", w.attrs(slog.Int("own_steps", own.Steps), slog.Int("steps", most))...)
	}
}

// checkLimits is about what of Config says how much a request may ask for.
func (c *Config) checkLimits() error {
	for _, l := range []struct {
		name       string
		value, max int
	}{
		{"MaxPixels", c.MaxPixels, sdxl.MaxSide * sdxl.MaxSide}, {"MaxSteps", c.MaxSteps, MostSteps}, {"MaxBatch", c.MaxBatch, sdxl.MaxCount},
	} {
		if l.value < 0 || l.value > l.max {
			return fmt.Errorf("server: %s is %d: must be 0 to %d", l.name, l.value, l.max)
		}
	}
	if c.RequestTimeout < 0 {
		return fmt.Errorf("server: RequestTimeout is %v: must be 0 or more", c.RequestTimeout)
	}
	return nil
}
