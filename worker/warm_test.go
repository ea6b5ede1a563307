package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// submitFor gives the queue a job for a model with an adapter, "" for none, and returns its id. The prompt says what it is for.
func (r *rig) submitFor(t *testing.T, model, adapter string) string {
	t.Helper()
	id, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	task := Task{Outputs: []string{id}, Job: engine.Job{Name: model, Model: engine.Base, Request: sdxl.Request{Prompt: strings.TrimSpace(model + " " + adapter), ImagesPerPrompt: 1}}}
	request, err := task.Encode(Shared{})
	if err != nil {
		t.Fatal(err)
	}
	j := job.Job{ID: id, Model: model, Request: request, Parameters: json.RawMessage(`{"width":8,"height":8}`)}
	if adapter != "" {
		j.Adapters = []job.Adapter{{Name: adapter, Strength: "1"}}
	}
	if _, _, err := r.queue.Submit(j); err != nil {
		t.Fatal(err)
	}
	return id
}

// A device goes on with the model and adapters that it has; an idle one takes what there is.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
		var got [2][]string
		r := newRig(t, 2, func(device int, ctx context.Context, request sdxl.Request) error {
			got[device] = append(got[device], request.Prompt)
			<-next[device]
			return nil
		})
		var ids []string
		for _, prompt := range []string{"a", "b"} { // one on each device, the second on the one that is idle
			ids = append(ids, r.submitFor(t, prompt, ""))
			synctest.Wait()
		}
		of := map[string]int{got[0][0]: 0, got[1][0]: 1} // the device of a model
		if len(of) != 2 {
			t.Fatalf("an idle device took no job: %v", got)
		}
		for _, j := range [][2]string{{"b", ""}, {"a", "x"}, {"a", ""}, {"b", "x"}, {"a", "x"}} {
			ids = append(ids, r.submitFor(t, j[0], j[1]))
			synctest.Wait()
		}
		for range 3 { // a's device: what is warm, then whose turn it is
			next[of["a"]] <- struct{}{}
			synctest.Wait()
		}
		if want := []string{"a", "a", "b", "a x"}; !slices.Equal(got[of["a"]], want) {
			t.Errorf("a's device computed %q, want %q", got[of["a"]], want)
		}
		close(next[0])
		close(next[1])
		for _, id := range ids {
			if j := r.end(t, id); j.State != job.Done {
				t.Errorf("%s: %v", j.State, j.Error)
			}
		}
	})
}

// keeping is a fake with models.
type keeping struct {
	*fake
	models []engine.ModelStatus
	costs  engine.Costs
}

func (k *keeping) Models() []engine.ModelStatus { return k.models }
func (k *keeping) Costs() engine.Costs          { return k.costs }

// What an engine closed, or could not load, is not warm any more; costs are reported once a model was opened.
func TestWarmIsForgotten(t *testing.T) {
	var fail error
	r := newRig(t, 1, func(_ int, _ context.Context, request sdxl.Request) error {
		if request.Prompt == "bad" {
			return &engine.LoadError{Model: "bad", Err: errors.New("no such file")}
		}
		return fail
	})
	d := r.devices[0]
	var told []int
	r.config.Opened = func(_ int, c engine.Costs) { told = append(told, len(c.Models)) }
	k := &keeping{fake: d.engine.(*fake)}
	d.mu.Lock()
	d.engine = k
	d.mu.Unlock()
	warm := func() string {
		d.mu.RLock()
		defer d.mu.RUnlock()
		var list []string
		for key := range d.warm {
			list = append(list, key)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	status := func(open ...string) {
		k.models, k.costs = nil, engine.Costs{Models: map[string]engine.Costs{}}
		for _, name := range []string{"a", "b", "bad"} {
			m := engine.ModelStatus{Name: name, State: engine.Unloaded}
			if slices.Contains(open, name) {
				m.State = engine.Ready
				k.costs.Models[name] = engine.Costs{}
			}
			k.models = append(k.models, m)
		}
	}
	for _, step := range []struct {
		model, want string
		open        []string
	}{{"a", "a", []string{"a"}}, {"b", "a b", []string{"a", "b"}}, {"bad", "a b", []string{"a", "b"}}, {"b", "b", []string{"b"}}} {
		status(step.open...)
		j := r.end(t, r.submitFor(t, step.model, ""))
		if step.model == "bad" {
			if j.State != job.Failed || j.Error.Kind != KindModelFailed || j.Error.Message != "The model bad can't be loaded: no such file" || j.Attempts != 1 {
				t.Errorf("%s after %d attempts: %+v", j.State, j.Attempts, j.Error)
			}
		} else if j.State != job.Done {
			t.Errorf("%s: %v", j.State, j.Error)
		}
		if got := warm(); got != step.want {
			t.Errorf("after %s: %q is warm, want %q", step.model, got, step.want)
		}
	}
	if fmt.Sprint(told) != "[1 2]" {
		t.Errorf("costs of %v models were told", told)
	}
	m := r.Models()
	if len(m) != 1 || m[0].Device != "card 0" || m[0].State != Ready || len(m[0].Models) != 3 {
		t.Errorf("%+v", m)
	}
	want := warmth{"b", ""}
	if d.warm["b"] != want {
		t.Errorf("%+v", d.warm)
	}
	if err := d.close(); err != nil || warm() != "" {
		t.Errorf("after the engine was closed, %q is warm: %v", warm(), err)
	}
}

// What a job's watchers hear of its model's loading comes from the engine.
func TestLoadingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, func(int, context.Context, sdxl.Request) error { return nil })
		d := r.devices[0]
		next := make(chan struct{})
		d.mu.Lock()
		d.engine = loading{d.engine.(*fake), next}
		d.mu.Unlock()
		id := r.submitFor(t, "a", "")
		for _, want := range []float64{12, 99} {
			synctest.Wait()
			if _, live, err := r.queue.Job(id); err != nil || live.Loading != want {
				t.Errorf("%+v, want %v %%: %v", live, want, err)
			}
			next <- struct{}{}
		}
		if j := r.end(t, id); j.State != job.Done {
			t.Errorf("%s: %v", j.State, j.Error)
		}
	})
}

// loading is an engine that loads a model at each job.
type loading struct {
	*fake
	next chan struct{}
}

func (l loading) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	for _, percent := range []float64{12, 99} {
		j.OnLoading(percent)
		<-l.next
	}
	return l.fake.Generate(ctx, j)
}
