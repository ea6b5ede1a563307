package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// MostSteps is the most that Config.MaxSteps can be: diffusers' schedulers are trained on as many timesteps.
const MostSteps = 1000

// Limits of a request where Config names none and the devices are fast enough for them within Config.RequestTimeout.
const (
	mostPixels = 2048 * 2048
	mostSteps  = 200
)

// costs are those of the engines that were loaded, by device.
type costs struct {
	mu       sync.Mutex
	byDevice map[int]engine.Costs
}

// set notes the costs of a device's engine.
func (c *costs) set(device int, of engine.Costs) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byDevice == nil {
		c.byDevice = map[int]engine.Costs{}
	}
	c.byDevice[device] = of
}

// of are those of a model on each device.
func (c *costs) of(model string) (list []engine.Costs) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, on := range c.byDevice {
		list = append(list, on.Of(model))
	}
	return list
}

// maxPixels is the most that a request may ask for: Config.MaxPixels, else as many as each of the devices can compute in
// one step of the base, in a square whose sides are multiples of 64.
func (s *Server) maxPixels(of []engine.Costs) int {
	if s.config.MaxPixels > 0 {
		return s.config.MaxPixels
	}
	side := int(math.Sqrt(mostPixels))
	for _, c := range of {
		for ; side > 64 && s.stepsInTime(c, square(side, 2)) < 1; side -= 64 {
		}
	}
	return side * side
}

// square is a job for one image of the base, of which limits are computed.
func square(side int, guidance float64) engine.Job {
	return engine.Job{Model: engine.Base, Parameters: sdxl.Parameters{Task: sdxl.TextToImage, Width: side, Height: side, Images: 1, Guidance: guidance}}
}

// longestSide is the longest side that an image of so many pixels may have.
func longestSide(pixels int) int { return max(2048, int(math.Sqrt(float64(pixels)))) }

// mostSteps is the most steps that any request may ask for.
func (s *Server) mostSteps() int {
	if s.config.MaxSteps > 0 {
		return s.config.MaxSteps
	}
	return mostSteps
}

// maxSteps is the most steps that a job may ask for, its other parameters given: Config.MaxSteps, else as many as each
// of the devices takes within Config.RequestTimeout; 0 if that is none.
func (s *Server) maxSteps(j engine.Job, of []engine.Costs) int {
	if s.config.MaxSteps > 0 {
		return s.config.MaxSteps
	}
	most := float64(mostSteps)
	for _, c := range of {
		most = min(most, s.stepsInTime(c, j))
	}
	return max(0, int(most))
}

func (s *Server) stepsInTime(c engine.Costs, j engine.Job) float64 {
	if s.config.RequestTimeout == 0 {
		return math.Inf(1)
	}
	return c.Steps(j, s.config.RequestTimeout.Seconds())
}

// limitSize reports a size of too many pixels.
func (s *Server) limitSize(f *fields, j *engine.Job) {
	p := j.Parameters
	if most := s.maxPixels(s.costs.of(j.Name)); p.Width*p.Height > most {
		f.tooLarge(j, fmt.Sprintf("%d×%d is %d pixels: must be at most %d", p.Width, p.Height, p.Width*p.Height, most), map[string]any{"max_pixels": most})
	}
}

// limitSteps reports steps of which there are too many for the size. Where the request names none, it gets as many as
// there may be; the warning says so.
func (s *Server) limitSteps(f *fields, j *engine.Job) (warning string) {
	const name = "num_inference_steps"
	p := &j.Parameters
	most := s.maxSteps(*j, s.costs.of(j.Name))
	if name := s.tooMuchSteering(*j); most == 0 && name != "" {
		f.report(name, "value_error", fmt.Sprintf("Value error, one step with these at %d×%d takes longer than the %v that a request may take here", p.Width, p.Height, s.config.RequestTimeout), nil)
		return ""
	}
	if most == 0 {
		f.tooLarge(j, fmt.Sprintf("%d×%d: one step takes longer than the %v that a request may take here", p.Width, p.Height, s.config.RequestTimeout), nil)
		return ""
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"timesteps", len(p.Timesteps)}, {"sigmas", len(p.Sigmas)}} {
		if list.n > most {
			f.report(list.name, "too_long", fmt.Sprintf("List should have at most %d items after validation, not %d", most, list.n),
				map[string]any{"field_type": "List", "max_length": most, "actual_length": list.n})
		}
		if list.n > 0 {
			return ""
		}
	}
	switch {
	case p.Steps <= most:
	case j.Request.Steps == 0:
		warning = fmt.Sprintf("%s: %d, the most that this server does at %d×%d, in place of the model's own %d", name, most, p.Width, p.Height, p.Steps)
		j.Request.Steps = most
	default:
		f.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most), map[string]any{"ge": 1, "le": most})
	}
	return warning
}

