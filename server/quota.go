package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/auth"
)

const day = 24 * time.Hour

// quotas are what users of limits have used. It is read from the journal, once, and kept up from then on.
type quotas struct {
	mu sync.Mutex
	by map[string]*usage
}

// usage is what one owner has used.
type usage struct {
	mu     sync.Mutex
	read   bool
	today  time.Time // its midnight, in UTC
	images int       // of today's jobs that are done
	open   map[string]openJob
}

// openJob is a job that had not ended when it was last looked at.
type openJob struct {
	images   int
	created  time.Time
	accepted bool // the queue knows it
}

func (q *quotas) of(owner string) *usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == nil {
		q.by = map[string]*usage{}
	}
	u := q.by[owner]
	if u == nil {
		u = &usage{open: map[string]openJob{}}
		q.by[owner] = u
	}
	return u
}

// forget lets what an owner used be read from the journal again: jobs of an owner without limits are not counted.
func (q *quotas) forget(owner string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.by, owner)
}

// used is how many images of today a user has, those of jobs that have not ended among them, and how many such jobs.
func (q *quotas) used(s *Server, u *auth.User) (images, jobs int, err error) {
	if u.ImagesPerDay == 0 && u.Jobs == 0 {
		return 0, 0, nil
	}
	of := q.of(u.Name)
	of.mu.Lock()
	defer of.mu.Unlock()
	if err := of.refresh(s, u.Name, time.Now()); err != nil {
		return 0, 0, err
	}
	images, jobs = of.count()
	return images, jobs, nil
}

// admit counts a job of a visitor, and refuses it where that would be beyond a limit. settle must be called with
// what became of it.
func (s *Server) admit(x *exchange, j *job.Job) (settle func(accepted bool), err error) {
	settle = func(bool) {}
	u := x.user
	if u == nil {
		return settle, nil
	}
	if j.Priority == 0 {
		j.Priority = min(0, u.Priority)
	}
	if j.Priority > u.Priority {
		return nil, &failure{kind: invalid, problems: []problem{{
			Type: "less_than_equal", Loc: []any{"body", "priority"}, Msg: fmt.Sprintf("Input should be less than or equal to %d", u.Priority),
			Input: json.RawMessage(strconv.Itoa(j.Priority)), Ctx: map[string]any{"le": u.Priority},
		}}}
	}
	if u.ImagesPerDay == 0 && u.Jobs == 0 {
		s.quotas.forget(u.Name)
		return settle, nil
	}
	if j.Key != "" { // the answer to one that came before costs nothing
		if _, existed, err := s.journal.Keyed(j.Owner, j.Key, j.KeyHash); existed || err != nil {
			return settle, nil // which Submit finds too
		}
	}
	n, err := imagesOf(j)
	if err != nil {
		return nil, err
	}
	of := s.quotas.of(u.Name)
	of.mu.Lock()
	defer of.mu.Unlock()
	now := time.Now()
	if err := of.refresh(s, u.Name, now); err != nil {
		return nil, err
	}
	if err := of.afford(x, n, now); err != nil {
		return nil, err
	}
	images, jobs := of.count()
	midnight := of.today.Add(day)
	switch {
	case u.Jobs > 0 && jobs >= u.Jobs:
		free := max(time.Second, s.queue.Stats().Free)
		x.rateLimit(u.Jobs, u.Jobs-jobs, free)
		return nil, &failure{kind: quotaExceeded, retry: free,
			detail: fmt.Sprintf("Too many jobs at once: %d have not ended: at most %d may", jobs, u.Jobs)}
	case u.ImagesPerDay > 0:
		x.rateLimit(u.ImagesPerDay, u.ImagesPerDay-images-n, midnight.Sub(now))
	default:
		x.rateLimit(u.Jobs, u.Jobs-jobs-1, max(time.Second, s.queue.Stats().Free))
	}
	of.open[j.ID] = openJob{images: n, created: now}
	id := j.ID
	return func(accepted bool) {
		of.mu.Lock()
		defer of.mu.Unlock()
		if e, there := of.open[id]; there && accepted {
			e.accepted = true
			of.open[id] = e
		} else {
			delete(of.open, id)
		}
	}, nil
}

// affords refuses a request of several jobs that its user could never have, before the first of them is computed: one
// of more images than are left of today's, or of more jobs at once than may be.
func (s *Server) affords(x *exchange, images, atOnce int) error {
	u := x.user
	if u == nil {
		return nil
	}
	if u.Jobs > 0 && atOnce > u.Jobs {
		return &failure{kind: invalid, problems: []problem{{
			Type: "less_than_equal", Loc: []any{"body", "n"}, Msg: fmt.Sprintf("Input should be less than or equal to %d, your jobs at once", u.Jobs),
			Input: json.RawMessage(strconv.Itoa(atOnce)), Ctx: map[string]any{"le": u.Jobs},
		}}}
	}
	if u.ImagesPerDay == 0 {
		return nil
	}
	of := s.quotas.of(u.Name)
	of.mu.Lock()
	defer of.mu.Unlock()
	now := time.Now()
	if err := of.refresh(s, u.Name, now); err != nil {
		return err
	}
	return of.afford(x, images, now)
}

