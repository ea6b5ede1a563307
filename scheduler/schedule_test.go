package scheduler

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

type scheduleGolden struct {
	Bases     map[string]json.RawMessage `json:"bases"`
	Checksums []struct {
		As      string `json:"as"`
		Spacing string `json:"spacing"`
		From    int    `json:"from"`
		To      int    `json:"to"`
		CRC     uint32 `json:"crc"`
	} `json:"checksums"`
	Tables []struct {
		Rescale       bool      `json:"rescale"`
		At            []int     `json:"at"`
		AlphasCumprod []float32 `json:"alphas_cumprod"`
		Sigmas        []float32 `json:"sigmas"`
		CRC           uint32    `json:"crc"`
	} `json:"tables"`
	Resolved []struct {
		Base  string                     `json:"base"`
		As    string                     `json:"as"`
		Class string                     `json:"class"`
		Keys  map[string]json.RawMessage `json:"keys"`
	} `json:"resolved"`
	Cases []scheduleCase `json:"cases"`
}

type scheduleCase struct {
	Base    string         `json:"base"`
	As      string         `json:"as"`
	With    map[string]any `json:"with"`
	Options struct {
		Steps          int       `json:"steps"`
		Timesteps      []float64 `json:"timesteps"`
		Sigmas         []float64 `json:"sigmas"`
		Strength       float64   `json:"strength"`
		DenoisingStart float64   `json:"denoising_start"`
		DenoisingEnd   float64   `json:"denoising_end"`
		Eta            float64   `json:"eta"`
	} `json:"options"`

	Raises    string       `json:"raises"`
	Empty     bool         `json:"empty"`
	NotFinite bool         `json:"not_finite"`
	First     int          `json:"first"`
	Count     int          `json:"count"`
	Final     []float64    `json:"final"`
	Wide      []float64    `json:"wide"` // the same in float64, where float32 alone is off by more than half the tolerance
	Next      float32      `json:"next"`
	Levels    [][2]float64 `json:"levels"`
	Timesteps []float64    `json:"timesteps"`
	Sigmas    []float64    `json:"sigmas"`
	Init      float64      `json:"init"`
}

func (c *scheduleCase) String() string {
	return fmt.Sprintf("%s as %s with %v options %+v", c.Base, c.As, c.With, c.Options)
}

func (c *scheduleCase) options() Options {
	o := c.Options
	return Options{
		Steps: o.Steps, Timesteps: o.Timesteps, Sigmas: o.Sigmas, Strength: o.Strength,
		DenoisingStart: o.DenoisingStart, DenoisingEnd: o.DenoisingEnd, Eta: o.Eta,
	}
}

func (c *scheduleCase) config(bases map[string]json.RawMessage) (Config, error) {
	stored, err := Parse(bases[c.Base])
	if err != nil {
		return Config{}, err
	}
	as, err := stored.As(c.As)
	if err != nil {
		return Config{}, err
	}
	return as.With(c.With)
}

// The greatest fraction of its tolerance that a kind of comparison used.
type budget map[string]float64

// near fails on a value that is not finite, whatever is wanted. scale is what the tolerance is relative to.
func (b budget) near(kind string, got, want, scale, tolerance float64) bool {
	if math.IsNaN(got-want) || math.IsInf(got-want, 0) {
		return false
	}
	if got == want {
		return true
	}
	fraction := math.Abs(got-want) / (scale * tolerance)
	b[kind] = max(b[kind], fraction)
	return fraction <= 1
}

const (
	// Sigmas are float32; the host's square root and numpy's power and logarithm may be off in the last bit or two.
	sigmaTolerance = 2.5e-7
	// A fractional timestep comes from a float32 logarithm of size up to 9 over a slope of about 1/200.
	timestepTolerance = 1e-3
	// The reference's own float32: a few dozen steps, each with an epsilon of 6e-8 on terms that partly cancel.
	finalTolerance = 1e-5
	// With a zero terminal signal-to-noise ratio one square root's last bit scales every alpha, which (1-a)/a magnifies
	// about fourfold; and the reference's float32 cancels a first step from sigma 4096 down to latents of size one to
	// five, 4096 * 2^-24 = 2e-4, most of which the later steps take out.
	zeroSNRFactor = 4
)

