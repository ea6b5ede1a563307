package remote

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// small is an engine of a card that has too little memory.
func small(count *atomic.Int64) *sleeper {
	return &sleeper{step: func(engine.Job) error {
		count.Add(1)
		return fmt.Errorf("unet: %w", &kernels.MemoryError{Needed: 3 << 30, Allowed: 1 << 30})
	}}
}

// A job goes from device to device of a worker, and from worker to worker, until one has the memory, which costs it no
// attempt; where none has, it fails with the figures, each device having been asked once.
func TestTooLarge(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var tries, done atomic.Int64
	newHand(t, b, handOptions{name: "small", engines: []*sleeper{small(&tries), small(&tries), small(&tries), small(&tries)}})
	j := f.ended(f.submit(nil))
	if j.State != job.Failed || j.Error.Kind != worker.KindTooLarge || !strings.HasSuffix(j.Error.Message, "3.00 GiB needed, 1.00 GiB allowed") || tries.Load() != 4 {
		t.Errorf("%s after %d computations, %v", j.State, tries.Load(), j.Error)
	}
	newHand(t, b, handOptions{name: "mixed", engines: []*sleeper{small(&tries), {count: &done}}})
	waitFor(t, func() string { return "no second worker" }, func() bool { return len(f.api.Health()) == 6 })
	for i := range 8 {
		if j := f.done(f.submit(nil)); j.Attempts != 1 || done.Load() != int64(i+1) {
			t.Errorf("attempt %d, %d computations", j.Attempts, done.Load())
		}
	}
}

// A job that waits for another device of its worker ends when it is cancelled, and the worker computes on.
func TestCancelBetweenDevices(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var tries atomic.Int64
	hold, begun := make(chan struct{}), make(chan struct{}, 8)
	large := &sleeper{step: func(engine.Job) error {
		begun <- struct{}{}
		<-hold
		return nil
	}}
	w := newHand(t, b, handOptions{name: "mixed", engines: []*sleeper{small(&tries), large}}).worker
	first := f.submit(nil) // which has the large device, at once or in the end
	<-begun
	second := f.submit(nil)
	waitFor(t, func() string { return "the second job does not wait" }, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waits) == 1
	})
	if _, err := f.queue.Cancel(second, "client"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() string { return "the worker keeps a job that was cancelled" }, func() bool { return w.Ended(second) })
	if n := tries.Load(); n > 2 { // one of each job
		t.Errorf("the small device is tried %d times", n)
	}
	close(hold)
	f.done(first)
	f.done(f.submit(nil))
}

// clock is an API's.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(c.at.Load(), 0) }
func (c *clock) pass(d time.Duration)     { c.at.Add(int64(d / time.Second)) }
func (f *front) setClock(c *clock) *front { f.options.now = c.now; f.stop(); f.start(); return f }

// noted waits until the API has seen that no worker can compute a job.
func (f *front) noted(id string) {
	f.t.Helper()
	waitFor(f.t, func() string { return "the API does not see that no worker can compute the job" }, func() bool {
		f.api.mu.Lock()
		defer f.api.mu.Unlock()
		_, noted := f.api.lacking[id]
		return noted
	})
}

// A job whose model no worker has waits while there are none, and for a time while there are others; then it fails, and
// says what there is. Where a worker with the model comes in time, that computes it.
func TestNobodyHasTheModel(t *testing.T) {
	b := newBroker(t)
	c := &clock{}
	f := newFront(t, b).setClock(c)
	submit := func(model string) string {
		return f.submit(func(j *job.Job, _ *worker.Task) { j.Model = model })
	}
	rare, none := submit("rare"), submit("none")
	time.Sleep(testLease)
	c.pass(time.Hour) // for which there is no worker
	if offered, some := f.api.Offered(); some || len(offered) != 0 {
		t.Errorf("%v, %v", offered, some)
	}
	newHand(t, b, handOptions{name: "one", models: []string{"b", "a"}, engine: &sleeper{}})
	f.noted(rare)
	f.noted(none)
	c.pass(DefaultPatience - time.Second)
	newHand(t, b, handOptions{name: "two", models: []string{"rare"}, engine: &sleeper{}})
	f.done(rare)
	if j, _, err := f.queue.Job(none); err != nil || j.State != job.Queued {
		t.Errorf("%s, %v", j.State, err)
	}
	if offered, some := f.api.Offered(); !some || !slices.Equal(offered, []string{"a", "b", "rare"}) {
		t.Errorf("%v, %v", offered, some)
	}
	c.pass(time.Second)
	const says = `No worker has the model "none": one has a, b; two has rare`
	if j := f.ended(none); j.State != job.Failed || j.Error.Kind != worker.KindOtherModel || j.Error.Message != says || j.Attempts != 0 {
		t.Errorf("%s, attempt %d, %v", j.State, j.Attempts, j.Error)
	}
}

