package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/goxl/goxl/job"
)

// sdState is what A1111's API keeps between requests. Its zero value is ready.
type sdState struct {
	mu       sync.Mutex
	options  map[string]map[string]json.RawMessage // those that were set, by who has set them
	tasks    []*sdTask                             // that have not been answered, in order
	finished map[string][]string                   // ids of the last tasks, by their owner
	previews int                                   // that there were
}

// sdMostFinished is how many tasks of an owner /internal/progress remembers, as A1111 does.
const sdMostFinished = 16

// sdTask is a request for images that has not been answered. sdState.mu guards it.
type sdTask struct {
	id, owner  string
	job        string // A1111's name of what it does
	began      time.Time
	iterations int
	images     int // to be made
	done       int
	jobs       []*sdJob // that were submitted and have not ended, in order

	interrupted bool
	skipped     map[int]bool // iterations that were
}

// sdJob is a job of a task.
type sdJob struct {
	id          string
	iteration   int
	images      int
	running     bool
	step, steps int
	preview     []byte // JPEG, of the first image; nil until there is one
	previewID   int
}

// begin notes a task.
func (a *sdState) begin(t *sdTask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks = append(a.tasks, t)
}

// end forgets a task that was answered, but for its id.
func (a *sdState) end(t *sdTask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks = slices.DeleteFunc(a.tasks, func(other *sdTask) bool { return other == t })
	if a.finished == nil {
		a.finished = map[string][]string{}
	}
	ids := append(a.finished[t.owner], t.id)
	a.finished[t.owner] = ids[max(0, len(ids)-sdMostFinished):]
}

// completed reports whether a task that the visitor sees has been answered, as far as that is remembered.
func (a *sdState) completed(v *visitor, id string) bool {
	for owner, ids := range a.finished {
		if v.sees(owner) && slices.Contains(ids, id) {
			return true
		}
	}
	return false
}

// skips reports whether the jobs of an iteration are not wanted any more.
func (a *sdState) skips(t *sdTask, iteration int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.interrupted || t.skipped[iteration]
}

// add notes a job that was submitted. It returns false if it is not wanted any more.
func (a *sdState) add(t *sdTask, j *sdJob) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.jobs = append(t.jobs, j)
	return !t.interrupted && !t.skipped[j.iteration]
}

// remove forgets a job that has ended, and counts its images if they were made.
func (a *sdState) remove(t *sdTask, j *sdJob, made bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.jobs = slices.DeleteFunc(t.jobs, func(other *sdJob) bool { return other == j })
	if made {
		t.done += j.images
	}
}

// follow notes what becomes of a job, until it ends or ctx does.
func (a *sdState) follow(ctx context.Context, q *job.Queue, j *sdJob) {
	events, err := q.Watch(ctx, j.id, 0)
	if err != nil {
		return // whoever waits for it has the error too
	}
	for e := range events {
		a.mu.Lock()
		switch e.Kind {
		case job.KindState:
			if j.running = e.State == job.Running; !j.running {
				j.step = 0
			}
		case job.KindStep:
			j.step, j.steps = e.Step, e.Steps
		case job.KindPreview:
			if e.Image == 0 {
				a.previews++
				j.preview, j.previewID = e.Preview, a.previews
			}
		}
		a.mu.Unlock()
	}
}

// current is the first job of the task that is computed, nil if none is.
func (t *sdTask) current() *sdJob {
	for _, j := range t.jobs {
		if j.running {
			return j
		}
	}
	return nil
}

// running is the first task that a visitor sees and of which something is computed, nil if there is none. A1111 has one
// at a time.
func (a *sdState) running(v *visitor) *sdTask {
	for _, t := range a.tasks {
		if v.sees(t.owner) && t.current() != nil {
			return t
		}
	}
	return nil
}

// sdStop ends what is computed, of the whole task or of its iterations that are, with the images that there are so far.
func (s *Server) sdStop(x *exchange, whole bool) error {
	a := &s.sdapi
	var ids []string
	a.mu.Lock()
	for _, t := range a.tasks {
		if !x.sees(t.owner) || t.current() == nil {
			continue // it waits for its turn, as in A1111
		}
		t.interrupted = t.interrupted || whole
		for _, j := range t.jobs {
			if j.running {
				t.skipped[j.iteration] = true
			}
		}
		for _, j := range t.jobs {
			if t.interrupted || t.skipped[j.iteration] {
				ids = append(ids, j.id)
			}
		}
	}
	a.mu.Unlock()
	return s.interruptOrCancel(ids)
}

// sdInterrupt answers POST /sdapi/v1/interrupt: what is computed for this API ends, with the image so far.
func (s *Server) sdInterrupt(x *exchange) error {
	if err := s.sdStop(x, true); err != nil {
		return err
	}
	return x.reply(http.StatusOK, struct{}{})
}

// sdSkip answers POST /sdapi/v1/skip: the iterations that are computed end, with the image so far, and the next ones
// begin.
func (s *Server) sdSkip(x *exchange) error {
	if err := s.sdStop(x, false); err != nil {
		return err
	}
	return x.reply(http.StatusOK, nil)
}