func (c *scheduleCase) tolerance(of float64) float64 {
	if c.With["rescale_betas_zero_snr"] == true {
		return zeroSNRFactor * of
	}
	return of
}

func TestNearJudgesNonFiniteFirst(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, pair := range [][2]float64{{nan, nan}, {nan, 1}, {1, nan}, {inf, inf}, {inf, 1}, {1, inf}, {1, 1.1}, {1, 0}} {
		if (budget{}).near("", pair[0], pair[1], 1, 0.01) {
			t.Errorf("%v passes for %v", pair[0], pair[1])
		}
	}
	if !(budget{}).near("", 1, 1.009, 1, 0.01) {
		t.Error("a difference within the tolerance fails")
	}
}

func TestSchedulesMatchDiffusers(t *testing.T) { matchGolden(t, "schedules.json.gz", 4000) }

// matchGolden runs the cases of a golden, of which there are some number at least.
func matchGolden(t *testing.T, name string, least int) {
	golden := readGolden[scheduleGolden](t, name)
	if len(golden.Cases) < least {
		t.Fatalf("only %d cases in the golden", len(golden.Cases))
	}
	used := budget{}
	counts := map[string]int{}
	failures := 0
	for i := range golden.Cases {
		c := &golden.Cases[i]
		if err := c.check(golden.Bases, used, counts); err != nil {
			if failures++; failures <= 40 {
				t.Errorf("case %d, %s: %v", i, c, err)
			}
		}
	}
	if failures > 0 {
		t.Errorf("%d of %d cases failed", failures, len(golden.Cases))
	}
	t.Logf("cases %v, fraction of tolerance used %v", counts, used)
}

func (c *scheduleCase) check(bases map[string]json.RawMessage, used budget, counts map[string]int) error {
	var s *Schedule
	cfg, err := c.config(bases)
	if err == nil {
		s, err = cfg.Schedule(c.options())
	}
	if c.Empty && err == nil && len(s.Steps) == 0 {
		counts["empty"]++
		return nil
	}
	if c.Raises != "" || c.Empty || c.NotFinite {
		counts["refused"]++
		if err == nil {
			return fmt.Errorf("the reference cannot run it (%q, empty %v, not finite %v), but there is no error", c.Raises, c.Empty, c.NotFinite)
		}
		return nil
	}
	if err != nil {
		return err
	}
	counts["run"]++
	if s.First != c.First || len(s.Steps) != c.Count {
		return fmt.Errorf("%d steps from %d, want %d from %d", len(s.Steps), s.First, c.Count, c.First)
	}
	if c.Timesteps != nil {
		if err := c.checkGrid(s, used); err != nil {
			return err
		}
		counts["timesteps"]++
	}
	for i, want := range c.Levels {
		if c.paths() {
			break
		}
		scale, sigma := s.AddNoise(i + 1)
		if !used.near("level", scale, want[0], 1, c.tolerance(sigmaTolerance)) || !used.near("level", sigma, want[1], max(want[1], 1), c.tolerance(sigmaTolerance)) {
			return fmt.Errorf("noise level %d is %v, %v, want %v", i+1, scale, sigma, want)
		}
	}
	final, g, err := c.run(s)
	if err != nil {
		return err
	}
	reference := c.Final
	if c.Wide != nil {
		reference = c.Wide
		counts["wide"]++
	}
	var scale float64
	for _, v := range reference {
		scale = max(scale, math.Abs(v))
	}
	for i, want := range reference {
		if !used.near("final "+c.As, float64(final[5*i]), want, scale, c.tolerance(finalTolerance)) {
			return fmt.Errorf("final value %d is %v, want %v", 5*i, final[5*i], want)
		}
	}
	var next [1]float32
	if g.Uniform(next[:]); next[0] != c.Next {
		return fmt.Errorf("the generator stands elsewhere: next value %v, want %v", next[0], c.Next)
	}
	return nil
}

