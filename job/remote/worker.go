package remote

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// forgetWorker is the time after which NATS forgets a worker that was killed.
const forgetWorker = 24 * time.Hour

// WorkerOptions say what a worker is.
type WorkerOptions struct {
	Name    string   // for people; that of the machine if ""
	Version string   // of the program
	Models  []string // names of the models that jobs may ask for
	// Fingerprints tell files of one name apart, by the models' names; see APIOptions.
	Fingerprints map[string]string
	// Refuse tells why the worker can't compute a job that another one may, nil if it can.
	Refuse func(j job.Job) *job.Error
	Lease  time.Duration // DefaultLease if 0; the API's should be the same
	Log    *slog.Logger  // nil discards
}

// Worker is a source of jobs, which an API gives out.
type Worker struct {
	conn    *Conn
	options WorkerOptions
	id      string
	store   jetstream.ObjectStore
	devices func() []worker.DeviceModels

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	stopped  context.Context // ends with Stop
	stop     context.CancelFunc
	loops    sync.WaitGroup
	asked    chan struct{} // somebody came to wait in Take
	announce chan struct{} // there is something to say
	subs     []*nats.Subscription

	mu      sync.Mutex
	held    map[string]*lease // by run
	seen    []string          // runs that came, the latest last
	takers  []*taker          // that wait in Take; the first one for longest
	waits   []*lease          // for one of them
	leaving bool
}

// NewWorker makes a worker that gets no jobs until Start.
func NewWorker(c *Conn, o WorkerOptions) *Worker {
	if o.Name == "" {
		o.Name, _ = os.Hostname() // "" is a name too
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{
		conn: c, options: o, id: token(o.Name) + "-" + rand.Text()[:10], held: map[string]*lease{},
		asked: make(chan struct{}, 1), announce: make(chan struct{}, 1),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.stopped, w.stop = context.WithCancel(w.ctx)
	return w
}

// Start announces the worker, which gets jobs for those that wait in Take. devices says what devices there are, and what
// they have of the models. The worker may start before they are ready: then it is known that it will have the models.
func (w *Worker) Start(devices func() []worker.DeviceModels) error {
	w.devices = devices
	ctx, cancel := context.WithTimeout(w.ctx, 2*callTimeout)
	defer cancel()
	consumer, err := w.consumer(ctx)
	if err != nil {
		return err
	}
	if w.store, err = w.conn.objects(ctx); err != nil {
		return err
	}
	for subject, handle := range map[string]nats.MsgHandler{subjectCancel: w.onCancel, subjectStop: w.onStop, subjectHello: func(*nats.Msg) { w.tell() }} {
		s, err := w.conn.nc.Subscribe(subject, handle)
		if err != nil {
			w.unsubscribe()
			return fmt.Errorf("remote: subscribing to %s: %w", subject, err)
		}
		w.subs = append(w.subs, s)
	}
	w.loops.Go(w.beat)
	w.loops.Go(func() { w.fetch(consumer) })
	w.tell()
	return nil
}

var noToken = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// token is a name as a part of a subject.
func token(name string) string { return strings.Trim(noToken.ReplaceAllString(name, "-"), "-") }

// consumer is where the worker's jobs come from.
func (w *Worker) consumer(ctx context.Context) (jetstream.Consumer, error) {
	s, err := w.conn.stream(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: w.id, FilterSubject: workSubject + w.id, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: w.options.Lease, MaxDeliver: 1, MaxAckPending: -1, InactiveThreshold: forgetWorker,
	})
	if err != nil {
		return nil, fmt.Errorf("remote: the consumer %s: %w", w.id, err)
	}
	return c, nil
}

// tell has the worker announced soon.
func (w *Worker) tell() {
	select {
	case w.announce <- struct{}{}:
	default:
	}
}

// beat announces the worker, and renews the leases of its jobs, until Close.
func (w *Worker) beat() {
	tick := time.NewTicker(w.options.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-w.announce:
		case <-tick.C:
			for _, l := range w.leases() {
				if err := l.message.InProgress(); err != nil && w.conn.connected() && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
					w.options.Log.Debug("a lease is not renewed", slog.String("job", l.job.ID), slog.String("error", err.Error()))
				}
			}
		case <-w.ctx.Done():
			return
		}
		w.conn.publish(subjectWorkers, w.announcement())
	}
}

func (w *Worker) announcement() announcement {
	a := announcement{
		ID: w.id, Name: w.options.Name, Version: w.options.Version, Models: w.options.Models, Fingerprints: w.options.Fingerprints,
		Devices: []string{}, Held: []held{},
	}
	for _, d := range w.devices() {
		a.Opened = append(a.Opened, d.Opened())
		if d.State == worker.Ready {
			a.Devices = append(a.Devices, d.Device)
		}
	}
	slices.Sort(a.Devices)
	w.mu.Lock()
	defer w.mu.Unlock()
	a.Leaving = w.leaving
	for run, l := range w.held {
		a.Held = append(a.Held, held{l.job.ID, run, l.released})
	}
	slices.SortFunc(a.Held, func(a, b held) int { return strings.Compare(a.Run, b.Run) })
	return a
}

func (w *Worker) leases() (list []*lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.held {
		list = append(list, l)
	}
	return list
}

// Ended reports whether the worker does not hold a job: whether that comes again is the API's to say.
func (w *Worker) Ended(id string) bool {
	return !slices.ContainsFunc(w.leases(), func(l *lease) bool { return l.job.ID == id })
}

// onCancel ends a job that nobody wants any more.
func (w *Worker) onCancel(m *nats.Msg) {
	if l := w.ordered(m); l != nil {
		l.end(job.ErrCancelled)
	}
}

// onStop has a job end with what there is.
func (w *Worker) onStop(m *nats.Msg) {
	l := w.ordered(m)
	if l == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !l.stopped {
		l.stopped = true
		close(l.stop)
	}
}

// ordered is the lease that an order is for, nil if the worker does not hold it.
func (w *Worker) ordered(m *nats.Msg) *lease {
	var o order
	if err := json.Unmarshal(m.Data, &o); err != nil {
		w.options.Log.Warn("an order can't be read", slog.String("error", err.Error()))
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held[o.Run]
}

// Leave takes no more jobs; those that the worker has go on.
func (w *Worker) Leave() {
	w.mu.Lock()
	w.leaving = true
	w.mu.Unlock()
	w.tell()
}

// Stop ends the jobs that the worker has, which go back to the API, and has Take return job.ErrClosed.
func (w *Worker) Stop() {
	w.Leave()
	w.stop()
	for _, l := range w.leases() {
		l.cancel(job.ErrClosed)
	}
}

func (w *Worker) unsubscribe() {
	for _, s := range w.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			w.options.Log.Warn("a subscription stays", slog.String("subject", s.Subject), slog.String("error", err.Error()))
		}
	}
}

// Close ends the worker, after Stop and once the leases have been ended.
func (w *Worker) Close() error {
	w.Stop()
	w.unsubscribe()
	w.cancel()
	w.loops.Wait()
	if w.store == nil || !w.conn.connected() { // the former if it was not started
		return nil
	}
	w.conn.publish(subjectWorkers, w.announcement())
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := w.conn.js.DeleteConsumer(ctx, streamName, w.id); err != nil {
		w.options.Log.Debug("the consumer stays", slog.String("name", w.id), slog.String("error", err.Error())) // NATS forgets it later
	}
	return nil
}
