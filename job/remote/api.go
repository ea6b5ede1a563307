package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// DefaultLease is how long a job may be without a sign of life from its worker.
const DefaultLease = 15 * time.Second

// DefaultPatience is how long a job waits for a worker that can compute it while there are others alone.
const DefaultPatience = time.Minute

const (
	settleTime   = time.Second // for workers to tell what they hold, before interrupted jobs are given to others
	mostOutcomes = 16          // results that are written at once
	overTime     = time.Hour   // for which runs that ended are remembered
)

// APIOptions say how an API gives out jobs.
type APIOptions struct {
	Lease time.Duration // DefaultLease if 0; the workers' should be the same
	Local bool          // the queue has takers of this process too, which may compute what remote ones refuse
	// Patience is how long a job waits while there are workers and none that can compute it, before it fails: DefaultPatience
	// if 0. While there are none at all, jobs wait.
	Patience time.Duration
	// Fingerprints tell files of one name apart: those of this server's models, by name. A worker whose model has another
	// one lacks the model; what has none here, or there, is not compared.
	Fingerprints map[string]string
	Log          *slog.Logger // nil discards

	now func() time.Time // by which Patience is measured; time.Now if nil
}

// API gives the jobs of a queue to workers. Its methods may be called at the same time.
type API struct {
	conn    *Conn
	id      string // of the process
	options APIOptions
	queue   *job.Queue
	images  *blob.Store
	store   jetstream.ObjectStore
	stream  jetstream.Stream

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	loops    sync.WaitGroup
	outcomes chan struct{} // holds one for each result that is written
	subs     []*nats.Subscription

	// mu guards what follows. It is never held while the queue is called, which calls can under its own lock.
	mu        sync.Mutex
	closed    bool
	peers     map[string]*peer     // workers, by id
	others    map[string]time.Time // when other APIs gave a sign of life, by id
	runs      map[string]*run      // jobs at workers, by the job's id
	refusals  map[string]*refusal  // of workers, by the job's id
	lacking   map[string]time.Time // since when jobs wait that no worker can compute
	finishing map[string]bool      // jobs whose result is being recorded
	over      map[string]time.Time // when runs ended that a worker's announcement may still have
	settled   time.Time            // when interrupted jobs may go to any worker, and other APIs are known; zero once it is over
	heard     time.Time            // until when NATS, or this process, may have been deaf
	empty     chan struct{}        // closed while there are no runs
}

// NewAPI makes an API that gives out nothing until Start.
func NewAPI(c *Conn, o APIOptions) *API {
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{
		conn: c, id: rand.Text(), options: o, outcomes: make(chan struct{}, mostOutcomes), empty: make(chan struct{}),
		peers: map[string]*peer{}, others: map[string]time.Time{}, runs: map[string]*run{}, refusals: map[string]*refusal{},
		lacking: map[string]time.Time{}, finishing: map[string]bool{}, over: map[string]time.Time{},
	}
	close(a.empty)
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Start gives out the jobs of a queue, whose images lie in a store. The queue must be closed before the API is.
func (a *API) Start(queue *job.Queue, images *blob.Store) (err error) {
	a.queue, a.images = queue, images
	ctx, cancel := context.WithTimeout(a.ctx, 2*callTimeout)
	defer cancel()
	if a.stream, err = a.conn.stream(ctx); err != nil {
		return err
	}
	if a.store, err = a.conn.objects(ctx); err != nil {
		return err
	}
	a.settled, a.heard = time.Now().Add(settleTime), time.Now()
	for subject, handle := range map[string]nats.MsgHandler{
		subjectWorkers: a.onAnnouncement, subjectEvents: a.onNews, subjectResult: a.onOutcome,
		subjectState: a.onState, subjectImage: a.onImage, subjectAPIs: a.onAPI, subjectHello: func(*nats.Msg) { a.present(false) },
	} {
		s, err := a.conn.nc.Subscribe(subject, handle)
		if err != nil {
			a.unsubscribe()
			return fmt.Errorf("remote: subscribing to %s: %w", subject, err)
		}
		a.subs = append(a.subs, s)
	}
	a.conn.publish(subjectHello, struct{}{})
	a.present(false)
	a.loops.Go(a.watch)
	return nil
}

// begin starts a goroutine that Close waits for, unless it has begun.
func (a *API) begin(do func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.loops.Go(do)
	return true
}

// watch drops workers and other APIs that give no sign of life, and jobs that nobody can compute, until Close.
func (a *API) watch() {
	every := a.options.Lease / 6
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return
		}
		now := time.Now()
		deaf := !a.conn.connected() || now.Sub(last) > 2*every // the latter if the process, or the machine, stood still
		last = now
		a.mu.Lock()
		if deaf {
			a.heard = now
		}
		settled := !a.settled.IsZero() && now.After(a.settled)
		if settled {
			a.settled = time.Time{}
		}
		for id, p := range a.peers {
			if a.silent(p.sign, now) {
				a.drop(id, "it gives no sign of life")
			}
		}
		maps.DeleteFunc(a.others, func(_ string, sign time.Time) bool { return a.silent(sign, now) })
		maps.DeleteFunc(a.over, func(_ string, at time.Time) bool { return now.Sub(at) > overTime })
		all := slices.Collect(maps.Values(a.peers))
		refused := slices.Collect(maps.Keys(a.refusals))
		a.mu.Unlock()
		a.present(false)
		a.failLacking()
		for _, p := range all {
			if settled || p.rested(now) {
				p.wake()
			}
		}
		for _, id := range refused {
			if j, _, err := a.queue.Job(id); err != nil || j.State.Ended() {
				a.mu.Lock()
				delete(a.refusals, id)
				a.mu.Unlock()
			}
		}
	}
}

// silent reports whether a sign of life is older than the lease, the time not counted in which none could be heard. The
// caller holds mu.
func (a *API) silent(sign, now time.Time) bool {
	if sign.Before(a.heard) {
		sign = a.heard
	}
	return now.Sub(sign) > a.options.Lease
}

// Ready reports whether a worker has a device.
func (a *API) Ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.peers {
		if len(p.said.Devices) > 0 && !p.said.Leaving {
			return true
		}
	}
	return false
}

// Health says of each remote device what its state is.
func (a *API) Health() map[string]worker.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	states := map[string]worker.State{}
	for _, p := range a.peers {
		for _, device := range p.said.Devices {
			states[p.said.Name+"/"+device] = worker.Ready
		}
	}
	return states
}

// Wait waits until no job is at a worker, or fails with the context's cause.
func (a *API) Wait(ctx context.Context) error {
	a.mu.Lock()
	empty := a.empty
	a.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *API) unsubscribe() {
	for _, s := range a.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			a.options.Log.Warn("a subscription stays", slog.String("subject", s.Subject), slog.String("error", err.Error()))
		}
	}
}

// Close ends what the API does; the queue must be closed. Jobs at workers go on there, for the next API of the journal.
func (a *API) Close() error {
	a.mu.Lock()
	a.closed = true
	for id := range a.peers {
		a.drop(id, "")
	}
	a.mu.Unlock()
	a.present(true)
	a.cancel()
	a.unsubscribe()
	a.loops.Wait()
	return nil
}