func (c *scheduleCase) checkGrid(s *Schedule, used budget) error {
	for i, step := range s.Steps {
		want := c.Timesteps[s.First+i]
		if want == math.Trunc(want) && step.Timestep == math.Trunc(step.Timestep) && step.Timestep != want ||
			!used.near("timestep", step.Timestep, want, 1, timestepTolerance) {
			return fmt.Errorf("timestep %d is %v, want %v", i, step.Timestep, want)
		}
		if c.Sigmas == nil {
			continue
		}
		sigma := c.Sigmas[s.First+i]
		switch {
		case strings.HasPrefix(c.As, "sa_solver"): // whose noise levels are those of the timesteps
			continue
		case c.With["use_flow_sigmas"] == true || strings.HasPrefix(c.As, "flow"):
			if !used.near("sigma", step.Sigma, sigma, sigma, sigmaTolerance) {
				return fmt.Errorf("sigma %d is %v, want %v", i, step.Sigma, sigma)
			}
		case step.InputScale == 1: // variance preserving: sigma over alpha
			if !used.near("sigma", step.Sigma/step.Alpha, sigma, sigma, c.tolerance(sigmaTolerance)) {
				return fmt.Errorf("sigma %d is %v, want %v", i, step.Sigma/step.Alpha, sigma)
			}
		case !used.near("sigma", step.Sigma, sigma, sigma, c.tolerance(sigmaTolerance)):
			return fmt.Errorf("sigma %d is %v, want %v", i, step.Sigma, sigma)
		}
	}
	if !used.near("init", s.InitNoiseSigma, c.Init, c.Init, sigmaTolerance) {
		return fmt.Errorf("init noise sigma %v, want %v", s.InitNoiseSigma, c.Init)
	}
	return nil
}

// run denoises the pattern with the synthetic model, as tools/reference/scheduler.py does.
func (c *scheduleCase) run(s *Schedule) ([]float32, *Generator, error) {
	const n = 16
	g := NewGenerator(0)
	x, m, noise := make([]float32, n), make([]float32, n), make([]float32, n)
	for k := range x {
		x[k] = float32(float64(k)/10 - 0.75)
	}
	switch {
	case c.Options.Strength > 0:
		g.Randn(noise)
		scale, sigma := s.AddNoise(0)
		for k := range x {
			x[k] = float32(scale*float64(x[k]) + sigma*float64(noise[k]))
		}
	case c.Options.DenoisingStart > 0:
	default:
		for k := range x {
			x[k] *= float32(s.InitNoiseSigma)
		}
	}
	h := make([][]float32, s.History)
	for i := range h {
		h[i] = make([]float32, n)
	}
	var path *Brownian
	var levels [][2]float64
	if c.paths() {
		if !sameLevels(s.PathRange, c.Levels[0]) {
			return nil, nil, fmt.Errorf("a path over %v, want %v", s.PathRange, c.Levels[0])
		}
		var seed uint64 // the generator's above
		if s.PathSeed != nil {
			seed = uint64(*s.PathSeed)
		}
		path, levels = NewBrownian(n, c.Levels[0][0], c.Levels[0][1], seed), c.Levels[1:]
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		for k := range x {
			in := float32(float64(x[k]) * step.InputScale)
			m[k] = float32(0.3*in) + float32(0.001*float32(step.Timestep)) - 0.2
			if s.Unconditional {
				h[len(h)-1][k] = float32(0.2*in) + float32(0.0005*float32(step.Timestep)) + 0.1
			}
		}
		switch {
		case step.HasPath():
			if len(levels) == 0 || !sameLevels(step.Path, levels[0]) {
				return nil, nil, fmt.Errorf("step %d takes the path between %v, want %v", i, step.Path, levels)
			}
			path.Noise(noise, levels[0][0], levels[0][1])
			levels = levels[1:]
		case step.Noise:
			g.Randn(noise)
		}
		if v := step.Variance; v != nil {
			predicted := make([]float32, n)
			for k := range x {
				predicted[k] = float32(0.05*math.Abs(float64(x[k]))) + 0.1
				if v.Range {
					predicted[k] = 0.1 * x[k]
				}
			}
			if err := v.ScaleNoise(noise, predicted); err != nil {
				return nil, nil, err
			}
		}
		if err := step.Apply(x, m, noise, h); err != nil {
			return nil, nil, err
		}
	}
	return x, g, nil
}
