package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"testing"
	"time"
)

// model is what a queue must do, told simply and slowly.
type model struct {
	capacity, perOwner, attempts int

	now     int            // counts turns
	turn    map[string]int // when an owner with jobs that wait had his last turn, or joined
	waiting []*modelJob
	idle    []*modelTaker
}

type modelJob struct {
	id, owner, class   string
	priority, attempts int
	seq                uint64
	interrupted        bool
	passed             int
}

// modelTaker computes jobs of some classes, and prefers one.
type modelTaker struct {
	can, prefers string // "" is all, and none
	got          chan *Lease
}

func (t *modelTaker) taker() Taker {
	return Taker{
		Can:     func(j *Job) bool { return t.can == "" || j.Model == t.can },
		Prefers: func(j *Job) bool { return j.Model == t.prefers },
	}
}

func (m *model) enqueue(j *modelJob) {
	if !slices.ContainsFunc(m.waiting, func(o *modelJob) bool { return o.owner == j.owner }) {
		m.now++
		m.turn[j.owner] = m.now
	}
	m.waiting = append(m.waiting, j)
}

// sorted is the order of turns as it is now.
func (m *model) sorted() []*modelJob {
	rank := func(j *modelJob) int {
		if j.interrupted {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(slices.Values(m.waiting), func(a, b *modelJob) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(m.turn[a.owner], m.turn[b.owner]), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.seq, b.seq))
	})
}

// next is what a taker gets, and whose turn it was.
func (m *model) next(t *modelTaker) (got, first *modelJob) {
	for _, j := range m.sorted() {
		if t.can != "" && j.class != t.can {
			continue
		}
		if first == nil {
			first = j
		}
		if first.passed >= 3 || first.class == t.prefers {
			return first, first
		}
		if j.priority == first.priority && j.class == t.prefers {
			return j, first
		}
	}
	return first, first
}

// remove takes a job out of those that wait, after a turn or not.
func (m *model) remove(j *modelJob, turn bool) {
	m.waiting = slices.DeleteFunc(m.waiting, func(o *modelJob) bool { return o == j })
	if turn {
		m.now++
		m.turn[j.owner] = m.now
	}
}

// dispatch gives jobs to idle takers, and returns who got what.
func (m *model) dispatch() map[*modelTaker]*modelJob {
	given := map[*modelTaker]*modelJob{}
	for {
		var to *modelTaker
		for _, t := range m.idle {
			if got, _ := m.next(t); got != nil && (to == nil || got.class == t.prefers) {
				if to = t; got.class == t.prefers {
					break
				}
			}
		}
		if to == nil {
			return given
		}
		got, first := m.next(to)
		if got != first {
			first.passed++
		}
		got.passed = 0
		got.attempts++
		m.remove(got, true)
		m.idle = slices.DeleteFunc(m.idle, func(t *modelTaker) bool { return t == to })
		given[to] = got
	}
}

// positions are those of the jobs that wait: one taker after another takes them all, with no preference.
func (m *model) positions() map[string]int {
	all := &modelTaker{prefers: "none"}
	after := &model{now: m.now, turn: map[string]int{}, waiting: slices.Clone(m.waiting)}
	for owner, turn := range m.turn {
		after.turn[owner] = turn
	}
	list := map[string]int{}
	for len(after.waiting) > 0 {
		got, _ := after.next(all)
		after.remove(got, true)
		list[got.id] = len(list) + 1
	}
	return list
}

// full says whether a new job is refused, and for whose jobs.
func (m *model) full(j *modelJob) (refused bool, owner string) {
	if slices.ContainsFunc(m.idle, func(t *modelTaker) bool { return t.can == "" || t.can == j.class }) {
		return false, ""
	}
	mine := 0
	for _, o := range m.waiting {
		if o.owner == j.owner {
			mine++
		}
	}
	switch {
	case len(m.waiting) >= m.capacity:
		return true, ""
	case mine >= m.perOwner:
		return true, j.owner
	}
	return false, ""
}

// A queue does what the model says, whatever is done with it.
func TestQueueIsTheModel(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		playModel(t, random, 150)
		if t.Failed() {
			return
		}
	}
}