// A job that the workers which are left have refused fails with what they said, in the same time.
func TestTheOneThatCouldIsGone(t *testing.T) {
	b := newBroker(t)
	c := &clock{}
	f := newFront(t, b).setClock(c)
	newHand(t, b, handOptions{name: "refuses", engine: &sleeper{}, refuse: func(job.Job) *job.Error {
		return &job.Error{Kind: worker.KindOtherModel, Message: "no such adapter"}
	}})
	busy := newHand(t, b, handOptions{name: "busy", models: []string{"tiny", "other"}, engine: &sleeper{takes: time.Hour}})
	waitFor(t, func() string { return "no two workers" }, func() bool { return len(f.api.Health()) == 2 })
	other := f.submit(func(j *job.Job, _ *worker.Task) { j.Model = "other" })
	f.until(other, "running", func(_ job.Job, live job.Live) bool { return live.Steps == 2 })
	id := f.submit(nil)
	f.until(id, "refused", func(j job.Job, _ job.Live) bool { return j.State == job.Interrupted })
	busy.stop()
	f.noted(id)
	c.pass(DefaultPatience)
	if j := f.ended(id); j.State != job.Failed || j.Error.Message != "no such adapter" {
		t.Errorf("%s, %v", j.State, j.Error)
	}
}

// Two APIs say the same of the devices of workers: what is open of the models that a worker has.
func TestModelsOfWorkers(t *testing.T) {
	b := newBroker(t)
	one, two := newFront(t, b), newFront(t, b)
	newHand(t, b, handOptions{name: "w", models: []string{"tiny", "b"}, engine: &sleeper{}})
	want := []worker.DeviceModels{{Device: "w/card0", State: worker.Ready, Models: []engine.ModelStatus{
		{Name: "tiny", State: engine.Ready}, {Name: "b", State: engine.Unloaded},
	}}}
	for _, f := range []*front{one, two} {
		waitFor(t, func() string { return fmt.Sprintf("%+v, want %+v", f.api.Models(), want) }, func() bool {
			return fmt.Sprint(f.api.Models()) == fmt.Sprint(want)
		})
	}
}

// A worker whose files of a name are not the server's has no job of that model, and is called by name in the reason.
func TestOtherFiles(t *testing.T) {
	b := newBroker(t)
	c := &clock{}
	f := newFront(t, b)
	f.options.Fingerprints = map[string]string{"tiny": "aa", "b": "bb"}
	f.setClock(c)
	var wrong atomic.Int64
	newHand(t, b, handOptions{name: "wrong", models: []string{"tiny", "b"}, fingerprints: map[string]string{"tiny": "cc", "b": "bb"}, engine: &sleeper{count: &wrong}})
	id := f.submit(nil)
	f.noted(id)
	if offered, _ := f.api.Offered(); !slices.Equal(offered, []string{"b"}) {
		t.Errorf("%v are offered", offered)
	}
	c.pass(DefaultPatience)
	if j := f.ended(id); j.Error == nil || j.Error.Message != `No worker has the model "tiny": wrong has b, tiny (other files than the server's)` {
		t.Errorf("%s, %v", j.State, j.Error)
	}
	newHand(t, b, handOptions{name: "right", fingerprints: map[string]string{"tiny": "aa"}, engine: &sleeper{}})
	f.done(f.submit(nil))
	if wrong.Load() != 0 {
		t.Error("computed with other files")
	}
}

// A worker whose files differ is known by name: from the server's or, where that has none, from another worker's.
func TestDiffering(t *testing.T) {
	a := NewAPI(&Conn{}, APIOptions{Fingerprints: map[string]string{"mine": "a"}})
	hire := func(id string, fingerprints map[string]string) *peer {
		p := &peer{api: a, id: id, said: announcement{ID: id, Models: []string{"mine", "theirs", "made"}, Fingerprints: fingerprints}}
		a.peers[id] = p
		return p
	}
	if names := a.differing(hire("one", map[string]string{"mine": "a", "theirs": "x"})); len(names) != 0 {
		t.Errorf("%v", names)
	}
	if names := a.differing(hire("two", map[string]string{"mine": "a", "theirs": "x"})); len(names) != 0 {
		t.Errorf("%v", names)
	}
	if names := a.differing(hire("three", map[string]string{"mine": "b", "theirs": "y"})); !slices.Equal(names, []string{"mine", "theirs"}) {
		t.Errorf("%v", names)
	}
}
