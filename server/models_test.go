package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server/engine"
)

// keeper is a pair that has several models.
type keeper struct {
	pair
	mu     sync.Mutex
	models []engine.ModelStatus
	costs  map[string]engine.Costs
}

func (k *keeper) Models() []engine.ModelStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.models
}

func (k *keeper) Costs() engine.Costs {
	c := k.pair.Costs()
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Models = k.costs
	return c
}

// severalModels is a server of three: fake-base, other, which has 7 steps of its own, and sub/third, which has no refiner.
func severalModels(t *testing.T, change func(*Config)) (*bench, *keeper) {
	t.Helper()
	k := &keeper{models: []engine.ModelStatus{{Name: "fake-base", State: engine.Ready}, {Name: "other", State: engine.Unloaded}, {Name: "sub/third", State: engine.Unloaded}}}
	var b *bench
	b = newBench(t, func(c *Config) {
		c.Models = []Model{
			{"other", engine.Specs{Base: spec(t, "tiny", "fake-other", `{"width":64,"height":64,"num_inference_steps":7}`, nil), Refiner: c.Specs.Refiner}},
			{"sub/third", engine.Specs{Base: fakeBase(t)}},
		}
		c.Devices = []string{"card"}
		c.Load = func(int) (engine.Engine, error) {
			k.pair = pair{b.base, b.refiner}
			return k, nil
		}
		if change != nil {
			change(c)
		}
	})
	b.base.on = "card"
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, k
}

