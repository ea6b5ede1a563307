package scheduler

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Options selects the steps. Exactly one of Steps, Timesteps and Sigmas is given.
type Options struct {
	Steps     int       // number of inference steps, 1 to num_train_timesteps
	Timesteps []float64 // custom timesteps, descending; Euler, Heun, DPM-Solver, LCM, TCD
	Sigmas    []float64 // custom sigmas, descending or equal, the final one (mostly 0) included; Euler

	// Strength of image-to-image, in (0, 1]: the fraction of the steps that is run, counted from the end. Zero is all
	// of them.
	Strength float64
	// DenoisingStart and DenoisingEnd bound the run at a fraction of the training timesteps, in (0, 1): a refiner with
	// DenoisingStart d continues the latents of a base model with DenoisingEnd d. Zero is no bound.
	DenoisingStart float64
	DenoisingEnd   float64

	// Eta is the fraction of noise that DDIM and TCD add, 0 to 1. Other classes ignore it, as in the pipelines.
	Eta float64
}

// Schedule is a sampling run as data. Running it does not change it; one Schedule serves many runs.
type Schedule struct {
	Steps          []Step
	History        int     // tensors carried between steps, K; all zero before the first
	InitNoiseSigma float64 // text-to-image starts from noise times this
	Order          int     // model evaluations that count as one step in progress reports: 2 for Heun
	First          int     // index of Steps[0] among all steps

	// Where a step has a Path: the noise levels that its Brownian path lies between, and its seed, which is nil unless
	// the config stores noise_sampler_seed. The caller's own seed serves then.
	PathRange [2]float64
	PathSeed  *int64
	// LearnedVariance: the model gives twice as many channels as x has. The first half is m; what the second means, if
	// anything, Step.Variance says.
	LearnedVariance bool

	// Unconditional: before each step the last history tensor is set to the model's output without the prompt (after which
	// m, with guidance, is still the other); what a step leaves in it is of no use. CFG++ needs it at any scale of guidance.
	Unconditional bool
	// GuidanceFactor multiplies the scale of guidance: 1/12.5 in A1111's DDIM CFG++, otherwise 1.
	GuidanceFactor float64

	start [2]float64 // AddNoise(0), also where Steps is empty
}

// AddNoise returns the factors that bring clean latents to the noise level of Steps[i]: x = scale*x0 + sigma*noise.
// AddNoise(0) is defined even if Steps is empty.
func (s *Schedule) AddNoise(i int) (scale, sigma float64) {
	if i == 0 {
		return s.start[0], s.start[1]
	}
	return s.Steps[i].Alpha, s.Steps[i].Sigma
}

// Schedule computes the steps. Multistep solvers start without history at the first step that is run, as in the
// pipelines. Where whole timesteps make the first two equal (DPM-Solver and UniPC with beta sigmas and 50 steps, say),
// diffusers' text-to-image starts at the second and crashes at the end; here, as in its image-to-image, it starts at
// the first.
//
// Where no timestep lies between DenoisingStart and DenoisingEnd, Steps is empty: diffusers' pipelines
// then pass their latents on. It is an error if Strength leaves no step, and if a coefficient is not finite (epsilon
// prediction at a zero signal-to-noise ratio, UniPC's bh1 or lower_order_final=false with a final sigma of zero).
func (c Config) Schedule(o Options) (*Schedule, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	known := classes[c.Class]
	if err := o.validate(&c, known); err != nil {
		return nil, err
	}
	var train *training
	if _, ok := known.defaults["beta_schedule"]; ok {
		var err error
		if train, err = newTraining(&c); err != nil {
			return nil, err
		}
	}
	p := &plan{c: &c, o: &o, train: train, steps: o.Steps}
	if n := len(o.Timesteps); n > 0 {
		p.steps = n
	}
	if n := len(o.Sigmas); n > 0 {
		p.steps = n - 1
	}
	if err := known.setTimesteps(p); err != nil {
		return nil, err
	}
	if c.ScheduleType != "" && !isK(c.Class) && !p.hasSchedule {
		return nil, fmt.Errorf("scheduler: %s takes no schedule_type", c.Class)
	}
	if len(p.timesteps) == 0 {
		return nil, fmt.Errorf("scheduler: %s: no timestep in %d steps; allowed: more", c.Class, p.steps)
	}
	var err error
	if err := p.selectSteps(known.order); err != nil {
		return nil, err
	}
	s := &Schedule{
		History: known.history(&c), InitNoiseSigma: 1, Order: max(known.order, known.calls), First: p.first * max(known.calls, 1),
		PathSeed: c.NoiseSamplerSeed, LearnedVariance: c.learnedVariance(),
		Unconditional: known.unconditional, GuidanceFactor: 1,
	}
	if c.Class == A1111DDIMCFGPP {
		s.GuidanceFactor = 1 / 12.5
	}
	if known.initNoise != nil {
		s.InitNoiseSigma = known.initNoise(p)
	}
	if s.Steps, s.start, err = p.solved(known.solve); err != nil {
		return nil, fmt.Errorf("scheduler: %s: %w", c.Class, err)
	}
	s.PathRange = p.pathRange
	for i := range s.Steps {
		if err := s.Steps[i].check(); err != nil {
			return nil, fmt.Errorf("scheduler: %s: step %d at timestep %v: %w", c.Class, i, s.Steps[i].Timestep, err)
		}
	}
	return s, nil
}

