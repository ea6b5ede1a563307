package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// workers are remote devices that take jobs once they are ready.
type workers struct {
	ready  atomic.Bool
	queue  *job.Queue
	closed atomic.Bool
	other  job.Job // of another server
	image  blob.Distant
	models []string
	opened []worker.DeviceModels
}

func (w *workers) Start(q *job.Queue, _ *blob.Store) error {
	w.queue = q
	return nil
}

func (w *workers) Ready() bool { return w.ready.Load() }

func (w *workers) Health() map[string]worker.State {
	if !w.Ready() {
		return nil
	}
	return map[string]worker.State{"far/cuda:0": worker.Ready}
}

func (w *workers) Able(*job.Job) bool            { return w.Ready() }
func (w *workers) Offered() ([]string, bool)     { return w.models, w.Ready() }
func (w *workers) Models() []worker.DeviceModels { return w.opened }

func (w *workers) FindImage(_ context.Context, id string) (blob.Distant, error) {
	if id == w.other.ID && w.image.Content != nil {
		return w.image, nil
	}
	return blob.Distant{}, &blob.Error{Kind: blob.ErrNotFound}
}

func (w *workers) Find(_ context.Context, id string) (job.Job, job.Live, error) {
	if id == w.other.ID {
		return w.other, job.Live{Position: 7}, nil
	}
	return job.Job{}, job.Live{}, job.ErrUnknown
}

func (w *workers) Wait(context.Context) error { return nil }

func (w *workers) Close() error {
	w.closed.Store(true)
	return nil
}

// A server without devices of its own takes jobs, answers requests for an image only while there is a worker, and shows
// jobs of other servers.
func TestRemote(t *testing.T) {
	id, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	w := &workers{other: job.Job{ID: id, State: job.Queued}}
	b := newBench(t, func(c *Config) { c.Load, c.Remote = nil, w })
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	if r := b.do("POST", "/generate", plain); r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), "No worker is there") || r.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if r := b.do("POST", "/v1/jobs", plain); r.Code != http.StatusAccepted {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	w.models = b.modelNames()
	w.ready.Store(true)
	if r := b.do("GET", "/readyz", ""); r.Body.String() != `{"status":"ready","devices":{"far/cuda:0":"ready"}}` {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	l, err := w.queue.Take(t.Context(), job.Taker{})
	if err != nil {
		t.Fatal(err)
	}
	l.Fail(&job.Error{Kind: worker.KindOtherModel, Message: "nobody has it"}, nil)
	answered := make(chan *job.Lease)
	go func() {
		l, err := w.queue.Take(t.Context(), job.Taker{})
		if err != nil {
			t.Error(err)
		} else {
			l.Fail(&job.Error{Kind: worker.KindOtherModel, Message: "nobody has it"}, nil)
		}
		close(answered)
	}()
	if r := b.do("POST", "/generate", plain); r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), "nobody has it") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	<-answered
	go func() {
		if l, err := w.queue.Take(t.Context(), job.Taker{}); err != nil {
			t.Error(err)
		} else {
			l.Fail(&job.Error{Kind: worker.KindTooLong, Message: "too large to be sent"}, nil)
		}
	}()
	if r := b.do("POST", "/generate", plain); r.Code != http.StatusRequestEntityTooLarge || !strings.Contains(r.Body.String(), "too large to be sent") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if r := b.do("GET", "/v1/jobs/"+id, ""); r.Code != http.StatusOK || !strings.Contains(r.Body.String(), `"position":7`) {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if none, err := blob.NewID(); err != nil || b.do("GET", "/v1/jobs/"+none, "").Code != http.StatusNotFound {
		t.Errorf("a job that no server has: %v", err)
	}
	if err := b.Close(); err != nil || !w.closed.Load() {
		t.Error(err)
	}
	if _, err := New(Config{Specs: b.config.Specs, Images: t.TempDir()}); err == nil {
		t.Error("a server without devices")
	}
	if _, err := New(Config{Specs: b.config.Specs, Images: t.TempDir(), Journal: t.TempDir() + "/x", Remote: broken{}}); err == nil || !strings.Contains(err.Error(), "remote devices: no way") {
		t.Error(err)
	}
}

type broken struct{ Remote }

func (broken) Start(*job.Queue, *blob.Store) error { return errors.New("no way") }