// A request names its model, which gives its defaults, and is refused with the list where there is none of that name.
func TestSeveralModels(t *testing.T) {
	b, _ := severalModels(t, nil)
	var got engine.Job
	note := func(j engine.Job) { got = j }
	b.base.take, b.refiner.take = note, note
	image := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	for _, c := range []struct {
		path, body, name string
		model            engine.Model
		steps            int
	}{
		{"/generate", `{"prompt":"a"}`, "fake-base", engine.Base, 50},
		{"/generate", `{"prompt":"a","model":null}`, "fake-base", engine.Base, 50},
		{"/generate", `{"prompt":"a","model":"other"}`, "other", engine.Base, 7},
		{"/generate", `{"prompt":"a","model":"sub/third"}`, "sub/third", engine.Base, 50},
		{"/generate", `{"prompt":"a","model":"fake-other"}`, "other", engine.Base, 7}, // as its images' parameters have it
		{"/refine", `{"prompt":"a","id":"` + image + `","model":"other"}`, "other", engine.Refiner, 20},
		{"/refine", `{"prompt":"a","id":"` + image + `","model":"other","refiner":false}`, "other", engine.Base, 7},
		{"/refine", `{"prompt":"a","id":"` + image + `","model":"fake-refiner"}`, "fake-base", engine.Refiner, 20},
		{"/v1/jobs", `{"prompt":"a","model":"other"}`, "other", engine.Base, 7},
		{"/v1/jobs", `{"prompt":"a","model":"other","refiner":true}`, "other", engine.Ensemble, 7},
		{"/v1/jobs", `{"prompt":"a","image":"` + image + `","model":"sub/third"}`, "sub/third", engine.Base, 50},
		{"/v1/jobs", `{"prompt":"a","image":"` + image + `","model":"fake-refiner"}`, "fake-base", engine.Refiner, 20},
	} {
		got = engine.Job{}
		if c.path == "/v1/jobs" {
			v := b.finished(t, b.postJob(t, c.body).ID)
			if c.model != engine.Refiner && v.Model != c.name {
				t.Errorf("%s: the job's model is %q", c.body, v.Model)
			}
		} else {
			id(t, b.do("POST", c.path, c.body))
		}
		if got.Name != c.name || got.Model != c.model || got.Parameters.Steps != c.steps {
			t.Errorf("%s %s: the engine got %s %s with %d steps, want %s %s with %d", c.path, c.body, got.Name, got.Model, got.Parameters.Steps, c.name, c.model, c.steps)
		}
	}
	const bases, all = `Input should be 'fake-base', 'other' or 'sub/third'`, `Input should be 'fake-base', 'other', 'sub/third' or 'fake-refiner'`
	for _, c := range []struct{ path, body, says string }{
		{"/generate", `{"prompt":"a","model":"nope"}`, bases}, {"/generate", `{"prompt":"a","model":"fake-refiner"}`, bases},
		{"/generate", `{"prompt":"a","model":7}`, bases}, {"/generate", `{"prompt":"a","model":""}`, bases},
		{"/refine", `{"prompt":"a","id":"` + image + `","model":"nope"}`, all},
		{"/v1/jobs", `{"prompt":"a","model":"nope"}`, bases}, {"/v1/jobs", `{"prompt":"a","image":"` + image + `","model":"nope"}`, all},
	} {
		var answer struct{ Detail []problem }
		w := b.do("POST", c.path, c.body)
		if json.Unmarshal(w.Body.Bytes(), &answer); w.Code != 422 || len(answer.Detail) != 1 || answer.Detail[0].Msg != c.says || fmt.Sprint(answer.Detail[0].Loc) != "[body model]" {
			t.Errorf("%s %s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if w := b.do("POST", "/refine", `{"prompt":"a","id":"`+image+`","model":"sub/third"}`); w.Code != 501 {
		t.Errorf("a refiner that the model lacks: %d %s", w.Code, w.Body)
	}
}

// The list says where each model is.
func TestModelList(t *testing.T) {
	b, k := severalModels(t, nil)
	list := func() string {
		var answer struct {
			Object string
			Data   []modelView
		}
		w := b.do("GET", "/v1/models", "")
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || answer.Object != "list" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		var text []string
		for _, m := range answer.Data {
			if m.Object != "model" || m.OwnedBy != "goxl" || m.Devices["card"] != (modelState{m.State, m.Percent}) {
				t.Errorf("%+v", m)
			}
			text = append(text, fmt.Sprint(m.ID, " ", m.Kind, " ", m.State, " ", m.Percent, " ", m.Default))
		}
		return strings.Join(text, "; ")
	}
	if got, want := list(), "fake-base base ready 0 true; other base unloaded 0 false; sub/third base unloaded 0 false; fake-refiner refiner ready 0 false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	k.mu.Lock()
	k.models = []engine.ModelStatus{{Name: "fake-base", State: engine.Unloaded}, {Name: "other", State: engine.Loading, Percent: 40}, {Name: "sub/third", State: engine.Ready}}
	k.mu.Unlock()
	if got, want := list(), "fake-base base unloaded 0 true; other base loading 40 false; sub/third base ready 0 false; fake-refiner refiner unloaded 0 false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var options struct{ Models []modelOptions }
	if w := b.do("GET", "/v1/options", ""); json.Unmarshal(w.Body.Bytes(), &options) != nil || len(options.Models) != 3 || options.Models[1].Name != "other" || options.Models[1].Steps != 7 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b = loadedBench(t, nil) // an engine of one model
	if w := b.do("GET", "/v1/models", ""); !strings.Contains(w.Body.String(), `{"id":"fake-base","object":"model","created":0,"owned_by":"goxl","state":"ready","default":true,"kind":"base"}`) {
		t.Errorf("%s", w.Body)
	}
	if w := newBench(t, nil).do("GET", "/v1/models", ""); !strings.Contains(w.Body.String(), `"state":"loading"`) {
		t.Errorf("%s", w.Body)
	}
}

// Names that requests could not tell apart are refused when the server is made.
func TestModelNames(t *testing.T) {
	for name, says := range map[string]string{"fake-base": `two models are called "fake-base"`, "": "the name of a model is empty"} {
		_, err := New(Config{Specs: engine.Specs{Base: fakeBase(t)}, Models: []Model{{name, engine.Specs{Base: fakeBase(t)}}},
			Load: func(int) (engine.Engine, error) { return nil, nil }, Images: t.TempDir(), Journal: t.TempDir() + "/jobs.db"})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Steps that take too long are those of the model that is named, once its costs are known.
func TestLimitsOfModel(t *testing.T) {
	b, k := severalModels(t, func(c *Config) { c.RequestTimeout = 100 * time.Second })
	k.mu.Lock()
	k.costs = map[string]engine.Costs{"other": {Base: sdxl.Cost{Step: sdxl.Polynomial{2}}}}
	k.mu.Unlock()
	const body = `{"prompt":"a","num_inference_steps":60,"model":"other"}`
	id(t, b.do("POST", "/generate", body)) // which opens it
	if w := b.do("POST", "/generate", body); w.Code != 422 || !strings.Contains(w.Body.String(), "less than or equal to 50") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	id(t, b.do("POST", "/generate", `{"prompt":"a","num_inference_steps":60}`))
}

// A client waits for a model only so long; the loading goes on, and its job ends then. Jobs without a client wait for it.
func TestSlowLoading(t *testing.T) {
	small := `{"prompt":"a","n_iter":2,"width":64,"height":64,"init_images":["` + sdPNG(t, 64, 64) + `"]`
	for _, c := range []struct {
		name, path, body string
		left             int // jobs whose records stay
	}{
		{"diffusers", "/generate", `{"prompt":"a"}`, 1}, {"OpenAI", "/v1/images/generations", `{"prompt":"a","n":2}`, 2},
		{"A1111", "/sdapi/v1/img2img", small + `}`, 0}, {"A1111 saves", "/sdapi/v1/img2img", small + `,"save_images":true}`, 0},
	} {
		t.Run(c.name, func(t *testing.T) { slowLoading(t, c.path, c.body, c.left) })
	}
}

func slowLoading(t *testing.T, path, body string, left int) {
	b, _ := severalModels(t, func(c *Config) { c.Schedulers = scheduler.Names() })
	b.loadingWait = time.Millisecond
	loaded := make(chan struct{})
	over := make(chan error, 1)
	b.base.take = func(j engine.Job) {
		j.OnLoading(41.7)
	}
	b.base.run = func(ctx context.Context, r sdxl.Request) error {
		<-loaded
		if err := ctx.Err(); err != nil {
			over <- fmt.Errorf("the loading was ended: %w", err)
			return err
		}
		r.Progress(sdxl.Progress{Step: 1, Steps: 50})
		<-ctx.Done()
		over <- context.Cause(ctx)
		return ctx.Err()
	}
	w := b.do("POST", path, body)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "The model is being loaded: 42 % after 1ms") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	close(loaded)
	if err := <-over; !errors.Is(err, job.ErrCancelled) {
		t.Errorf("%v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w := b.do("GET", "/v1/jobs", "")
		if strings.Count(w.Body.String(), `"state":"cancelled"`) == left && strings.Count(w.Body.String(), `"state":`) == left && b.imageCount(t) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d images, and not %d records: %s", b.imageCount(t), left, w.Body)
		}
	}
	b.base.run = func(context.Context, sdxl.Request) error { time.Sleep(5 * time.Millisecond); return nil }
	b.finished(t, b.postJob(t, `{"prompt":"a"}`).ID)
}

// A client is answered that its model can't be loaded, and when to come back.
func TestModelFails(t *testing.T) {
	b, _ := severalModels(t, nil)
	b.base.run = func(context.Context, sdxl.Request) error {
		return &engine.LoadError{Model: "other", Err: errors.New("unet is damaged")}
	}
	w := b.do("POST", "/generate", `{"prompt":"a","model":"other"}`)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "The model other can't be loaded: unet is damaged") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// A1111's clients choose a model by its title, with or without the ending of a file.
func TestModelOfA1111(t *testing.T) {
	b, _ := severalModels(t, func(c *Config) { c.Schedulers = scheduler.Names() })
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	for checkpoint, name := range map[string]string{"other": "other", "sub/third": "sub/third", "fake-base": "fake-base"} {
		w := b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"a","width":64,"height":64,"steps":2,"override_settings":{"sd_model_checkpoint":"`+checkpoint+`"}}`)
		if w.Code != 200 || got.Name != name || !strings.Contains(w.Body.String(), `\"sd_model_name\":\"`+name+`\"`) {
			t.Errorf("%s: the engine got %q: %d %.300s", checkpoint, got.Name, w.Code, w.Body)
		}
	}
	w := b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"a","refiner_checkpoint":"fake-refiner","override_settings":{"sd_model_checkpoint":"sub/third"}}`)
	if w.Code/100 != 4 || !strings.Contains(w.Body.String(), "must be the refiner of sd_model_checkpoint") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
