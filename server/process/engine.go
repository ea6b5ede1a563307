package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"sync"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Engine is an engine.Engine in another process.
type Engine struct {
	*peer
	config Config
	device kernels.Info

	usedMu sync.Mutex
	used   map[part]bool // those that have computed something
}

// part is a base or a refiner of a model, or a file that was opened beside it.
type part struct {
	name  string
	model engine.Model // "" is a file's
	file  string
}

// Config says when a program is given up.
type Config struct {
	// StallTimeout is how long a computation may go without a step, beyond what the models' costs let expect, before
	// the program is killed; 0 is 2 minutes. Opening the models, and the first computation of each, have 15 minutes more.
	StallTimeout time.Duration
	// SilenceTimeout is how long a program, computing or idle, may give no sign of life before it is killed; 0 is 15 s.
	SilenceTimeout time.Duration

	first time.Duration // more for a model's first computation; 0 is loadTime
}

// Start runs a program that calls Serve and waits until its models are open, or returns why that can't be. The command
// must have no ExtraFiles; where it has no Stdout, what the program prints goes to its Stderr, as the program's log.
func Start(command *exec.Cmd, c Config) (*Engine, error) {
	if c.StallTimeout < 0 || c.SilenceTimeout < 0 {
		return nil, fmt.Errorf("process: StallTimeout is %v and SilenceTimeout %v: must be 0 or more", c.StallTimeout, c.SilenceTimeout)
	}
	for _, field := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{{&c.StallTimeout, defaultStall}, {&c.SilenceTimeout, defaultSilence}, {&c.first, loadTime}} {
		if *field.value == 0 {
			*field.value = field.otherwise
		}
	}
	p, err := start(command, max(c.SilenceTimeout/beats, 1))
	if err != nil {
		return nil, err
	}
	a, err := p.ask(context.Background(), patience{step: loadTime + c.StallTimeout}, call{Do: hello, Beat: p.beat}, callbacks{})
	if err != nil {
		_ = p.end() // err is the reason
		return nil, err
	}
	if a.Opened == nil {
		_ = p.end()
		return nil, errors.New("process: the program does not say what it opened")
	}
	p.mu.Lock()
	p.costs = a.Opened.Costs
	p.mu.Unlock()
	return &Engine{peer: p, config: c, device: a.Opened.Device, used: map[part]bool{}}, nil
}

// Costs are about how long the models take for an image; zero if that is not known.
func (e *Engine) Costs() engine.Costs {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.costs
}

// Models are those that the program last reported; nil if its engine is no engine.Keeper.
func (e *Engine) Models() []engine.ModelStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.models
}

// Device describes the program's device.
func (e *Engine) Device() kernels.Info { return e.device }

// DeviceName is the name of the program's device.
func (e *Engine) DeviceName() string { return e.device.Name }

// Usage is what the program last reported.
func (e *Engine) Usage() (engine.Usage, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.usage == nil {
		return engine.Usage{}, false
	}
	return *e.usage, true
}

// Pid is the program's process id.
func (e *Engine) Pid() int { return e.command.Process.Pid }

// Generate does a job. Its request must have no callbacks but Progress, Preview, OnComputed and Stop, and no taps and
// embeddings.
func (e *Engine) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	on := takeCallbacks(&j)
	packed, raw, err := pack(j)
	if err != nil {
		return nil, err
	}
	a, err := e.ask(ctx, e.patience(j), call{Do: generate, Job: packed}, on, raw...)
	if err != nil {
		return nil, err
	}
	if a.Result == nil {
		return nil, errors.New("process: the program's answer has neither a result nor an error")
	}
	e.noteUse(j)
	return &a.Result.Result, nil
}

// takeCallbacks takes a job's callbacks out of it; a preview stays, to say how often.
func takeCallbacks(j *engine.Job) callbacks {
	on := callbacks{loading: j.OnLoading, step: j.Request.Progress, computed: j.Request.OnComputed, stop: j.Request.Stop}
	if j.Request.Preview != nil {
		on.preview = j.Request.Preview.Func
	}
	j.Request.Progress, j.Request.OnComputed = nil, nil
	return on
}

// parts are those that a job uses.
func parts(j engine.Job) []part {
	if j.Upscale != nil {
		var list []part
		for _, path := range j.Upscale.Files() {
			list = append(list, part{file: *path}) // which is of no model
		}
		return list
	}
	list := []part{{name: j.Name, model: j.Model}}
	if j.Model == engine.Ensemble {
		list = []part{{name: j.Name, model: engine.Base}, {name: j.Name, model: engine.Refiner}}
	}
	r := &j.Request
	file := func(path string) { list = append(list, part{name: j.Name, file: path}) }
	for _, c := range r.Controls {
		file(c.Path)
	}
	for _, a := range r.T2IAdapters {
		file(a.Path)
	}
	for _, a := range r.IPAdapters {
		file(a.Path)
		file(a.Encoder)
	}
	if r.Hires != nil && r.Hires.UpscalerFile() != "" {
		file(r.Hires.Upscaler)
	}
	return list
}

// noteUse notes what a job has used.
func (e *Engine) noteUse(j engine.Job) {
	models := e.Models()
	e.usedMu.Lock()
	defer e.usedMu.Unlock()
	e.forgetUnloaded(models)
	for _, p := range parts(j) {
		e.used[p] = true
	}
}

// forgetUnloaded forgets the models that are not open any more. The caller holds usedMu.
func (e *Engine) forgetUnloaded(models []engine.ModelStatus) {
	for _, m := range models {
		if m.State == engine.Unloaded {
			maps.DeleteFunc(e.used, func(p part, _ bool) bool { return p.name == m.Name })
		}
	}
}

// patience is for what has no step in between: at most two steps that are on the device at once, of each model and of
// either pass, and the autoencoder.
func (e *Engine) patience(j engine.Job) patience {
	p := j.Parameters
	p.Strength, p.DenoisingStart, p.DenoisingEnd, p.Guidance = 0, 0, 0, max(p.Guidance, 2) // all of a step, with guidance
	if p.Hires != nil {
		second := *p.Hires
		second.Steps, p.Hires = 2, &second
	}
	limit, costs, models := patience{step: e.config.StallTimeout}, e.Costs(), e.Models()
	if j.Upscale != nil { // a tile may be all of it
		limit.step += time.Duration(costs.Of(j.Name).Seconds(j, 0) * float64(time.Second))
	}
	e.usedMu.Lock()
	defer e.usedMu.Unlock()
	e.forgetUnloaded(models) // a job that failed may have closed some for its own
	for _, m := range parts(j) {
		if m.file == "" {
			seconds := costs.Of(m.name).Seconds(engine.Job{Model: m.model, Parameters: p}, 2)
			limit.step += time.Duration(seconds * float64(time.Second))
		}
		if !e.used[m] {
			limit.first = e.config.first
		}
	}
	return limit
}

// Close ends the program and waits for that.
func (e *Engine) Close() error { return e.end() }