func (o *Options) validate(c *Config, known *class) error {
	given := 0
	for _, on := range []bool{o.Steps != 0, len(o.Timesteps) > 0, len(o.Sigmas) > 0} {
		if on {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("scheduler: %d of Steps, Timesteps and Sigmas given; allowed: exactly one", given)
	}
	if o.Steps < 0 || o.Steps > c.NumTrainTimesteps {
		return fmt.Errorf("scheduler: %d steps; allowed: 1 to %d", o.Steps, c.NumTrainTimesteps)
	}
	if len(o.Timesteps) > 0 && !known.timesteps {
		return fmt.Errorf("scheduler: %s takes no custom timesteps", c.Class)
	}
	if len(o.Sigmas) > 0 && !known.sigmas {
		return fmt.Errorf("scheduler: %s takes no custom sigmas", c.Class)
	}
	for _, fraction := range []struct {
		name  string
		value float64
	}{{"Strength", o.Strength}, {"DenoisingStart", o.DenoisingStart}, {"DenoisingEnd", o.DenoisingEnd}, {"Eta", o.Eta}} {
		if !(fraction.value >= 0 && fraction.value <= 1) {
			return fmt.Errorf("scheduler: %s = %v; allowed: 0 to 1", fraction.name, fraction.value)
		}
	}
	if o.Strength > 0 && o.DenoisingStart > 0 {
		return errors.New("scheduler: Strength and DenoisingStart exclude each other")
	}
	if o.DenoisingStart == 1 {
		return errors.New("scheduler: DenoisingStart = 1 leaves no step; allowed: below 1")
	}
	if o.DenoisingEnd > 0 && o.DenoisingStart >= o.DenoisingEnd {
		return fmt.Errorf("scheduler: DenoisingStart = %v is not below DenoisingEnd = %v", o.DenoisingStart, o.DenoisingEnd)
	}
	return nil
}

// selectSteps sets first and end as the image-to-image pipeline's get_timesteps and the pipelines' denoising_end do.
func (p *plan) selectSteps(order int) error {
	total := len(p.timesteps)
	// With custom timesteps the pipelines count the schedule's timesteps, which for Heun are nearly two a step.
	steps := p.steps
	if p.o.Steps == 0 {
		steps = total
	}
	train := float64(p.c.NumTrainTimesteps)
	cutoff := func(fraction float64) float64 { return math.RoundToEven(train - float64(fraction*train)) }
	switch {
	case p.o.DenoisingStart > 0:
		below := 0
		for _, t := range p.timesteps {
			if t < cutoff(p.o.DenoisingStart) {
				below++
			}
		}
		if order == 2 && below%2 == 0 {
			below++
		}
		p.first = max(total-below, 0)
	case p.o.Strength > 0:
		run := min(int(float64(steps)*p.o.Strength), steps)
		p.first = min((steps-run)*order, total)
	}
	p.end = total
	if p.o.DenoisingEnd > 0 && p.o.DenoisingEnd < 1 {
		p.end = p.first
		for _, t := range p.timesteps[p.first:] {
			if t >= cutoff(p.o.DenoisingEnd) {
				p.end++
			}
		}
	}
	if p.first == total && p.o.Strength > 0 {
		return fmt.Errorf("scheduler: no step left of %d with strength %v", total, p.o.Strength)
	}
	return nil
}

// solved returns the selected steps and the noise level at which they begin.
func (p *plan) solved(solve func(*plan) []Step) (steps []Step, start [2]float64, err error) {
	if p.first == len(p.timesteps) { // no step begins here: the latents are at their last noise level
		return nil, [2]float64{1, 0}, nil
	}
	none := p.first == p.end
	p.end = max(p.end, p.first+1) // the noise level of the first step counts even if it is not run
	if steps = solve(p); p.failed != nil {
		return nil, start, p.failed
	}
	start = [2]float64{steps[0].Alpha, steps[0].Sigma}
	if !none {
		return steps, start, nil
	}
	if math.IsNaN(start[0] + start[1]) {
		return nil, start, errNotFinite
	}
	return nil, start, nil
}

// initialVE is init_noise_sigma of VE latents, computed in float32, as the tensor that multiplies the reference's noise
// is.
func initialVE(p *plan) float64 {
	largest := float32(slices.Max(p.sigmas))
	if p.c.TimestepSpacing == "leading" {
		squared := float32(largest * largest)
		return float64(float32(math.Sqrt(float64(squared + 1))))
	}
	return float64(largest)
}
