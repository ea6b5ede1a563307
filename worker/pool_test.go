package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// fake is an engine that computes what run says.
type fake struct {
	device int
	run    func(device int, ctx context.Context, r sdxl.Request) error
	lost   atomic.Pointer[error]
	calls  atomic.Int32
	closed atomic.Bool
}

func (f *fake) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	f.calls.Add(1)
	if err := f.run(f.device, ctx, j.Request); err != nil {
		if errors.Is(err, errFault) {
			f.lost.Store(&err)
		}
		return nil, err
	}
	images := slices.Repeat([]*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))}, j.Request.ImagesPerPrompt)
	return &sdxl.Result{Images: images, Parameters: j.Parameters}, nil
}

var errFault = errors.New("a kernel faulted")

func (*fake) Costs() engine.Costs { return engine.Costs{} }
func (*fake) DeviceName() string  { return "" }
func (f *fake) Lost() error {
	if err := f.lost.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fake) Close() error {
	f.closed.Store(true)
	return nil
}

// rig is a pool of fake engines with its queue.
type rig struct {
	*Pool
	queue   *job.Queue
	journal *job.Journal
	images  *files

	mu      sync.Mutex
	engines map[int][]*fake
}

// newRig makes a pool whose devices have names. It is closed at the end of the test.
func newRig(t *testing.T, devices int, run func(device int, ctx context.Context, r sdxl.Request) error) *rig {
	t.Helper()
	return newRigWith(t, devices, run, nil)
}

// newRigWith is newRig with a configuration that change has changed; nil does not.
func newRigWith(t *testing.T, devices int, run func(device int, ctx context.Context, r sdxl.Request) error, change func(*Config)) *rig {
	t.Helper()
	folder := t.TempDir()
	journal, err := job.OpenJournal(filepath.Join(folder, "jobs.db"), job.JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := job.NewQueue(journal, job.QueueOptions{Capacity: 100})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{queue: queue, journal: journal, images: &files{Store: blob.New(folder)}, engines: map[int][]*fake{}}
	c := Config{
		Source: Local{Queue: queue, Images: r.images}, Log: slog.New(slog.DiscardHandler),
		Resolve: func(*Task) (string, error) { return "", errors.New("no task has an image") },
		Load: func(device int) (engine.Engine, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			f := &fake{device: device, run: run}
			r.engines[device] = append(r.engines[device], f)
			return f, nil
		},
	}
	for i := range devices {
		c.Devices = append(c.Devices, fmt.Sprint("card ", i))
	}
	if change != nil {
		change(&c)
	}
	r.Pool = NewPool(c)
	if err := r.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		queue.Close()
		if err := errors.Join(r.Close(), journal.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// files are images on the disk.
type files struct {
	*blob.Store
	broken atomic.Bool // they can be begun and not committed
}

func (f *files) Begin(id string, t blob.Type, bytes int64) (Pending, error) {
	p, err := f.Store.Begin(id, t, bytes)
	if f.broken.Load() {
		return brokenFile{p}, err
	}
	return p, err
}

func (*files) Load(string) (image.Image, error) { return nil, errors.New("no image") }

// submit gives the queue a job for an image, or several, with a prompt.
func (r *rig) submit(t *testing.T, prompt string, images ...int) string {
	t.Helper()
	return r.submitTask(t, func(task *Task) {
		task.Job.Request.Prompt = prompt
		if len(images) > 0 {
			task.Job.Request.ImagesPerPrompt = images[0]
		}
	})
}

// submitTask gives the queue a job for an image, as change makes it.
func (r *rig) submitTask(t *testing.T, change func(*Task)) string {
	t.Helper()
	task := Task{Job: engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: "a", ImagesPerPrompt: 1}}}
	change(&task)
	var id string
	for range task.Job.Request.ImagesPerPrompt {
		var err error
		if id, err = blob.NewID(); err != nil {
			t.Fatal(err)
		}
		task.Outputs = append(task.Outputs, id)
	}
	request, err := task.Encode(Shared{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.queue.Submit(job.Job{ID: id, Request: request, Parameters: json.RawMessage(`{"width":8,"height":8}`)}); err != nil {
		t.Fatal(err)
	}
	return id
}

// end waits for the end of a job.
func (r *rig) end(t *testing.T, id string) job.Job {
	t.Helper()
	events, err := r.queue.Watch(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range events {
	}
	j, _, err := r.queue.Job(id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (r *rig) calls(device int) (n int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.engines[device] {
		n += e.calls.Load()
	}
	return n
}

// A job that is too large for one card is computed by one that has the memory, and fails with the figures where none
// has, each card having been asked once.
func TestTooLargeForSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := &kernels.MemoryError{Needed: 3 << 30, Allowed: 1 << 30}
		r := newRig(t, 2, func(device int, _ context.Context, q sdxl.Request) error {
			time.Sleep(time.Second)
			if q.Prompt == "huge" || q.Prompt == "large" && device == 0 {
				return fmt.Errorf("unet: %w", limited)
			}
			return nil
		})
		synctest.Wait()
		for range 4 {
			if j := r.end(t, r.submit(t, "large")); j.State != job.Done {
				t.Errorf("%+v, %v", j, j.Error)
			}
		}
		before := [2]int32{r.calls(0), r.calls(1)}
		j := r.end(t, r.submit(t, "huge"))
		if j.State != job.Failed || j.Error.Kind != KindTooLarge || !strings.HasSuffix(j.Error.Message, "3.00 GiB needed, 1.00 GiB allowed") {
			t.Errorf("%+v, %v", j, j.Error)
		}
		if r.calls(0)-before[0] != 1 || r.calls(1)-before[1] != 1 {
			t.Errorf("%d and %d computations of it", r.calls(0)-before[0], r.calls(1)-before[1])
		}
		if len(r.refusals) != 0 {
			t.Errorf("the pool remembers %v", r.refusals)
		}
	})
}

// A job that ends every engine has three attempts, by whichever card is free, and the cards compute on.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(_ int, _ context.Context, q sdxl.Request) error {
			time.Sleep(time.Second)
			if q.Prompt == "poison" {
				return errFault
			}
			return nil
		})
		synctest.Wait()
		poison := r.submit(t, "poison")
		var others []string
		for range 6 {
			others = append(others, r.submit(t, "a"))
		}
		if j := r.end(t, poison); j.State != job.Failed || j.Error.Kind != KindDeviceFailed || j.Attempts != 3 {
			t.Errorf("%+v, %v", j, j.Error)
		}
		for _, id := range others {
			if j := r.end(t, id); j.State != job.Done || j.Attempts != 1 {
				t.Errorf("%+v, %v", j, j.Error)
			}
		}
		lost := 0
		for _, list := range r.engines {
			for _, e := range list {
				if e.Lost() != nil {
					lost++
					if !e.closed.Load() {
						t.Error("a lost engine is not closed")
					}
				}
			}
		}
		synctest.Wait()
		r.Pool.mu.Lock()
		defer r.Pool.mu.Unlock()
		if lost != 3 || len(r.refusals) != 0 {
			t.Errorf("%d engines were lost, want 3; the pool remembers %v", lost, r.refusals)
		}
	})
}

