package job

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of QueueOptions.
const (
	defaultAttempts = 3
	defaultEvents   = 256
)

// QueueOptions are how a queue works.
type QueueOptions struct {
	Capacity    int              // jobs that may wait while no taker is free; 0 lets none wait
	PerOwner    int              // those of one owner; 0 is as many as Capacity
	MaxAttempts int              // runs of a job before it fails; 3 if 0
	Events      int              // that are kept of a job until it ends, for watchers that come back; 256 if 0
	Now         func() time.Time // time.Now if nil
	Log         *slog.Logger     // is told of records that can't be written; discarded if nil

	// Observe is told of every event of every job, for metrics and traces, and first of the jobs that NewQueue takes up or
	// ends; nil is nobody. It is called while the queue is locked: it must be quick, not use the queue, and leave the job
	// as it is.
	Observe func(*Job, Event)
}

// Queue decides which job is computed next, and tells what becomes of jobs. It holds those that have not ended; their
// record is the journal. Its methods may be called at the same time.
type Queue struct {
	journal *Journal
	options QueueOptions
	writing sync.WaitGroup // the records that are written beside a computation

	mu        sync.Mutex
	active    map[string]*active  // the jobs that have not ended
	turns     []*owner            // those with jobs that wait; the first one's turn is next
	waiting   int                 // jobs of all of them
	accepting map[string]int      // jobs of each owner that will wait once their record is written
	takers    []*taker            // that wait; the first one for longest
	returning []*taker            // that have an ID and no job, and are about to wait
	leases    map[*Lease]struct{} // that have not ended
	last      time.Duration       // for which the job that was computed last had a device
	placed    bool                // the positions of the jobs that wait are up to date
	draining  bool
	closed    bool
}

// active is a job that has not ended.
type active struct {
	job      Job
	live     Live
	accepted bool          // its record is in the journal
	writing  chan struct{} // not nil while a change of its state is being recorded; closed then
	lease    *Lease        // nil while it waits
	expects  *taker        // that is about to wait, and likely to get it; nil for none
	passed   int           // how often a job for which a device was warm was taken before it, in its turn

	seq      uint64  // of its last event
	told     int     // the position that its watchers know
	history  backlog // for watchers that come
	watchers map[*watcher]struct{}
}

// NewQueue makes a queue of the jobs that the journal has open. Those that were running when their process died are
// Interrupted, or Failed after MaxAttempts; those whose client waited on a connection are Cancelled.
func NewQueue(journal *Journal, o QueueOptions) (*Queue, error) {
	if o.Capacity < 0 || o.PerOwner < 0 || o.MaxAttempts < 0 || o.Events < 0 {
		return nil, fmt.Errorf("job: Capacity is %d, PerOwner %d, MaxAttempts %d, Events %d; allowed: at least 0", o.Capacity, o.PerOwner, o.MaxAttempts, o.Events)
	}
	o.MaxAttempts = cmp.Or(o.MaxAttempts, defaultAttempts)
	o.Events = cmp.Or(o.Events, defaultEvents)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{
		journal: journal, options: o, active: map[string]*active{}, accepting: map[string]int{}, leases: map[*Lease]struct{}{},
	}
	open, err := q.takeUp()
	if err != nil {
		return nil, err
	}
	for _, j := range open {
		e := q.newActive(j)
		e.accepted = true
		q.enqueue(e)
	}
	for _, e := range q.active {
		q.publish(e, q.stateEvent(e))
	}
	return q, nil
}