// tooMuchSteering is the field of what steers a job that there would be time for without it; "" if that is not so.
func (s *Server) tooMuchSteering(j engine.Job) (name string) {
	p := &j.Parameters
	for of, n := range map[string]int{"controls": len(p.Controls), "t2i_adapters": len(p.T2IAdapters), "ip_adapters": len(p.IPAdapters)} {
		if n > 0 && (name == "" || of < name) {
			name = of
		}
	}
	p.Controls, p.T2IAdapters, p.IPAdapters = nil, nil, nil
	if name == "" || s.maxSteps(j, s.costs.of(j.Name)) == 0 {
		return ""
	}
	return name
}

// tooLarge reports a size, by the longer side, or where no field has that, by the image's.
func (f *fields) tooLarge(j *engine.Job, msg string, ctx map[string]any) {
	p := &j.Parameters
	name, value, given := "width", json.RawMessage(fmt.Sprint(p.Width)), j.Request.Width
	if p.Height > p.Width {
		name, value, given = "height", json.RawMessage(fmt.Sprint(p.Height)), j.Request.Height
	}
	if image, ok := f.values[f.source]; ok && p.Task != sdxl.TextToImage && given == 0 {
		name, value = f.source, image
	}
	f.problems = append(f.problems, problem{Type: "value_error", Loc: []any{"body", name}, Msg: "Value error, " + msg, Input: value, Ctx: ctx})
}

// timeoutWords are the error of a computation that takes too long.
func timeoutWords(limit time.Duration) string {
	return fmt.Sprintf("%s: at most %v (-request-timeout); ask for fewer steps or a smaller image", worker.TookTooLongWords, limit)
}

// loaded notes the costs of an engine that was just loaded, and logs what a request may ask of it.
func (s *Server) loaded(device int, name string, c engine.Costs, took time.Duration) {
	s.costs.set(device, c)
	s.metrics.loads.WithLabelValues(name).Observe(took.Seconds())
	s.metrics.engineFails.WithLabelValues(name) // so that there is a 0
	log := s.config.Log
	if name != "" {
		log = log.With(slog.String("device", name))
	}
	for _, spec := range []*sdxl.Spec{s.config.Specs.Base, s.config.Specs.Refiner} {
		if spec != nil {
			info := spec.Info()
			log.Info("model loaded", slog.String("model", info.Path), slog.Int64("parameters", info.Parameters), slog.Duration("duration", took))
		}
	}
	s.logLimits(log, c)
}

// lost counts an engine that failed.
func (s *Server) lost(device string) { s.metrics.engineFails.WithLabelValues(device).Inc() }

// logLimits says what a request may ask of an engine.
func (s *Server) logLimits(log *slog.Logger, c engine.Costs) {
	info := s.config.Specs.Base.Info()
	costs := []engine.Costs{c.Of("")}
	own := square(0, info.Guidance)
	own.Parameters.Scheduler, own.Parameters.SchedulerClass = info.Sampler, info.Scheduler
	sized := func(width, height int) engine.Job {
		j := own
		j.Parameters.Width, j.Parameters.Height = width, height
		return j
	}
	pixels := s.maxPixels(costs)
	steps := fmt.Sprint(s.config.MaxSteps)
	if s.config.MaxSteps == 0 {
		var each []string
		largest := int(math.Sqrt(float64(pixels)))
		for _, size := range [][2]int{{512, 512}, {info.Width, info.Height}, {largest, largest}} {
			line := fmt.Sprintf("%d at %d×%d", s.maxSteps(sized(size[0], size[1]), costs), size[0], size[1])
			if size[0]*size[1] <= pixels && !slices.Contains(each, line) {
				each = append(each, line)
			}
		}
		steps = strings.Join(each, ", ")
	}
	log.Info("limits of a request", slog.Int("max_pixels", pixels), slog.String("max_steps", steps), slog.Int("max_batch", s.config.MaxBatch),
		slog.Duration("request_timeout", s.config.RequestTimeout))
	most := s.maxSteps(sized(info.Width, info.Height), costs)
	switch {
	case info.Width*info.Height > pixels || most == 0:
		log.Warn("the model's own size is beyond the limits: requests must name a smaller width and height", slog.Int("width", info.Width), slog.Int("height", info.Height))
	case info.Steps > most:
		log.Warn("the model's own steps are beyond the limits: requests that name none get fewer", slog.Int("own_steps", info.Steps), slog.Int("steps", most))
	}
}

// checkLimits is about what of Config says how much a request may ask for.
func (c *Config) checkLimits() error {
	for _, l := range []struct {
		name       string
		value, max int
	}{
		{"MaxPixels", c.MaxPixels, sdxl.MaxSide * sdxl.MaxSide}, {"MaxSteps", c.MaxSteps, MostSteps}, {"MaxBatch", c.MaxBatch, sdxl.MaxCount}, {"Batch", c.Batch, sdxl.MaxCount},
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
