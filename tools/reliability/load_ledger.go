package main

import (
	"math/rand/v2"
	"sync"
)

// accepted is a job whose id was answered.
type accepted struct {
	id                 string
	want               want
	images             int
	cancelled, removed bool // asked for; of ledger.mu
}

// made is an image whose id was answered when it was done.
type made struct {
	id   string
	want want
}

// ledger is all that was answered. Its methods may be called at the same time.
type ledger struct {
	mu     sync.Mutex
	jobs   []*accepted
	byID   map[string]*accepted
	images []made
}

// accept notes a job. It tells whether the id is new.
func (l *ledger) accept(a *accepted) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = map[string]*accepted{}
	}
	if l.byID[a.id] != nil {
		return false
	}
	l.byID[a.id] = a
	l.jobs = append(l.jobs, a)
	return true
}

// job is a job that was accepted.
func (l *ledger) job(id string) *accepted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byID[id]
}

func (l *ledger) make(id string, w want) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.images = append(l.images, made{id, w})
}

// someJob is any job that was not removed, "" if there is none.
func (l *ledger) someJob(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range 20 {
		if len(l.jobs) == 0 {
			break
		}
		if a := l.jobs[random.IntN(len(l.jobs))]; !a.removed {
			return a.id
		}
	}
	return ""
}

// someImage is any image that is done, the zero value if there is none.
func (l *ledger) someImage(random *rand.Rand) (m made) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.images) > 0 {
		m = l.images[random.IntN(len(l.images))]
	}
	return m
}

// cancel notes that jobs are about to be cancelled.
func (l *ledger) cancel(ids ...string) { l.mark(func(a *accepted) { a.cancelled = true }, ids) }

// remove notes that jobs are about to be removed.
func (l *ledger) remove(ids ...string) { l.mark(func(a *accepted) { a.removed = true }, ids) }

func (l *ledger) mark(as func(*accepted), ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if a := l.byID[id]; a != nil {
			as(a)
		}
	}
}

func (l *ledger) isRemoved(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.byID[id]
	return a != nil && a.removed
}

func (l *ledger) count(which func(*accepted) bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.jobs {
		if which(a) {
			n++
		}
	}
	return n
}
