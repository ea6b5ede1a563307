// Package engine is what lies between a server and the models: a [Job] says what to compute and on which model, an
// [Engine] computes it on one device. [Local] is an engine of this process; package process has one of another.
package engine

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// Model says which of an engine's models a job is for.
type Model string

// Models of a job.
const (
	Base     Model = "base"
	Refiner  Model = "refiner"  // image-to-image only
	Ensemble Model = "ensemble" // the base up to Job.DenoisingEnd, then the refiner
)

// Job is a request for an engine.
type Job struct {
	Name    string // of the engine's models, as Opening has it; "" is the first, or the only one
	Model   Model
	Request sdxl.Request
	// Upscale enlarges the request's image in place of what Model would do. Of the request, Image, Progress, Stop and
	// OnComputed count then, and Name does not: the device alone is needed.
	Upscale      *sdxl.Upscaling
	DenoisingEnd float64 // of an ensemble: the fraction of the steps, in (0, 1), at which the refiner goes on
	// Parameters are what Specs.Resolve gave, by which an engine estimates how long the job takes; the engine computes
	// what Request says.
	Parameters sdxl.Parameters
	// OnLoading is called while weights of the model are read for the first time, before the first step; nil is not.
	OnLoading func(percent float64)
}

// Engine computes jobs on one device. Generate is called once at a time, or again once it called the request's
// OnComputed, and returns soon after its context ends; the other methods may be called meanwhile. Close comes last.
type Engine interface {
	Generate(ctx context.Context, j Job) (*sdxl.Result, error)
	// Costs are about how long images take; zero if it is not known.
	Costs() Costs
	// DeviceName is where the engine computes, which may be another device than was meant when it was opened.
	DeviceName() string
	// Lost says why the engine can compute nothing any more, nil while it can: its device failed. It is closed then, and
	// another one is opened.
	Lost() error
	Close() error
}

// Usage is what an engine has taken of its device.
type Usage struct {
	Memory    kernels.Memory
	Evictions uint64 // components of models that left the device's memory for others, since the engine was opened
}

// Reporter is an Engine that reports its Usage. It may be called at any time before Close; known is false where nothing
// is known yet.
type Reporter interface {
	Usage() (u Usage, known bool)
}

// ModelState is how much of a model an engine has.
type ModelState string

// The states of a model.
const (
	Unloaded ModelState = "unloaded" // a job that needs it has it opened
	Loading  ModelState = "loading"  // it is opened, or its weights are read for the first time
	Ready    ModelState = "ready"
)

// ModelStatus is what an engine has of a model.
type ModelStatus struct {
	Name    string
	State   ModelState
	Percent float64 // of the weights' bytes that were read; of Loading
}

// Keeper is an [Engine] of several models, which it opens when jobs need them. Models lists all of them, in their order;
// it is quick, and may be called at any time. Costs has those of each model that was open once in Costs.Models.
type Keeper interface {
	Engine
	Models() []ModelStatus
}

// LoadError is why a model can't be loaded. Other models are not concerned.
type LoadError struct {
	Model string
	Err   error
}

func (e *LoadError) Error() string {
	return fmt.Sprintf("the model %s can't be loaded: %v", e.Model, e.Err)
}

func (e *LoadError) Unwrap() error { return e.Err }

// Specs are the configurations of an engine's models.
type Specs struct {
	Base    *sdxl.Spec
	Refiner *sdxl.Spec // nil if there is none
}

// Resolve fills in the models' defaults and checks a job's request, as [sdxl.Spec.Resolve] does. The job's model must be
// there.
func (s Specs) Resolve(j Job) (sdxl.Parameters, error) {
	if j.Upscale != nil {
		return j.resolveUpscale()
	}
	switch j.Model {
	case Refiner:
		return s.Refiner.Resolve(j.Request)
	case Ensemble:
		return sdxl.ResolveEnsemble(j.Request, []*sdxl.Spec{s.Base, s.Refiner}, []float64{j.DenoisingEnd, 0})
	}
	return s.Base.Resolve(j.Request)
}

// AdapterHashes are those of the files of a job's adapters, as [sdxl.Spec.AdapterHashes] gives them.
func (s Specs) AdapterHashes(j Job) []string {
	if j.Model == Refiner && s.Refiner != nil {
		return s.Refiner.AdapterHashes(j.Request)
	}
	return s.Base.AdapterHashes(j.Request)
}

// Costs are about how long an engine's models take.
type Costs struct {
	Base, Refiner sdxl.Cost
	FLOPS         float64          `json:",omitempty"` // operations a second, of upscalers
	Models        map[string]Costs `json:",omitempty"` // of a Keeper's models by their names
}

// Of are the costs of the model of that name; one that was never open is taken to be like the first.
func (c Costs) Of(name string) Costs {
	if of, known := c.Models[name]; known {
		return of
	}
	return Costs{Base: c.Base, Refiner: c.Refiner, FLOPS: c.FLOPS}
}

// Seconds is about how long a job takes with so many steps.
func (c Costs) Seconds(j Job, steps int) float64 {
	once, step := c.parts(j)
	return once + step*float64(steps)
}

// Steps is the most steps of a job that take so many seconds; 0 or less if there is no time for one, +Inf if steps take
// no time.
func (c Costs) Steps(j Job, seconds float64) float64 {
	once, step := c.parts(j)
	return (seconds - once) / step
}

// parts are the seconds that a job takes whatever its steps, and those of each of num_inference_steps.
func (c Costs) parts(j Job) (once, step float64) {
	p := j.Parameters
	if p.Upscale != nil {
		if c.FLOPS > 0 {
			once = p.Upscale.FLOPs / c.FLOPS
		}
		return once, 0
	}
	switch j.Model {
	case Refiner:
		once, step = partsOf(c.Refiner, j)
	case Ensemble:
		once, step = partsOf(c.Base, j)
		_, second := partsOf(c.Refiner, j)
		return once, step*j.DenoisingEnd + second*(1-j.DenoisingEnd)
	default:
		once, step = partsOf(c.Base, j)
	}
	end := p.DenoisingEnd
	if end == 0 {
		end = 1
	}
	return once, step * (end - p.DenoisingStart)
}

// partsOf are those of a model. The steps of a second pass of which the request names none are as many as the first's.
func partsOf(cost sdxl.Cost, j Job) (once, step float64) {
	seconds := func(steps int) float64 {
		p := j.Parameters
		p.Steps = steps
		if own := j.Request.Hires; p.Hires != nil && own != nil && own.Steps == 0 {
			p = withSecondPass(p, steps)
		}
		return cost.Seconds(p)
	}
	once = seconds(0)
	steps := max(1, j.Parameters.Steps) // on the average of which guidance may act in some alone
	return once, (seconds(steps) - once) / float64(steps)
}

// withSecondPass are parameters with so many steps of the second pass.
func withSecondPass(p sdxl.Parameters, steps int) sdxl.Parameters {
	h := *p.Hires
	h.Steps, p.Hires = steps, &h
	return p
}

// SecondSteps is the most steps of a job's second pass that take so many seconds beside one step of the first; see Steps.
func (c Costs) SecondSteps(j Job, seconds float64) float64 {
	j.Request.Hires = nil // whose steps are those of the parameters
	with := func(steps int) float64 {
		j.Parameters = withSecondPass(j.Parameters, steps)
		return c.Seconds(j, 1)
	}
	none := with(0)
	return (seconds - none) / (with(1) - none)
}