// afford refuses n images that are more than are left of today's. It needs mu, and that the usage is up to now.
func (u *usage) afford(x *exchange, n int, now time.Time) error {
	most := x.user.ImagesPerDay
	images, _ := u.count()
	if most == 0 || images+n <= most {
		return nil
	}
	midnight := u.today.Add(day)
	x.rateLimit(most, most-images, midnight.Sub(now))
	return &failure{kind: quotaExceeded, retry: midnight.Sub(now),
		detail: fmt.Sprintf("Too many images for today: %d of %d are left, the request is for %d; the next day begins at %s",
			max(0, most-images), most, n, midnight.Format(time.RFC3339))}
}

// ended counts a job that has ended, and whose record is about to be removed: nobody would know later what came of it.
func (q *quotas) ended(j *job.Job) {
	q.mu.Lock()
	of := q.by[j.Owner]
	q.mu.Unlock()
	if of == nil {
		return
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	e, there := of.open[j.ID]
	if !there {
		return
	}
	if j.State == job.Done && !e.created.Before(of.today) {
		of.images += e.images
	}
	delete(of.open, j.ID)
}

// rateLimit tells a client of one of its limits.
func (x *exchange) rateLimit(limit, left int, reset time.Duration) {
	h := x.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(max(0, left)))
	h.Set("RateLimit-Reset", strconv.Itoa(int((reset+time.Second-1)/time.Second)))
}

// imagesOf is how many images a job makes, or has made.
func imagesOf(j *job.Job) (int, error) {
	if len(j.Outputs) > 0 {
		return len(j.Outputs), nil
	}
	var p struct{ Images int }
	err := json.Unmarshal(j.Parameters, &p)
	return p.Images, err
}

// count needs mu.
func (u *usage) count() (images, jobs int) {
	images = u.images
	for _, e := range u.open {
		if !e.created.Before(u.today) {
			images += e.images
		}
	}
	return images, len(u.open)
}

// refresh brings the usage of an owner up to now. It needs mu.
func (u *usage) refresh(s *Server, owner string, now time.Time) error {
	if !u.read {
		u.today = now.UTC().Truncate(day)
		if err := u.readJournal(s.journal, owner); err != nil {
			return err
		}
		u.read = true
	}
	if today := now.UTC().Truncate(day); !today.Equal(u.today) {
		u.today, u.images = today, 0
	}
	for id, e := range maps.Clone(u.open) {
		if !e.accepted {
			continue
		}
		j, _, err := s.queue.Job(id)
		gone := errors.Is(err, job.ErrUnknown) || errors.Is(err, job.ErrExpired) // it was done for all that is known
		switch {
		case gone || err == nil && j.State == job.Done:
			if !e.created.Before(u.today) {
				u.images += e.images
			}
		case err != nil:
			return err
		case !j.State.Ended():
			continue
		}
		delete(u.open, id)
	}
	return nil
}

// readJournal counts the jobs of today, and those that have not ended.
func (u *usage) readJournal(journal *job.Journal, owner string) error {
	removed, err := journal.Removed(owner, u.today)
	if err != nil {
		return err
	}
	u.images = removed
	filter := job.Filter{Owner: &owner, States: []job.State{job.Queued, job.Running, job.Interrupted}, Limit: 1000}
	err = eachJob(journal, filter, func(j *job.Job) (bool, error) {
		n, err := imagesOf(j)
		u.open[j.ID] = openJob{images: n, created: j.Created, accepted: true}
		return true, err
	})
	if err != nil {
		return err
	}
	return eachJob(journal, job.Filter{Owner: &owner, Limit: 1000}, func(j *job.Job) (bool, error) {
		if _, open := u.open[j.ID]; !open && j.State == job.Done && !j.Created.Before(u.today) {
			u.images += len(j.Outputs)
		}
		return !j.Created.Before(u.today), nil
	})
}

// eachJob calls do for the jobs that a filter selects, the newest first, while it returns true.
func eachJob(journal *job.Journal, filter job.Filter, do func(*job.Job) (more bool, err error)) error {
	for {
		page, err := journal.List(filter)
		if err != nil {
			return err
		}
		for i := range page.Jobs {
			if more, err := do(&page.Jobs[i]); !more || err != nil {
				return err
			}
		}
		if filter.Before = page.Next; page.Next == 0 {
			return nil
		}
	}
}