// A record that can't be computed fails, and a panic of an engine is the job's, not the process's.
func TestBadJobs(t *testing.T) {
	r := newRig(t, 1, func(_ int, _ context.Context, q sdxl.Request) error {
		if q.Prompt == "panic" {
			panic("as asked")
		}
		return nil
	})
	if j := r.end(t, r.submit(t, "panic")); j.State != job.Failed || j.Error.Kind != KindInternal || strings.Contains(j.Error.Message, "as asked") {
		t.Errorf("%+v, %v", j, j.Error)
	}
	for _, bad := range []job.Job{
		{ID: "1", Request: json.RawMessage(`{}`), Parameters: json.RawMessage(`{}`)},
		{ID: "2", Request: json.RawMessage(`{"model":"base","request":{"Newer":1},"outputs":["x"]}`), Parameters: json.RawMessage(`{}`)},
		{ID: "3"},
	} {
		if _, _, err := r.queue.Submit(bad); err != nil {
			t.Fatal(err)
		}
		if j := r.end(t, bad.ID); j.State != job.Failed || j.Error.Kind != KindInternal {
			t.Errorf("%+v, %v", j, j.Error)
		}
	}
	if j := r.end(t, r.submit(t, "a")); j.State != job.Done || len(j.Outputs) != 1 || j.Outputs[0].Bytes == 0 {
		t.Errorf("%+v, %v", j, j.Error)
	}
}

// Where one image of a batch can't be kept, the job fails and no temporary file stays.
func TestBatchIsNotKept(t *testing.T) {
	r := newRig(t, 1, func(int, context.Context, sdxl.Request) error { return nil })
	store := r.images.Store
	r.images.broken.Store(true)
	j := r.end(t, r.submit(t, "a", 3))
	if j.State != job.Failed || j.Error.Kind != KindStoreFull || j.Error.Message != "The folder of images is full: no room" {
		t.Errorf("%+v, %v", j, j.Error)
	}
	if n, err := store.Sweep(); n != 0 || err != nil {
		t.Errorf("%d temporary files, %v", n, err)
	}
}

type brokenFile struct{ Pending }

func (brokenFile) Commit([]byte) error { return &blob.Error{Kind: blob.ErrFull, Reason: "no room"} }
