package sdxl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// resolveSteps computes the steps.
func (s *Spec) resolveSteps(q *resolved) error {
	config := s.Scheduler
	if name := q.request.Scheduler; name != "" {
		own, err := scheduler.Lookup(name)
		if err == nil {
			config, err = config.As(own)
		}
		if err != nil {
			return &RequestError{Field: "scheduler", Value: fmt.Sprintf("%q", name), Allowed: "one of " + strings.Join(s.Scheduler.Substitutes(), ", "), Err: err}
		}
		q.Scheduler = own
	} else if err := s.ownScheduler(); err != nil {
		return err
	} else {
		q.Scheduler = config.Name()
	}
	q.SchedulerClass = config.Class
	if q.preset != nil {
		var err error
		if config, err = config.With(q.preset.Config); err != nil {
			return &RequestError{Field: "preset", Value: q.Preset, Allowed: "one that scheduler " + q.Scheduler + " can be run with", Err: err}
		}
	}
	o := scheduler.Options{
		Timesteps: q.Timesteps, Sigmas: q.Sigmas, Eta: q.Eta, Strength: q.Strength, DenoisingStart: q.DenoisingStart, DenoisingEnd: q.DenoisingEnd,
	}
	if len(q.Timesteps) == 0 && len(q.Sigmas) == 0 {
		if o.Steps = q.Steps; q.Steps < 1 || q.Steps > config.NumTrainTimesteps {
			return bad("num_inference_steps", q.Steps, "1 to %d", config.NumTrainTimesteps)
		}
	}
	var err error
	q.schedule, err = config.Schedule(o)
	if err == nil && q.schedule.LearnedVariance {
		return &RequestError{Field: "scheduler", Value: config.Class, Allowed: "one without a learned variance_type: the UNet predicts no variance"}
	}
	if err == nil && q.schedule.Unconditional && s.UNet.TimeCondProjDim > 0 {
		return bad("scheduler", fmt.Sprintf("%q", q.Scheduler), "one without CFG++: the UNet embeds the scale of guidance and predicts nothing without the prompt")
	}
	switch {
	case err == nil && len(q.Timesteps) > 0:
		q.Steps = len(q.Timesteps)
	case err == nil && len(q.Sigmas) > 0:
		q.Steps = len(q.Sigmas) - 1
	case err == nil:
	case len(q.Timesteps) > 0:
		return &RequestError{Field: "timesteps", Value: q.Timesteps, Allowed: "timesteps that the scheduler can run", Err: err}
	case len(q.Sigmas) > 0:
		return &RequestError{Field: "sigmas", Value: q.Sigmas, Allowed: "sigmas that the scheduler can run", Err: err}
	default:
		return &RequestError{Field: "num_inference_steps", Value: q.Steps, Allowed: enoughSteps(o), Err: err}
	}
	if err := q.countControlSteps(config, o); err != nil {
		return err
	}
	return q.skipSteps(config, o)
}

// countControlSteps counts the evaluations that the fractions of ControlNets are of; see controlSteps.
func (q *resolved) countControlSteps(config scheduler.Config, o scheduler.Options) error {
	q.controlSteps = len(q.schedule.Steps)
	if len(q.Controls) == 0 || q.DenoisingEnd == 0 {
		return nil
	}
	o.DenoisingEnd = 0
	whole, err := config.Schedule(o)
	if err == nil {
		q.controlSteps = len(whole.Steps)
	}
	return err
}

// skipSteps counts the steps before denoising_start, which the schedules of prompts count too.
func (q *resolved) skipSteps(config scheduler.Config, o scheduler.Options) error {
	if q.DenoisingStart == 0 || q.style() != prompt.A1111 {
		return nil
	}
	o.DenoisingEnd = 0
	part, err := config.Schedule(o)
	if err != nil {
		return err
	}
	o.DenoisingStart = 0
	whole, err := config.Schedule(o)
	if err != nil {
		return err
	}
	q.firstStep = len(whole.Steps) - len(part.Steps)
	return nil
}

// steps counts the steps that are run, one that is left half done too: Heun's have two evaluations.
func (q *resolved) steps() int { return (len(q.schedule.Steps) + q.order() - 1) / q.order() }

// order is how many evaluations a step has.
func (q *resolved) order() int { return max(1, q.schedule.Order) }

// guided reports whether a step has guidance, or needs the unconditional prediction all the same.
func (q *resolved) guided() bool {
	return q.schedule.Unconditional || slices.ContainsFunc(q.guidance, func(g float64) bool { return g > 1 })
}

// checkGuidance gives every step its scale.
func checkGuidance(q *resolved) error {
	steps := q.schedule.Steps
	scales := q.GuidancePerStep
	if most := q.steps(); len(scales) > max(most, 1) && q.request.Hires == nil { // whose second pass has the rest
		return badGuidanceList(len(scales), most)
	}
	for _, g := range scales {
		if !isFinite(g) {
			return bad("guidance_scale", g, "a finite number of float32")
		}
	}
	q.guidance = make([]float64, len(steps))
	for i := range steps {
		q.guidance[i] = q.Guidance
		if len(scales) > 0 {
			q.guidance[i] = scales[min(i/q.order(), len(scales)-1)]
		}
	}
	if len(scales) > 0 {
		q.Guidance = scales[0]
	}
	return nil
}

func badGuidanceList(n, most int) error {
	return bad("guidance_scale", fmt.Sprintf("a list of %d", n), "one number, or a list of up to %d, one for each step that is run", most)
}

// noStepWarning warns of a run whose fraction of the steps holds none.
func (s *Spec) noStepWarning(q *resolved) string {
	var cuts []string
	if q.DenoisingStart > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_start %v", q.DenoisingStart))
	}
	if q.DenoisingEnd > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_end %v", q.DenoisingEnd))
	}
	model := "the base"
	if s.refiner() {
		model = "the refiner"
	}
	return fmt.Sprintf("%s has no step to do: with %s no timestep falls to it; the latents are passed on as they are", model, strings.Join(cuts, " and "))
}

// enoughSteps says which number of steps would leave one to run.
func enoughSteps(o scheduler.Options) string {
	if o.Strength > 0 && int(float64(o.Steps)*o.Strength) == 0 {
		n := o.Steps
		for int(float64(n)*o.Strength) == 0 {
			n++
		}
		return fmt.Sprintf("at least %d, so that strength %v leaves one to run", n, o.Strength)
	}
	return "a number of steps that the scheduler supports"
}
