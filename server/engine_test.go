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
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// fakeEngine draws one colour. It checks that it is used as an Engine's comment promises.
type fakeEngine struct {
	t    *testing.T
	name string
	on   string // the device

	check func(sdxl.Request, bool) error                         // nil takes everything
	run   func(context.Context, sdxl.Request) error              // called before drawing, nil does nothing
	give  func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) // nil gives the picture
	cost  sdxl.Cost                                              // zero takes no time
	heun  bool                                                   // its own scheduler calls the model twice a step

	inside, calls, most atomic.Int32
	lost                atomic.Pointer[error]
	closed              atomic.Bool
}

func (e *fakeEngine) Info() sdxl.Info {
	if e.name == "fake-refiner" { // which has defaults of its own
		return sdxl.Info{Path: "models/" + e.name, ScaleFactor: 8, Steps: 20, Guidance: 1.5, Strength: 0.2, Scheduler: "EulerDiscreteScheduler", Sampler: "euler"}
	}
	info := sdxl.Info{Path: "models/" + e.name, Width: 64, Height: 32, ScaleFactor: 8, Steps: 50, Guidance: 5, Strength: 0.3, Scheduler: "EulerDiscreteScheduler", Sampler: "euler"}
	if e.heun {
		info.Scheduler = "HeunDiscreteScheduler"
	}
	return info
}

func (e *fakeEngine) Cost() sdxl.Cost { return e.cost }

func (e *fakeEngine) DeviceName() string { return e.on }

func (e *fakeEngine) Check(r sdxl.Request) error {
	if imageToImage != (r.Image != nil) {
		e.t.Errorf("Check: image to image is %v, the image %v", imageToImage, r.Image)
	}
	if e.check != nil {
		return e.check(r, imageToImage)
	}
	return nil
}

func (e *fakeEngine) Generate(ctx context.Context, r sdxl.Request) (*sdxl.Result, error) {
	return e.draw(ctx, r, image.Rect(0, 0, r.Width, r.Height))
}

func (e *fakeEngine) Refine(ctx context.Context, r sdxl.Request) (*sdxl.Result, error) {
	return e.draw(ctx, r, r.Image.Bounds())
}

func (e *fakeEngine) draw(ctx context.Context, r sdxl.Request, size image.Rectangle) (*sdxl.Result, error) {
	if n := e.inside.Add(1); n > e.most.Load() {
		e.most.Store(n)
	}
	defer e.inside.Add(-1)
	e.calls.Add(1)
	if e.closed.Load() {
		e.t.Error("the engine is used after Close")
	}
	if e.run != nil {
		if err := e.run(ctx, r); err != nil {
			return nil, err
		}
	}
	img := image.NewNRGBA(size)
	for i := range size.Dx() * size.Dy() {
		img.SetNRGBA(i%size.Dx(), i/size.Dx(), color.NRGBA{uint8(r.Seed), uint8(r.Steps), uint8(len(r.Prompt)), 255})
	}
	if e.give != nil {
		return e.give(r, img)
	}
	return &sdxl.Result{Images: []*image.NRGBA{img}, Seed: r.Seed, Steps: r.Steps}, nil
}

func (e *fakeEngine) Lost() error {
	if err := e.lost.Load(); err != nil {
		return *err
	}
	return nil
}

func (e *fakeEngine) Close() error {
	if e.inside.Load() > 0 {
		e.t.Error("the engine is closed while it computes")
	}
	if e.closed.Swap(true) {
		e.t.Error("the engine is closed twice")
	}
	return nil
}

// bench is a server with fake engines.
type bench struct {
	*Server
	base, refiner *fakeEngine
	refinerLoads  atomic.Int32
	refinerErr    atomic.Pointer[error]
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
func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{
		base: &fakeEngine{t: t, name: "fake-base"}, refiner: &fakeEngine{t: t, name: "fake-refiner"},
		images: filepath.Join(t.TempDir(), "images"), log: &lockedBuffer{},
	}
	c := Config{
		Load: func(int) (Engine, error) { return b.base, nil },
		LoadRefiner: func(base Engine) (Engine, error) {
			b.refinerLoads.Add(1)
			if err := b.refinerErr.Load(); err != nil {
				return nil, *err
			}
			if base != Engine(b.base) {
				t.Error("LoadRefiner was not given the base")
			}
			return b.refiner, nil
		},
		Schedulers: []string{"euler", "ddim", "heun"},
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
			if id, isPNG := strings.CutSuffix(e.Name(), ".png"); !isPNG || !isID(id) {
				t.Errorf("%s was left among the pictures", e.Name())
			}
		}
	})
	return b
}

// loadedBench is a server that is ready, closed at the end of the test.
func loadedBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := newBench(t, change)
	if err := b.Load(); err != nil {
		t.Fatal(err)
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
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || !isID(answer.ID) {
		t.Fatalf("answer %d %s, want 200 and an id", w.Code, w.Body)
	}
	return answer.ID
}

func (b *bench) pictures(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(b.images)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
