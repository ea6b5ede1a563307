package server

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// fakeEngine is a model that computes images of one colour. It checks that it is used as an Engine's comment promises.
type fakeEngine struct {
	t  testing.TB
	on string // the device

	take func(engine.Job)                                     // called with each job, nil does nothing
	run  func(context.Context, sdxl.Request) error            // called before an image is made, nil does nothing
	give func(engine.Job, *image.NRGBA) (*sdxl.Result, error) // nil gives the image
	cost sdxl.Cost                                            // zero takes no time

	flops float64 // of upscalers; 0 takes no time

	host *sdxl.Host // does the jobs that enlarge images; nil has them computed as others

	seedless bool // requests may have Seeds in place of Seed: give makes their images

	inside, calls, most atomic.Int32
	lost                atomic.Pointer[error]
	closed              atomic.Bool
}

// pair is an engine of a base and a refiner, which does the ensembles with the base.
type pair struct{ base, refiner *fakeEngine }

func (p pair) of(m engine.Model) *fakeEngine {
	if m == engine.Refiner {
		return p.refiner
	}
	return p.base
}

func (p pair) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	if j.Request.Image != nil {
		if _, blank := j.Request.Image.(sdxl.Blank); blank {
			p.base.t.Error("the engine gets an image without pixels")
		}
	}
	if j.Upscale != nil && p.base.host != nil {
		r := j.Request
		return p.base.host.Upscale(ctx, sdxl.UpscaleRequest{Upscaling: *j.Upscale, Image: r.Image, Progress: r.Progress, Stop: r.Stop, OnComputed: r.OnComputed})
	}
	return p.of(j.Model).compute(ctx, j)
}

func (p pair) Costs() engine.Costs {
	return engine.Costs{Base: p.base.cost, Refiner: p.refiner.cost, FLOPS: p.base.flops}
}

func (p pair) DeviceName() string { return p.base.on }

func (p pair) Lost() error { return p.base.Lost() }

func (p pair) Close() error {
	if p.base.inside.Load()+p.refiner.inside.Load() > 0 {
		p.base.t.Error("the engine is closed while it computes")
	}
	if p.base.closed.Swap(true) || p.refiner.closed.Swap(true) {
		p.base.t.Error("the engine is closed twice")
	}
	return nil
}

func (e *fakeEngine) compute(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	r, p := j.Request, j.Parameters
	size := image.Rect(0, 0, p.Width, p.Height)
	if n := e.inside.Add(1); n > e.most.Load() {
		e.most.Store(n)
	}
	defer e.inside.Add(-1)
	e.calls.Add(1)
	if e.closed.Load() {
		e.t.Error("the engine is used after Close")
	}
	if e.take != nil {
		e.take(j)
	}
	if e.run != nil {
		done, progress := 0, r.Progress
		r.Progress = func(at sdxl.Progress) {
			done = at.Step
			progress(at)
		}
		if err := e.run(ctx, r); err != nil {
			return nil, err
		}
		if stopped(r) && done < p.Steps {
			p.Interrupted = &sdxl.Interruption{StepsDone: done, Steps: p.Steps}
		}
	}
	if e.seedless {
		return e.give(j, nil)
	}
	img := image.NewNRGBA(size)
	for i := range size.Dx() * size.Dy() {
		img.SetNRGBA(i%size.Dx(), i/size.Dx(), color.NRGBA{uint8(*r.Seed), uint8(p.Steps), uint8(len(r.Prompt)), 255})
	}
	if e.give != nil {
		return e.give(j, img)
	}
	return &sdxl.Result{Images: []*image.NRGBA{img}, Parameters: p, Steps: p.Steps}, nil
}

func stopped(r sdxl.Request) bool {
	select {
	case <-r.Stop:
		return true
	default:
		return false
	}
}

func (e *fakeEngine) Lost() error {
	if err := e.lost.Load(); err != nil {
		return *err
	}
	return nil
}

// bench is a server with fake engines.
type bench struct {
	*Server
	base, refiner *fakeEngine
	images        string
	log           *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newBench makes a server that is not loaded yet, without temporary files left at the end of the test.
func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := &bench{base: &fakeEngine{t: t}, refiner: &fakeEngine{t: t}, images: filepath.Join(t.TempDir(), "images"), log: &lockedBuffer{}}
	c := Config{
		Specs:      engine.Specs{Base: fakeBase(t), Refiner: fakeRefiner(t)},
		Load:       func(int) (engine.Engine, error) { return pair{b.base, b.refiner}, nil },
		Schedulers: []string{"euler", "ddim", "heun"},
		Journal:    filepath.Join(t.TempDir(), "jobs.db"),
		Images:     b.images, Queue: 64, Watermark: true, Version: "test", AllowedHosts: []string{"x", "example.com"}, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = s
	t.Cleanup(func() {
		entries, _ := os.ReadDir(b.images)
		for _, e := range entries {
			id, ending, _ := strings.Cut(e.Name(), ".")
			if !slices.Contains([]string{"png", "jpg", "webp"}, ending) || !blob.IsID(id) {
				t.Errorf("%s was left among the images", e.Name())
			}
		}
	})
	return b
}

// loadedBench is a server that is ready, closed at the end of the test.
func loadedBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := newBench(t, change)
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	for b.queue.Stats().Idle < max(1, len(b.config.Devices)) { // which wait for work in goroutines of their own
		time.Sleep(time.Microsecond)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// do sends one request straight to the handler.
func (b *bench) do(method, path, body string) *httptest.ResponseRecorder {
	return b.doContext(context.Background(), method, path, body)
}

func (b *bench) doContext(ctx context.Context, method, path, body string) *httptest.ResponseRecorder {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	request := httptest.NewRequestWithContext(ctx, method, path, r)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, request)
	return w
}

// id reads the id of an answer that must be 200.
func id(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var answer struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || !blob.IsID(answer.ID) {
		t.Fatalf("answer %d %s, want 200 and an id", w.Code, w.Body)
	}
	return answer.ID
}

// path is where the PNG of an id lies.
func (b *bench) path(id string) string { return filepath.Join(b.images, id+".png") }

func (b *bench) imageCount(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(b.images)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
