package scheduler

import (
	"fmt"
	"math"
)

// plan is one schedule under construction.
type plan struct {
	c     *Config
	o     *Options
	train *training

	levels      *levels // of k-diffusion's samplers
	lowest      int     // timestep at whose noise level A1111's DDIM ends
	hasSchedule bool    // schedule_type was followed

	timesteps []float64
	sigmas    []float64 // one more than timesteps, in the classes that work with sigmas
	steps     int       // inference steps, as the class counts them: more timesteps may come of them
	first     int       // the steps to run are [first, end) of timesteps
	end       int

	dpm2      dpm2Sigmas
	pathRange [2]float64 // of the Brownian path, in SDE samplers
	failed    error      // why there are no steps
}

// customTimesteps checks the caller's list: strictly descending within the training range, whole if whole is set.
func (p *plan) customTimesteps(whole bool) ([]float64, error) {
	list := append([]float64(nil), p.o.Timesteps...)
	if p.c.Class != FlowEuler && (p.c.UseKarrasSigmas || p.c.UseExponentialSigmas || p.c.UseBetaSigmas) {
		return nil, fmt.Errorf("scheduler: %s: custom timesteps do not go with Karras, exponential or beta sigmas", p.c.Class)
	}
	highest := p.c.NumTrainTimesteps - 1
	if p.c.Class == FlowEuler {
		highest++
	}
	for i, t := range list {
		if !(t >= 0 && t <= float64(highest)) || whole && t != math.Trunc(t) {
			kind := "a number"
			if whole {
				kind = "a whole number"
			}
			return nil, fmt.Errorf("scheduler: %s: timestep %d is %v; allowed: %s from 0 to %d", p.c.Class, i, t, kind, highest)
		}
		if i > 0 && t >= list[i-1] {
			return nil, fmt.Errorf("scheduler: %s: timestep %d is %v after %v; custom timesteps must descend", p.c.Class, i, t, list[i-1])
		}
	}
	return list, nil
}

// customSigmas checks the caller's list: never ascending, the last not below zero. Equal neighbours make a step that
// changes nothing; final_sigmas_type sigma_min ends a list so.
func (p *plan) customSigmas() ([]float64, error) {
	list := append([]float64(nil), p.o.Sigmas...)
	if len(list) < 2 {
		return nil, fmt.Errorf("scheduler: %d sigmas; allowed: at least 2, the final one included", len(list))
	}
	for i, s := range list {
		if !(s >= 0) || math.IsInf(s, 1) || i > 0 && s > list[i-1] {
			return nil, fmt.Errorf("scheduler: sigma %d is %v; custom sigmas must be finite and descend to zero or more", i, s)
		}
	}
	return list, nil
}

// setTimestepsEuler is set_timesteps of Euler, Euler ancestral and LMS. Karras, exponential and beta sigmas span the
// spaced timesteps, not the training range.
func setTimestepsEuler(p *plan) error {
	c := p.c
	var err error
	switch {
	case len(p.o.Sigmas) > 0:
		if p.sigmas, err = p.customSigmas(); err != nil {
			return err
		}
		toFloat32(p.sigmas)
		p.timesteps = make([]float64, len(p.sigmas)-1)
		for i := range p.timesteps {
			p.timesteps[i] = p.train.timestepAt32(float32(p.sigmas[i]))
		}
	default:
		if done, err := p.scheduled(false); done || err != nil {
			return err
		}
		if len(p.o.Timesteps) > 0 {
			p.timesteps, err = p.customTimesteps(false)
		} else {
			p.timesteps, err = c.spacedTimesteps(p.steps)
		}
		if err != nil {
			return err
		}
		toFloat32(p.timesteps)
		p.sigmas = p.train.sigmasAt(p.timesteps)
		if c.InterpolationType == "log_linear" {
			// One more than there are timesteps: such a run ends before it reaches the final sigma.
			p.sigmas = p.train.logLinear(p.steps + 1)
		}
		if list := c.convertSigmas(p.sigmas[len(p.sigmas)-1], p.sigmas[0], p.steps); list != nil {
			p.sigmas = list
			p.timesteps = p.timestepsOf(list)
		}
		p.sigmas = append(p.sigmas, p.finalSigma())
		toFloat32(p.sigmas)
	}
	if c.TimestepType == "continuous" && c.PredictionType == "v_prediction" {
		if len(p.o.Timesteps) > 0 {
			return fmt.Errorf("scheduler: %s: custom timesteps do not go with timestep_type continuous", c.Class)
		}
		for i := range p.timesteps {
			p.timesteps[i] = 0.25 * float64(float32(math.Log(p.sigmas[i])))
		}
	}
	toFloat32(p.timesteps)
	return nil
}

// setTimestepsHeun is setTimestepsEuler with every timestep and sigma but the first twice, for the two calls of a step.
func setTimestepsHeun(p *plan) error {
	if err := setTimestepsEuler(p); err != nil {
		return err
	}
	timesteps, sigmas := p.timesteps[:1:1], p.sigmas[:1:1]
	for i, t := range p.timesteps[1:] {
		timesteps = append(timesteps, t, t)
		sigmas = append(sigmas, p.sigmas[i+1], p.sigmas[i+1])
	}
	p.timesteps, p.sigmas = timesteps, append(sigmas, p.sigmas[len(p.sigmas)-1])
	return nil
}

func setTimestepsDDIM(p *plan) error {
	var err error
	p.timesteps, err = p.c.spacedTimesteps(p.steps)
	roundEven(p.timesteps)
	return err
}

func setTimestepsConsistency(p *plan) error {
	var err error
	if len(p.o.Timesteps) > 0 {
		p.timesteps, err = p.customTimesteps(true)
	} else {
		p.timesteps, err = p.c.consistencyTimesteps(p.steps)
	}
	return err
}

func (p *plan) timestepsOf(sigmas []float64) []float64 {
	list := make([]float64, len(sigmas))
	for i, s := range sigmas {
		list[i] = p.train.timestepAt(s)
	}
	return list
}

func (p *plan) finalSigma() float64 {
	if p.c.FinalSigmasType == "sigma_min" {
		return float64(p.train.sigmas[0])
	}
	return 0
}
