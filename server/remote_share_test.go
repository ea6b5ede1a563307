package server

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server/auth"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// apart is a server without devices of its own.
func apart(t *testing.T, w *workers, change func(*Config)) *bench {
	t.Helper()
	b := newBench(t, func(c *Config) {
		c.Load, c.Remote, c.Name = nil, w, "first"
		c.Models = []Model{{"second", c.Specs}}
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// A model that no worker has is refused with those that workers have, where there are workers; a job that came before is
// answered as it was.
func TestModelThatNoWorkerHas(t *testing.T) {
	w := &workers{models: []string{"other", "second"}}
	b := apart(t, w, func(c *Config) { c.Schedulers = scheduler.Names() })
	const keyed = `{"prompt":"x","model":"first"}`
	post := func(key, body string) (int, string) {
		r := b.ask("POST", "/v1/jobs", body, "Idempotency-Key", key)
		return r.Code, r.Body.String()
	}
	if code, body := post("a", keyed); code != http.StatusAccepted { // there is no worker
		t.Errorf("%d %s", code, body)
	}
	w.ready.Store(true)
	const says = `Input should be 'second': no worker has \"first\"`
	for _, body := range []string{keyed, `{"prompt":"x"}`} {
		if code, got := post("b", body); code != http.StatusUnprocessableEntity || !strings.Contains(got, says) || !strings.Contains(got, `"loc":["body","model"]`) {
			t.Errorf("%d %s", code, got)
		}
	}
	if code, body := post("a", keyed); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	if code, body := post("c", `{"prompt":"x","model":"second"}`); code != http.StatusAccepted {
		t.Errorf("%d %s", code, body)
	}
	for path, body := range map[string]string{"/v1/images/generations": `{"prompt":"x","model":"first"}`, "/sdapi/v1/txt2img": `{"prompt":"x","sampler_name":"Euler"}`} {
		if r := b.do("POST", path, body); r.Code < 400 || r.Code > 422 || !strings.Contains(r.Body.String(), "no worker has") {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
	w.models = []string{"other"}
	if r := b.do("POST", "/v1/jobs", keyed); r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "nor another one of this server") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// What the devices of workers have of the models is in the list of models; a device whose worker lacks one is not.
func TestModelsOfWorkers(t *testing.T) {
	w := &workers{opened: []worker.DeviceModels{
		{Device: "a/cuda:0", State: worker.Ready, Models: []engine.ModelStatus{{Name: "first", State: engine.Unloaded}, {Name: "second", State: engine.Ready}}},
		{Device: "b/cuda:0", State: worker.Loading, Models: []engine.ModelStatus{{Name: "second", State: engine.Loading, Percent: 7}}},
	}}
	b := apart(t, w, nil)
	got := b.do("GET", "/v1/models", "").Body.String()
	for _, want := range []string{
		`"id":"first"`, `"state":"unloaded","default":true,"kind":"base","devices":{"a/cuda:0":{"state":"unloaded"}}}`,
		`"state":"ready","default":false,"kind":"base","devices":{"a/cuda:0":{"state":"ready"},"b/cuda:0":{"state":"loading","percent":7}}}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s, want %s in it", got, want)
		}
	}
}

// An image that another server has can be downloaded here as there, and by nobody who may not see it.
func TestDownloadOfAnotherServer(t *testing.T) {
	id, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("0123456789")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	w := &workers{other: job.Job{ID: id}, image: blob.Distant{
		Type: blob.WebP, Bytes: 10, Modified: at, Owner: "anna", Owned: true, Content: bytes.NewReader(content),
	}}
	b := apart(t, w, nil)
	r := b.do("GET", "/download/"+id, "")
	if r.Code != http.StatusOK || r.Body.String() != string(content) || r.Header().Get("Content-Type") != "image/webp" ||
		r.Header().Get("Etag") != etag(at, 10) || !strings.Contains(r.Header().Get("Content-Disposition"), id+".webp") {
		t.Errorf("%d %q %v", r.Code, r.Body, r.Header())
	}
	if r := b.ask("GET", "/download/"+id, "", "Range", "bytes=2-4"); r.Code != http.StatusPartialContent || r.Body.String() != "234" {
		t.Errorf("%d %q", r.Code, r.Body)
	}
	w.image.Content = bytes.NewReader(content)
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "bert", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin})
	guarded := apart(t, w, func(c *Config) { c.Tokens = m.path })
	for name, want := range map[string]int{"anna": http.StatusOK, "bert": http.StatusNotFound, "ops": http.StatusOK} {
		if r := guarded.ask("GET", "/download/"+id, "", m.bearer(name)...); r.Code != want {
			t.Errorf("%s: %d, want %d", name, r.Code, want)
		}
	}
	if none, err := blob.NewID(); err != nil || b.do("GET", "/download/"+none, "").Code != http.StatusNotFound {
		t.Errorf("an image that no server has: %v", err)
	}
}
