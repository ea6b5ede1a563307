package remote

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// Whatever dies or stands still, every job is done exactly once in the journal, and none is lost: workers are killed and
// pause past their lease, APIs and NATS start again.
func TestChaos(t *testing.T) {
	jobs, kills := 200, 4
	if testing.Short() {
		jobs, kills = 40, 2
	}
	b := newBroker(t)
	f := newFront(t, b)
	var count atomic.Int64
	hire := func(i int) *hand {
		return newHand(t, b, handOptions{name: fmt.Sprint("worker", i), devices: 2, engine: &sleeper{takes: 20 * time.Millisecond, count: &count}})
	}
	hands := []*hand{hire(0), hire(1), hire(2)}
	var ids []string
	for range jobs {
		ids = append(ids, f.submit(nil))
	}
	left := func() (n int) {
		open, err := f.journal.Open()
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	for i := range kills {
		waitFor(t, func() string { return fmt.Sprintf("%d jobs are left after %d faults", left(), i) }, func() bool { return left() <= jobs*(kills-i)/(kills+1) })
		at := rand.IntN(len(hands))
		switch i % 4 {
		case 0:
			hands[at].kill()
			hands[at] = hire(len(hands) + i)
		case 1:
			h := hands[at]
			h.paused.Lock()
			waitFor(t, func() string { return "a worker that gives no sign of life stays" }, func() bool {
				return len(f.api.Health()) <= 2*(len(hands)-1)
			})
			h.paused.Unlock()
		case 2:
			f.stop()
			f.start()
		case 3:
			b.stop()
			b.start()
		}
	}
	for _, id := range ids {
		f.done(id)
	}
	page, err := f.journal.List(job.Filter{States: []job.State{job.Done}, Limit: 10})
	if err != nil || len(page.Jobs) != 10 {
		t.Errorf("%d, %v", len(page.Jobs), err)
	}
	t.Logf("%d jobs, %d computations", jobs, count.Load())
	if n := count.Load(); n < int64(jobs) {
		t.Errorf("%d computations of %d jobs", n, jobs)
	}
}

// A NATS that has lost everything, jobs, images and consumers, costs a delay.
func TestNATSLosesEverything(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	newHand(t, b, handOptions{name: "one", engine: &sleeper{takes: 300 * time.Millisecond}})
	f.done(f.submit(nil))
	running, waits := f.submit(nil), f.submit(nil)
	f.until(running, "running", func(_ job.Job, live job.Live) bool { return live.Steps == 2 })
	b.stop()
	b.folder = t.TempDir()
	b.start()
	f.done(running)
	f.done(waits)
}

// A request that NATS does not carry fails, and holds up no other.
func TestTooLong(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	newHand(t, b, handOptions{name: "one", engine: &sleeper{}})
	long := f.submit(func(_ *job.Job, task *worker.Task) { task.Job.Request.Prompt = strings.Repeat("x", largestMessage) })
	if j := f.ended(long); j.State != job.Failed || j.Error.Kind != worker.KindTooLong {
		t.Errorf("%s, %v", j.State, j.Error)
	}
	f.done(f.submit(nil))
}

// A worker that gives no sign of life loses its job to another one; when it comes back, its result is dropped.
func TestPausedWorker(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	var count atomic.Int64
	hold := make(chan struct{})
	h := newHand(t, b, handOptions{name: "slow", engine: &sleeper{count: &count, step: func(j engine.Job) error {
		j.Request.Progress(sdxl.Progress{Steps: 1})
		<-hold
		return nil
	}}})
	id := f.submit(nil)
	f.until(id, "computed", func(_ job.Job, live job.Live) bool { return live.Steps == 1 })
	h.paused.Lock()
	newHand(t, b, handOptions{name: "fast", engine: &sleeper{count: &count}})
	j := f.done(id)
	if j.Attempts != 2 {
		t.Errorf("attempt %d", j.Attempts)
	}
	h.paused.Unlock()
	close(hold)
	waitFor(t, func() string { return "the paused worker keeps the job" }, func() bool { return h.worker.Ended(id) })
	if after := f.ended(id); !after.Ended.Equal(j.Ended) || after.Attempts != 2 {
		t.Errorf("%+v", after)
	}
	for range 3 { // it works again
		f.done(f.submit(nil))
	}
}

// A job whose attempts all fail fails.
func TestRetriesEnd(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	newHand(t, b, handOptions{name: "bad", engine: &sleeper{step: func(engine.Job) error {
		return &worker.Error{Kind: worker.KindDeviceFailed, Message: "it fell over"}
	}}})
	if j := f.ended(f.submit(nil)); j.State != job.Failed || j.Attempts != 10 || j.Error.Kind != worker.KindDeviceFailed {
		t.Errorf("%+v, %v", j, j.Error)
	}
}

// What NATS does not carry is left to the devices of this process, if there are any, and costs no attempt.
func TestTooLongForOthers(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	f.api.options.Local = true
	newHand(t, b, handOptions{name: "one", engine: &sleeper{}})
	long := f.submit(func(_ *job.Job, task *worker.Task) { task.Job.Request.Prompt = strings.Repeat("x", largestMessage) })
	f.until(long, "given back", func(j job.Job, _ job.Live) bool { return j.State == job.Interrupted || j.State.Ended() })
	l, err := f.queue.Take(t.Context(), job.Taker{Name: "local"})
	if err != nil {
		t.Fatal(err)
	}
	if j := l.Job(); j.ID != long || j.Attempts != 1 {
		t.Errorf("job %s, attempt %d, want %s and the first", j.ID, j.Attempts, long)
	}
	l.Fail(&job.Error{Kind: worker.KindInternal, Message: "enough"}, nil)
}
