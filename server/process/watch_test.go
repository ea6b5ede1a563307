package process

import (
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// quick is a configuration that gives up early.
func quick() Config {
	return Config{StallTimeout: 600 * time.Millisecond, SilenceTimeout: 750 * time.Millisecond, first: time.Nanosecond}
}

// A program that makes no step for too long is killed, and no sooner than the cost of its model lets expect. One that is
// slow goes on.
func TestStall(t *testing.T) {
	for _, c := range []struct {
		name, cost, prompt string
		first              time.Duration
		killed             bool
	}{
		{name: "hangs", cost: "0", prompt: "stuck", killed: true},
		{name: "pauses", cost: "0", prompt: "pause", killed: true},
		{name: "pauses as expected", cost: "2", prompt: "pause"},
		{name: "pauses at first", cost: "0", prompt: "pause", first: time.Minute},
		{name: "slow", cost: "0", prompt: "slow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := quick()
			config.first = max(config.first, c.first)
			e, _ := launchWith(t, c.cost, config)
			j := ask(c.prompt)
			j.Request.Steps = 5 // a second, if slow
			began := time.Now()
			_, err := e.Generate(t.Context(), j)
			if !c.killed {
				if err != nil || e.Lost() != nil {
					t.Errorf("%v, lost: %v", err, e.Lost())
				}
			} else if err == nil || !strings.HasPrefix(err.Error(), "the engine made no step for ") || e.Lost() == nil || time.Since(began) < config.StallTimeout-100*time.Millisecond {
				t.Errorf("%v after %v, lost: %v", err, time.Since(began), e.Lost())
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The first computation of a model has more time than those after it, until its first step.
func TestFirstComputation(t *testing.T) {
	config := quick()
	config.first = time.Minute
	e, _ := launchWith(t, "0", config)
	if _, err := e.Generate(t.Context(), ask("pause")); err != nil {
		t.Error(err)
	}
	if _, err := e.Generate(t.Context(), ask("pause")); err == nil || e.Lost() == nil {
		t.Errorf("the second: %v, lost: %v", err, e.Lost())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestOverdue(t *testing.T) {
	p := &peer{beat: time.Second, lives: true, pending: map[uint64]*pending{1: {limit: patience{first: 5 * time.Second, step: 10 * time.Second}}}}
	live := func(n int) (err error) {
		for range n {
			if p.lives {
				p.take(answer{News: alive})
			}
			if err := p.overdue(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := live(15); err != nil {
		t.Error(err)
	}
	p.take(answer{ID: 1, News: stepped})
	if err := live(10); err != nil {
		t.Error(err)
	}
	if err := live(1); err == nil || err.Error() != "the engine made no step for 11s" {
		t.Error(err)
	}
	p = &peer{beat: time.Second}
	if err := live(120); err != nil { // it has not begun to live
		t.Error(err)
	}
	if err := p.overdue(); err == nil || err.Error() != "the engine's process gave no sign of life for 2m1s" {
		t.Error(err)
	}
	p.take(answer{News: alive})
	for range beats {
		if err := p.overdue(); err != nil {
			t.Error(err)
		}
	}
	if err := p.overdue(); err == nil || err.Error() != "the engine's process gave no sign of life for 16s" {
		t.Error(err)
	}
}

// What is expected follows the job: a step of a large image takes longer, and one of the refiner otherwise.
func TestPatience(t *testing.T) {
	base := sdxl.Cost{Step: sdxl.Polynomial{0, 0.1}, Encode: sdxl.Polynomial{5}, Decode: sdxl.Polynomial{7}}
	refiner := sdxl.Cost{Step: sdxl.Polynomial{0, 0.2}, Decode: sdxl.Polynomial{7}}
	e := &Engine{config: Config{StallTimeout: time.Minute, first: time.Hour}, peer: &peer{costs: engine.Costs{Base: base, Refiner: refiner}}, used: map[part]bool{}}
	j := engine.Job{DenoisingEnd: 0.8}
	p := &j.Parameters
	p.Strength, p.Steps, p.DenoisingStart, p.Images = 0.1, 50, 0.9, 1
	e.noteUse(engine.Job{Model: engine.Base})
	for _, c := range []struct {
		model engine.Model
		side  int
		task  sdxl.Task
		want  time.Duration
		first time.Duration
	}{
		{engine.Base, 10, sdxl.TextToImage, 87 * time.Second, 0}, {engine.Base, 20, sdxl.TextToImage, 147 * time.Second, 0},
		{engine.Base, 20, sdxl.ImageToImage, 152 * time.Second, 0}, {engine.Refiner, 20, sdxl.ImageToImage, 227 * time.Second, time.Hour},
		{engine.Ensemble, 10, sdxl.TextToImage, 134 * time.Second, time.Hour},
	} {
		j.Model, p.Width, p.Height, p.Task = c.model, c.side, c.side, c.task
		if got := e.patience(j); got.step != c.want || got.first != c.first {
			t.Errorf("%+v: %v and at first %v more", c, got.step, got.first)
		}
	}
	e.noteUse(engine.Job{Model: engine.Ensemble})
	j.Model = engine.Refiner
	if got := e.patience(j); got.first != 0 {
		t.Errorf("a refiner that was used has %v more", got.first)
	}

	// Of several models each has its own cost, and more time again after it was closed.
	e.costs.Models = map[string]engine.Costs{"a": {Base: sdxl.Cost{Step: sdxl.Polynomial{15}}}, "b": {}}
	of := func(name string) engine.Job {
		return engine.Job{Name: name, Model: engine.Base, Parameters: sdxl.Parameters{Images: 1}}
	}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Ready}, {Name: "b", State: engine.Ready}}
	if got := e.patience(of("a")); got.step != 90*time.Second || got.first != time.Hour {
		t.Errorf("the first job of a model has %v and at first %v more", got.step, got.first)
	}
	e.noteUse(of("a"))
	if got := e.patience(of("a")); got.first != 0 {
		t.Errorf("the second job of a model has %v more", got.first)
	}
	e.models[0].State = engine.Unloaded
	e.noteUse(of("b"))
	if got := e.patience(of("a")); got.first != time.Hour {
		t.Errorf("the first job of a model that was closed has %v more", got.first)
	}
}

func TestBadConfig(t *testing.T) {
	if _, err := Start(nil, Config{StallTimeout: -1}); err == nil || err.Error() != "process: StallTimeout is -1ns and SilenceTimeout 0s: must be 0 or more" {
		t.Error(err)
	}
}
