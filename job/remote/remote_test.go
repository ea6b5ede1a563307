package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// A job is computed by a worker: the image that it begins with gets there, and its image, its steps and its parameters
// come back. Nothing stays in NATS.
func TestJob(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	source := image.NewNRGBA(image.Rect(0, 0, 16, 8))
	source.Set(3, 2, color.NRGBA{200, 100, 50, 255})
	var file bytes.Buffer
	if err := png.Encode(&file, source); err != nil {
		t.Fatal(err)
	}
	sourceID, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.images.Begin(sourceID, blob.PNG, 1000)
	if err == nil {
		err = p.Commit(file.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	var pixel atomic.Value
	go_ := make(chan struct{})
	newHand(t, b, handOptions{name: "one", engine: &sleeper{step: func(j engine.Job) error {
		pixel.Store(j.Request.Image.At(3, 2))
		j.Request.Progress(sdxl.Progress{Step: 3, Steps: 7, Left: time.Minute})
		<-go_
		return nil
	}}})
	id := f.submit(func(j *job.Job, task *worker.Task) {
		task.Images, task.Job.Request.Image = map[string]string{"image": sourceID}, sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 16}}
		j.Inputs = []job.Blob{{Role: "image", ID: sourceID}}
	})
	f.until(id, "step 3 of 7", func(j job.Job, live job.Live) bool {
		return j.State == job.Running && live.Step == 3 && live.Steps == 7 && live.Left == time.Minute
	})
	close(go_)
	j := f.done(id)
	if j.Attempts != 1 || pixel.Load() != (color.NRGBA{200, 100, 50, 255}) || !strings.Contains(string(j.Parameters), `"width":8`) {
		t.Errorf("%+v, pixel %v", j, pixel.Load())
	}
	if err := f.api.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	c := b.connect("test")
	defer c.nc.Close()
	waitFor(t, func() string { return "jobs or images stay in NATS" }, func() bool {
		s, err := c.stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		store, err := c.objects(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := store.List(t.Context())
		return info.State.Msgs == 0 && len(list) == 0 && err != nil // ErrNoObjectsFound
	})
}

// A job goes to a worker that has its model; one that finds that it can't compute it after all gives it back, and where
// nobody else can, the job fails with the reason.
func TestModels(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	lacks := func(j job.Job) *job.Error {
		return &job.Error{Kind: worker.KindOtherModel, Message: "no such adapter"}
	}
	var other, refused atomic.Int64
	newHand(t, b, handOptions{name: "other", models: []string{"other"}, engine: &sleeper{count: &other}})
	newHand(t, b, handOptions{name: "lacks", models: []string{"tiny", "rare"}, refuse: lacks, engine: &sleeper{count: &refused}})
	waits := f.submit(func(j *job.Job, _ *worker.Task) { j.Model = "none" })
	fails := f.submit(func(j *job.Job, _ *worker.Task) { j.Model = "rare" })
	if j := f.ended(fails); j.State != job.Failed || j.Error.Message != "no such adapter" || j.Attempts != 1 {
		t.Errorf("%+v, %v", j, j.Error)
	}
	newHand(t, b, handOptions{name: "has", engine: &sleeper{}})
	waitFor(t, func() string { return "no third worker" }, func() bool { return len(f.api.Health()) == 3 })
	for range 20 {
		if j := f.done(f.submit(nil)); j.Attempts != 1 {
			t.Errorf("attempt %d", j.Attempts)
		}
	}
	if other.Load() != 0 || refused.Load() != 0 {
		t.Errorf("computed by the wrong worker: %d, %d", other.Load(), refused.Load())
	}
	if j, _, err := f.queue.Job(waits); err != nil || j.State != job.Queued || j.Attempts != 0 {
		t.Errorf("%+v, %v", j, err)
	}
}

// A job that is cancelled ends at its worker, whose device is free for the next one.
func TestCancel(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var count atomic.Int64
	slow := &sleeper{takes: time.Hour, count: &count}
	newHand(t, b, handOptions{name: "one", engine: slow})
	for range 2 {
		id := f.submit(nil)
		f.until(id, "running", func(_ job.Job, live job.Live) bool { return live.Steps == 2 })
		if j, err := f.queue.Cancel(id, "client"); err != nil || j.State != job.Cancelled {
			t.Fatalf("%+v, %v", j, err)
		}
	}
	if count.Load() != 0 {
		t.Errorf("%d were computed", count.Load())
	}
}

// A worker that fails to compute a job says why, and whether to try again.
func TestFailures(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var calls atomic.Int64
	newHand(t, b, handOptions{name: "one", engine: &sleeper{step: func(j engine.Job) error {
		switch calls.Add(1) {
		case 1, 2:
			return &worker.Error{Kind: worker.KindDeviceFailed, Message: "it fell over"}
		case 4:
			return &sdxl.RequestError{Field: "steps", Value: 0, Allowed: "1 or more"}
		}
		return nil
	}}})
	if j := f.done(f.submit(nil)); j.Attempts != 3 {
		t.Errorf("attempt %d", j.Attempts)
	}
	if j := f.ended(f.submit(nil)); j.State != job.Failed || j.Error.Kind != worker.KindInvalid || !strings.Contains(string(j.Error.Detail), `"field":"steps"`) {
		t.Errorf("%+v, %v", j, j.Error)
	}
}

// A worker that leaves gives back what it has, which costs the job no attempt.
func TestLeaving(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	h := newHand(t, b, handOptions{name: "one", engine: &sleeper{takes: time.Hour}})
	id := f.submit(nil)
	f.until(id, "running", func(_ job.Job, live job.Live) bool { return live.Steps == 2 })
	h.stop()
	waitFor(t, func() string { return "the worker stays" }, func() bool { return !f.api.Ready() })
	newHand(t, b, handOptions{name: "two", engine: &sleeper{}})
	if j := f.done(id); j.Attempts != 1 {
		t.Errorf("attempt %d", j.Attempts)
	}
}

// A job that runs while its API ends goes on at the worker; the next API takes its result, and nothing is computed
// twice.
func TestNextAPITakesTheResult(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var count atomic.Int64
	go_ := make(chan struct{})
	newHand(t, b, handOptions{name: "one", engine: &sleeper{count: &count, step: func(engine.Job) error { <-go_; return nil }}})
	newHand(t, b, handOptions{name: "two", engine: &sleeper{count: &count, step: func(engine.Job) error { <-go_; return nil }}})
	first, second := f.submit(nil), f.submit(nil)
	for _, id := range []string{first, second} {
		f.until(id, "running", func(j job.Job, _ job.Live) bool { return j.State == job.Running })
	}
	atWorkers := func() map[string]string { // the runs of the jobs
		runs := map[string]string{}
		waitFor(t, func() string { return "jobs are not at workers" }, func() bool {
			f.api.mu.Lock()
			defer f.api.mu.Unlock()
			for id, r := range f.api.runs {
				if r.accepted {
					runs[id] = r.id
				}
			}
			return len(runs) == 2
		})
		return runs
	}
	before := atWorkers()
	f.stop()
	f.start()
	if after := atWorkers(); !maps.Equal(before, after) {
		t.Errorf("runs were %v, are %v", before, after)
	}
	close(go_)
	f.done(first)
	f.done(second)
	if count.Load() != 2 {
		t.Errorf("%d computations", count.Load())
	}
}

// A result that comes while its job waits is taken; one that comes after the job's end is not.
func TestLateResults(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	c := b.connect("test")
	defer c.nc.Close()
	w := &Worker{conn: c}
	store, err := c.objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewNRGBA(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	id := f.submit(nil)
	hand := func(o outcome) verdict {
		t.Helper()
		o.Job = id
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.ask(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	result := outcome{Run: "old", Ending: endDone, Outputs: []job.Blob{{ID: id, Type: "image/png"}}, Parameters: json.RawMessage(`{"width":8,"height":8}`)}
	if v := hand(outcome{Run: "old", Ending: endFailed, Error: &job.Error{Kind: "x", Message: "x"}}); v != ended {
		t.Errorf("a failure of an attempt that was given up: %q", v)
	}
	if v := hand(result); v != missing {
		t.Errorf("without its image: %q", v)
	}
	if err := c.put(t.Context(), store, object(id, "old", id), file.Bytes()); err != nil {
		t.Fatal(err)
	}
	if v := hand(result); v != taken {
		t.Errorf("of a job that waits: %q", v)
	}
	f.done(id)
	if v := hand(result); v != ended {
		t.Errorf("of a job that has ended: %q", v)
	}
	other := f.submit(nil)
	id = other
	bad := result
	bad.Outputs = []job.Blob{{ID: f.submit(nil), Type: "image/png"}}
	if v := hand(bad); v != ended {
		t.Errorf("with the image of another job: %q", v)
	}
	if j := f.ended(other); j.State != job.Failed || j.Error.Kind != worker.KindInternal {
		t.Errorf("%+v, %v", j, j.Error)
	}
}

// A job that comes to a worker whose device was lost meanwhile goes to another one, which costs it no attempt.
func TestNoDevice(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	c := b.connect("lost")
	w := NewWorker(c, WorkerOptions{Name: "lost", Models: []string{"tiny"}, Lease: testLease, Log: testLog(t, "lost")})
	t.Cleanup(func() {
		w.Stop()
		if err := errors.Join(w.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	})
	w.takers = []*taker{{Taker: job.Taker{Can: func(*job.Job) bool { return false }}}} // of a device that was lost
	if err := w.Start(func() []worker.DeviceModels { return []worker.DeviceModels{{Device: "card0", State: worker.Ready}} }); err != nil {
		t.Fatal(err)
	}
	id := f.submit(nil)
	f.until(id, "at the worker", func(job.Job, job.Live) bool { return len(w.leases()) == 1 })
	newHand(t, b, handOptions{name: "two", engine: &sleeper{}})
	if j := f.done(id); j.Attempts != 1 {
		t.Errorf("attempt %d", j.Attempts)
	}
}
