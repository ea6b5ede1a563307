package server

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
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

// What workers are given says what is in the files of its adapters and of the embeddings.
func TestFilesOfAJob(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "style.safetensors")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cat := inversion("cat", 32, 48)
	b := apart(t, &workers{}, func(c *Config) {
		c.LoRADir, c.TextualInversions = dir, []sdxl.TextualInversion{cat, inversion("dog", 32, 48)}
	})
	task := worker.Task{Job: engine.Job{Name: "first", Model: engine.Base, Request: sdxl.Request{
		Prompt: "a cat", LoRAs: []sdxl.LoRA{{Path: file, Strengths: lora.Strength(1)}}, TextualInversions: b.config.TextualInversions,
	}}, Outputs: []string{"a"}}
	var err error
	if task.Job.Parameters, err = b.specs("first").Resolve(task.Job); err != nil {
		t.Fatal(err)
	}
	j, err := b.newJob(task)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("x"))); len(j.Adapters) != 1 || j.Adapters[0].Hash != want {
		t.Errorf("%+v, want %s", j.Adapters, want)
	}
	got, err := worker.Decode(j.Request, b.shared())
	if want := b.shared().Hashes([]string{"cat", "dog"}); err != nil || !maps.Equal(got.Embeddings, want) || len(want) != 2 {
		t.Errorf("%v, want %v; %v", got.Embeddings, want, err)
	}
}
