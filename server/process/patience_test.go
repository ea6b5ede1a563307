package process

import (
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// A model that was closed for another one's job has the time to be read again, though that job failed.
func TestPatienceOfClosedModel(t *testing.T) {
	e := &Engine{peer: &peer{}, config: Config{StallTimeout: time.Minute, first: time.Hour}, used: map[part]bool{{name: "a", model: engine.Base}: true}}
	j := engine.Job{Name: "a", Model: engine.Base}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Ready}, {Name: "b", State: engine.Unloaded}}
	if p := e.patience(j); p.first != 0 {
		t.Errorf("%v until the first step of an open model, want none more", p.first)
	}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Unloaded}, {Name: "b", State: engine.Ready}}
	if p := e.patience(j); p.first != time.Hour {
		t.Errorf("%v until the first step of a closed model, want %v", p.first, time.Hour)
	}
}

// What a request names beside the model has the time to be read when it is used first, and again with the model. The
// second pass has larger steps.
func TestPatienceOfFiles(t *testing.T) {
	cost := engine.Costs{Base: sdxl.Cost{Step: sdxl.Polynomial{0, 1}, Encode: sdxl.Polynomial{3}, Decode: sdxl.Polynomial{5}}}
	e := &Engine{peer: &peer{costs: cost}, config: Config{StallTimeout: time.Minute, first: time.Hour}, used: map[part]bool{}}
	e.noteUse(engine.Job{Name: "a", Model: engine.Base})
	seen := map[time.Duration]int{}
	for _, r := range []sdxl.Request{
		{Controls: []sdxl.Control{{Path: "c"}}}, {T2IAdapters: []sdxl.T2IAdapter{{Path: "t"}}}, {IPAdapters: []sdxl.IPAdapter{{Path: "i", Encoder: "e"}}},
		{IPAdapters: []sdxl.IPAdapter{{Path: "i", Encoder: "f"}}}, {Hires: &sdxl.Hires{Upscaler: "u.pth"}}, {Hires: &sdxl.Hires{Upscaler: "Lanczos"}},
	} {
		j := engine.Job{Name: "a", Model: engine.Base, Request: r}
		seen[e.patience(j).first]++
		e.noteUse(j)
		e.models = []engine.ModelStatus{{Name: "b", State: engine.Unloaded}}
		if p := e.patience(j); p.first != 0 {
			t.Errorf("%+v: %v more the second time", r, p.first)
		}
	}
	if seen[time.Hour] != 5 || seen[0] != 1 {
		t.Errorf("more time the first time: %v", seen)
	}
	e.models = []engine.ModelStatus{{Name: "a", State: engine.Unloaded}}
	e.noteUse(engine.Job{Name: "b", Model: engine.Base})
	if len(e.used) != 1 {
		t.Errorf("of a model that was closed: %v", e.used)
	}
	j := engine.Job{Model: engine.Base, Parameters: sdxl.Parameters{Task: sdxl.TextToImage, Width: 1, Height: 1, Images: 1, Hires: &sdxl.HiresParameters{Width: 2, Height: 2, Steps: 30}}}
	if p, want := e.patience(j), time.Minute+(2*1+5+3+2*4+5)*time.Second; p.step != want {
		t.Errorf("%v for a step of the second pass, want %v", p.step, want)
	}
}