func playModel(t *testing.T, random *rand.Rand, steps int) {
	o := QueueOptions{Capacity: random.Intn(12), PerOwner: 1 + random.Intn(6), MaxAttempts: 2}
	q, err := NewQueue(openJournal(t, JournalOptions{}), o)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	q.journal.db.NoSync = true // nothing is killed here
	m := &model{capacity: o.Capacity, perOwner: o.PerOwner, attempts: o.MaxAttempts, turn: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leases := map[*modelJob]*Lease{}
	settle := func(what string) {
		t.Helper()
		for taker, want := range m.dispatch() {
			l := <-taker.got
			if l == nil || l.Job().ID != want.id || l.Job().Attempts != want.attempts {
				t.Fatalf("%s: a taker got %+v, want %+v", what, l.Job(), want)
			}
			leases[want] = l
		}
		if s := q.Stats(); s.Waiting != len(m.waiting) || s.Computing != len(leases) || s.Idle != len(m.idle) {
			t.Fatalf("%s: %+v: want %d waiting, %d computing, %d idle", what, s, len(m.waiting), len(leases), len(m.idle))
		}
		for id, want := range m.positions() {
			j, live, err := q.Job(id)
			if err != nil || live.Position != want || j.State.Ended() || j.State == Running {
				t.Fatalf("%s: %s is %s at %d, %v: want %d", what, id, j.State, live.Position, err, want)
			}
		}
	}
	classes, priorities := []string{"x", "y"}, []int{0, 0, 0, 5}
	for step := range steps {
		switch p := random.Intn(20); {
		case p < 9:
			j := &modelJob{id: fmt.Sprint(step), owner: string(rune('a' + random.Intn(4))), class: classes[random.Intn(2)], priority: priorities[random.Intn(4)]}
			refused, whose := m.full(j)
			kept, _, err := q.Submit(Job{ID: j.id, Owner: j.owner, Model: j.class, Priority: j.priority})
			var full *FullError
			if refused != errors.As(err, &full) || !refused && err != nil || refused && full.Owner != whose {
				t.Fatalf("submit: %v; refused %v of %q", err, refused, whose)
			}
			if !refused {
				j.seq = kept.Seq
				m.enqueue(j)
			}
			settle("submit")
		case p < 14 && len(m.idle) < 4:
			taker := &modelTaker{can: []string{"", "", "x", "y"}[random.Intn(4)], prefers: []string{"none", "x", "y"}[random.Intn(3)], got: make(chan *Lease, 1)}
			idle, computing := len(m.idle), len(leases)
			m.idle = append(m.idle, taker)
			go func() {
				l, _ := q.Take(ctx, taker.taker()) // nil at the end
				taker.got <- l
			}()
			for s := q.Stats(); s.Idle == idle && s.Computing == computing; s = q.Stats() {
				runtime.Gosched()
			}
			settle("take")
		case p < 16 && len(m.waiting) > 0:
			j := m.waiting[random.Intn(len(m.waiting))]
			if got, err := q.Cancel(j.id, ""); err != nil || got.State != Cancelled {
				t.Fatalf("cancel: %+v, %v", got, err)
			}
			m.remove(j, false)
			settle("cancel")
		case len(leases) > 0:
			var j *modelJob
			for candidate := range leases {
				if j == nil || candidate.seq < j.seq {
					j = candidate
				}
			}
			l, what := leases[j], random.Intn(4)
			delete(leases, j)
			want := []State{Done, Failed, Interrupted, Cancelled}[what]
			switch what {
			case 0:
				err = l.Done(nil, nil, nil)
			case 1:
				l.Fail(&Error{Kind: "x", Message: "x"}, nil)
			case 2:
				l.Retry(&Error{Kind: "x", Message: "x"})
				if j.attempts >= m.attempts {
					want = Failed
				} else {
					j.interrupted = true
					m.enqueue(j)
				}
			case 3:
				_, err = q.Cancel(j.id, "")
			}
			if got, _, gerr := q.Job(j.id); err != nil || gerr != nil || got.State != want && got.State != Running {
				t.Fatalf("end %d: %+v, %v, %v: want %s", what, got, err, gerr, want)
			}
			settle("end")
		}
	}
}