// takeUp changes the jobs that the former process left, and returns those that wait.
func (q *Queue) takeUp() (waiting []Job, err error) {
	open, err := q.journal.Open()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, j := range open {
		if j.Attached || j.State == Running {
			left = append(left, j.ID)
		} else {
			waiting = append(waiting, j)
		}
	}
	if len(left) == 0 {
		return waiting, nil
	}
	changed, err := q.journal.updateAll(left, func(j *Job) error {
		switch {
		case j.Attached:
			j.State, j.Error = Cancelled, &Error{Kind: KindCancelled, Message: "The server ended while the client of the job waited."}
		case j.Attempts >= q.options.MaxAttempts:
			j.State, j.Error = Failed, &Error{Kind: KindProcessDied, Message: fmt.Sprintf("The server ended %d times while the job was running.", j.Attempts)}
		default:
			j.State, j.Error = Interrupted, &Error{Kind: KindProcessDied, Message: "The server ended while the job was running."}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, j := range changed {
		if !j.State.Ended() {
			waiting = append(waiting, j)
			continue
		}
		if observe := q.options.Observe; observe != nil { // nobody watches a job before there is a queue
			observe(&j, Event{Job: j.ID, Time: j.Ended, Kind: KindState, State: j.State, Error: j.Error})
		}
	}
	return waiting, nil
}

func (q *Queue) newActive(j Job) *active {
	e := &active{job: j, history: backlog{limit: q.options.Events}, watchers: map[*watcher]struct{}{}}
	e.seq = uint64(max(0, q.options.Now().UnixMicro())) // above those of a former process
	q.active[j.ID] = e
	return e
}

// find returns a job whose record nobody changes meanwhile, nil if none with the id is active. It unlocks q.mu while it
// waits.
func (q *Queue) find(id string) *active {
	for {
		e := q.active[id]
		if e == nil || e.writing == nil {
			return e
		}
		q.await(e)
	}
}

// await unlocks q.mu until the record of a job is written.
func (q *Queue) await(e *active) {
	written := e.writing
	q.mu.Unlock()
	<-written
	q.mu.Lock()
}

// record changes the record of a job whose entry find gave. It unlocks q.mu meanwhile; who wants to change the job's
// state waits. change is called once.
func (q *Queue) record(e *active, change func(*Job) error) error {
	j, written, lease := e.job, make(chan struct{}), e.lease
	e.writing = written
	q.mu.Unlock()
	if lease != nil {
		<-lease.recorded
	}
	changed, err := q.journal.Update(j.ID, func(of *Job) error {
		of.Attempts, of.Started = j.Attempts, j.Started // should the record of the attempt have failed
		return change(of)
	})
	q.mu.Lock()
	e.writing = nil
	close(written)
	if err == nil {
		e.job = changed
	}
	return err
}

// Job returns a job with what is known of it beyond its record. Its errors are those of Journal.Get.
func (q *Queue) Job(id string) (Job, Live, error) {
	q.mu.Lock()
	e := q.visible(id)
	if e == nil {
		q.mu.Unlock()
		j, err := q.journal.Get(id)
		return j, Live{}, err
	}
	defer q.mu.Unlock()
	q.place()
	return e.job, e.live, nil
}

// OwnerOfBlob is Journal.OwnerOfBlob.
func (q *Queue) OwnerOfBlob(id string) (owner string, known bool, err error) {
	return q.journal.OwnerOfBlob(id)
}

// visible returns a job that was accepted, whatever is written of it now.
func (q *Queue) visible(id string) *active {
	for {
		e := q.active[id]
		if e == nil || e.accepted {
			return e
		}
		q.await(e)
	}
}

// Drain takes no further jobs: Submit returns ErrClosed. Of those that wait, only the ones whose clients wait on a
// connection are still given to takers; the others stay in the journal for the next queue.
func (q *Queue) Drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.draining = true
}

// Close ends the queue: Take and Submit return ErrClosed, and watchers of jobs that wait see their channels closed. The
// contexts of leases end with ErrClosed as their cause; their holders end them as always, and Retry leaves the job for
// the next queue without counting the attempt. The journal must stay open until they have.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	for _, t := range q.takers {
		close(t.given)
	}
	q.takers, q.returning = nil, nil
	for l := range q.leases {
		l.cancel(ErrClosed)
	}
	for _, e := range q.active {
		if e.lease == nil {
			e.closeWatchers()
		}
	}
	q.mu.Unlock()
	q.writing.Wait()
}
