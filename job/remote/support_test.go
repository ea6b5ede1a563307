package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// testLease is short enough for tests, and long beside what the machine may be busy with.
const testLease = 1500 * time.Millisecond

// sleeper is an engine that computes for a while and counts what it computes.
type sleeper struct {
	takes time.Duration
	step  func(j engine.Job) error // at the start of a computation
	count *atomic.Int64
}

func (s *sleeper) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	if s.step != nil {
		if err := s.step(j); err != nil {
			return nil, err
		}
	}
	j.Request.Progress(sdxl.Progress{Step: 1, Steps: 2})
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.count.Add(1)
	return &sdxl.Result{Images: []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))}, Parameters: j.Parameters}, nil
}

func (*sleeper) Costs() engine.Costs { return engine.Costs{} }
func (*sleeper) DeviceName() string  { return "" }
func (*sleeper) Lost() error         { return nil }
func (*sleeper) Close() error        { return nil }

// broker is a NATS server that can be started again.
type broker struct {
	t      *testing.T
	folder string
	listen string
	client Options // of those that connect; URL is of listen unless it is given
	mu     sync.Mutex
	server *Embedded
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, folder: t.TempDir(), listen: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	s, err := StartEmbedded(EmbeddedOptions{Folder: b.folder, Listen: b.listen, anyFileSystem: true})
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.server = s
	b.mu.Unlock()
}

func (b *broker) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.server.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *broker) connect(name string) *Conn {
	b.t.Helper()
	o := b.client
	o.URL, o.Name, o.Log = cmp.Or(o.URL, "nats://"+b.listen), name, testLog(b.t, name)
	c, err := Connect(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func testLog(t *testing.T, name string) *slog.Logger {
	if os.Getenv("GOXL_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil)).With(slog.String("of", name))
}

// front is an API with its journal, which can be started again.
type front struct {
	t      *testing.T
	broker *broker
	folder string
	images *blob.Store

	options APIOptions
	shared  worker.Shared

	conn    *Conn
	journal *job.Journal
	queue   *job.Queue
	api     *API
}

func newFront(t *testing.T, b *broker) *front {
	t.Helper()
	f := &front{t: t, broker: b, folder: t.TempDir()}
	f.images = blob.New(filepath.Join(f.folder, "images"))
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *front) start() {
	f.t.Helper()
	var err error
	if f.journal, err = job.OpenJournal(filepath.Join(f.folder, "jobs.db"), job.JournalOptions{}); err != nil {
		f.t.Fatal(err)
	}
	if f.queue, err = job.NewQueue(f.journal, job.QueueOptions{Capacity: 10000, MaxAttempts: 10}); err != nil {
		f.t.Fatal(err)
	}
	f.conn = f.broker.connect("api")
	f.options.Lease, f.options.Log = testLease, testLog(f.t, "api")
	f.api = NewAPI(f.conn, f.options)
	if err := f.api.Start(f.queue, f.images); err != nil {
		f.t.Fatal(err)
	}
}

func (f *front) stop() {
	f.queue.Close()
	if err := errors.Join(f.api.Close(), f.conn.Close(), f.journal.Close(), f.images.Close()); err != nil {
		f.t.Error(err)
	}
}

// submit gives the queue a job of a model.
func (f *front) submit(change func(*job.Job, *worker.Task)) string {
	f.t.Helper()
	task := worker.Task{Job: engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: "x"}}}
	id, err := blob.NewID()
	if err != nil {
		f.t.Fatal(err)
	}
	task.Outputs = []string{id}
	j := job.Job{ID: id, Model: "tiny", Parameters: json.RawMessage(`{"width":8,"height":8}`)}
	if change != nil {
		change(&j, &task)
	}
	if j.Request, err = task.Encode(f.shared); err != nil {
		f.t.Fatal(err)
	}
	if _, _, err := f.queue.Submit(j); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// until waits until a job is as wanted.
func (f *front) until(id string, what string, wanted func(job.Job, job.Live) bool) job.Job {
	f.t.Helper()
	var j job.Job
	waitFor(f.t, func() string { return fmt.Sprintf("job is %+v, error %v, want %s", j.State, j.Error, what) }, func() bool {
		var live job.Live
		var err error
		if j, live, err = f.queue.Job(id); err != nil {
			f.t.Fatal(err)
		}
		return wanted(j, live)
	})
	return j
}

func (f *front) ended(id string) job.Job {
	f.t.Helper()
	return f.until(id, "ended", func(j job.Job, _ job.Live) bool { return j.State.Ended() })
}

// done waits for the image of a job.
func (f *front) done(id string) job.Job {
	f.t.Helper()
	j := f.ended(id)
	if j.State != job.Done || len(j.Outputs) != 1 {
		f.t.Fatalf("job %s is %s: %+v", id, j.State, j.Error)
	}
	file, _, err := f.images.Open(j.Outputs[0].ID)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := png.Decode(file); err != nil {
		f.t.Fatal(err)
	}
	return j
}

// waitFor fails the test after a time in which a working machine has long come there.
func waitFor(t *testing.T, says func() string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !there(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(says())
		}
	}
}

// hand is a worker with its devices.
type hand struct {
	t      *testing.T
	conn   *Conn
	worker *Worker
	pool   *worker.Pool
	paused sync.RWMutex // while it is locked, the worker gives no sign of life
	once   sync.Once
}

type handOptions struct {
	name    string
	models  []string
	devices int
	refuse  func(job.Job) *job.Error
	engine  *sleeper
	engines []*sleeper // of the devices, in place of engine

	fingerprints map[string]string
	shared       worker.Shared
}

func newHand(t *testing.T, b *broker, o handOptions) *hand {
	t.Helper()
	if o.models == nil {
		o.models = []string{"tiny"}
	}
	if o.devices == 0 {
		o.devices = 1
	}
	if o.engines == nil {
		o.engines = slices.Repeat([]*sleeper{o.engine}, o.devices)
	}
	for _, e := range o.engines {
		if e.count == nil {
			e.count = &atomic.Int64{}
		}
	}
	h := &hand{t: t, conn: b.connect(o.name)}
	var names []string
	for i := range o.engines {
		names = append(names, fmt.Sprint("card", i))
	}
	h.worker = NewWorker(h.conn, WorkerOptions{Name: o.name, Models: o.models, Fingerprints: o.fingerprints, Lease: testLease, Refuse: o.refuse, Log: testLog(t, o.name)})
	h.pool = worker.NewPool(worker.Config{
		Source: h.worker, Devices: names, Shared: o.shared, Log: testLog(t, o.name),
		Load:    func(i int) (engine.Engine, error) { return o.engines[i], nil },
		Resolve: func(*worker.Task) (string, error) { return "", nil },
	})
	devices := func() []worker.DeviceModels {
		h.paused.RLock()
		defer h.paused.RUnlock()
		list := h.pool.Models()
		for i := range list {
			if list[i].State == worker.Ready {
				list[i].Models = []engine.ModelStatus{{Name: o.models[0], State: engine.Ready}}
			}
		}
		return list
	}
	if err := errors.Join(h.pool.Load(), h.worker.Start(devices)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.stop)
	return h
}

func (h *hand) stop() {
	h.once.Do(func() {
		h.worker.Stop()
		if err := errors.Join(h.pool.Close(), h.worker.Close(), h.conn.Close()); err != nil {
			h.t.Error(err)
		}
	})
}

// kill ends a worker as far as others can see: not another word comes from it.
func (h *hand) kill() {
	h.conn.nc.Close()
	h.worker.cancel()
	for _, l := range h.worker.leases() {
		l.end(job.ErrCancelled)
	}
	h.stop()
}
