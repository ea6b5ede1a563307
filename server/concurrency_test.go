package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// gate holds every computation until it is opened or the computation's context ends.
func gate(e *fakeEngine) (open func()) {
	opened := make(chan struct{})
	e.run = func(ctx context.Context, _ sdxl.Request) error {
		select {
		case <-opened:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return func() { close(opened) }
}

// occupy lets the device compute until the function that it returns is called, in a server of one device.
func (b *bench) occupy(t *testing.T) (end func()) {
	t.Helper()
	run := b.base.run
	open := gate(b.base)
	for b.queue.Stats().Idle == 0 { // a device that has just answered waits again soon; a queue of 0 refuses until then
		time.Sleep(time.Millisecond)
	}
	answer := b.start(t.Context(), "/generate", plain)
	for deadline := time.Now().Add(time.Minute); b.base.inside.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the device computes nothing")
		}
	}
	return func() {
		open()
		<-answer
		b.base.run = run
	}
}

// start sends a request in a goroutine of its own.
func (b *bench) start(ctx context.Context, path, body string) <-chan *httptest.ResponseRecorder {
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- b.doContext(ctx, "POST", path, body) }()
	return answer
}

func TestTwentyAtOnce(t *testing.T) {
	b := loadedBench(t, nil)
	b.base.run = func(context.Context, sdxl.Request) error {
		time.Sleep(time.Millisecond)
		return nil
	}
	b.refiner.run = b.base.run
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	var wg sync.WaitGroup
	seen := make(chan string, 40)
	for range 20 {
		for path, body := range map[string]string{"/generate": `{"prompt":"a"}`, "/refine": `{"id":"` + made + `","prompt":"b"}`} {
			wg.Go(func() {
				w := b.do("POST", path, body)
				if w.Code != http.StatusOK {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
				seen <- w.Body.String()
			})
		}
	}
	wg.Wait()
	close(seen)
	ids := map[string]bool{}
	for s := range seen {
		ids[s] = true
	}
	if len(ids) != 40 || b.imageCount(t) != 41 {
		t.Errorf("%d ids, %d images: want 40 and 41", len(ids), b.imageCount(t))
	}
	if b.base.most.Load() != 1 || b.refiner.most.Load() != 1 {
		t.Errorf("%d and %d computed at once", b.base.most.Load(), b.refiner.most.Load())
	}
}

func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Queue = 2 })
		open := gate(b.base)
		var answers []<-chan *httptest.ResponseRecorder
		for range 3 { // one inside, two in the queue
			answers = append(answers, b.start(t.Context(), "/generate", `{"prompt":"a"}`))
			synctest.Wait()
		}
		w := b.do("POST", "/generate", `{"prompt":"a"}`)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || w.Body.String() != `{"detail":"The queue is full"}` {
			t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
		}
		if w := b.do("POST", "/generate", `{"prompt":7}`); w.Code != 422 {
			t.Errorf("a bad request while the queue is full: %d", w.Code)
		}
		time.Sleep(90 * time.Second)
		open()
		for _, a := range answers {
			id(t, <-a)
		}

		// The last one took no time, this one 90 s: the next has to wait as long as is left of that.
		open = gate(b.base)
		first := b.start(t.Context(), "/generate", `{"prompt":"a"}`)
		synctest.Wait()
		time.Sleep(90 * time.Second)
		open()
		id(t, <-first)
		open = gate(b.base)
		answers = nil
		for range 3 {
			answers = append(answers, b.start(t.Context(), "/generate", `{"prompt":"a"}`))
			synctest.Wait()
		}
		time.Sleep(30 * time.Second)
		if w := b.do("POST", "/generate", `{"prompt":"a"}`); w.Header().Get("Retry-After") != "60" {
			t.Errorf("Retry-After: %s, want 60", w.Header().Get("Retry-After"))
		}
		open()
		for _, a := range answers {
			id(t, <-a)
		}
	})
}

// First come, first served.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		var order []uint64
		opened := make(chan struct{})
		b.base.run = func(_ context.Context, r sdxl.Request) error {
			<-opened
			order = append(order, *r.Seed)
			return nil
		}
		var answers []<-chan *httptest.ResponseRecorder
		for i := range 10 {
			answers = append(answers, b.start(t.Context(), "/generate", `{"prompt":"a","seed":`+strconv.Itoa(i)+`}`))
			synctest.Wait()
		}
		close(opened)
		for _, a := range answers {
			id(t, <-a)
		}
		for i, seed := range order {
			if seed != uint64(i) {
				t.Fatalf("order %v", order)
			}
		}
	})
}

// A client that hangs up, waiting or inside, makes room for the next, and no image is kept for it.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Queue = 1 })
		open := gate(b.base)
		inside, leaveInside := context.WithCancel(t.Context())
		waiting, leaveWaiting := context.WithCancel(t.Context())
		first := b.start(inside, "/generate", `{"prompt":"a"}`)
		synctest.Wait()
		second := b.start(waiting, "/generate", `{"prompt":"a"}`)
		synctest.Wait()
		leaveWaiting()
		if w := <-second; w.Code != 499 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		third := b.start(t.Context(), "/generate", `{"prompt":"a"}`) // takes the place
		synctest.Wait()
		if n := b.base.calls.Load(); n != 1 {
			t.Errorf("%d computations, want 1", n)
		}
		leaveInside()
		<-first
		open()
		id(t, <-third)
		if n := b.imageCount(t); n != 1 {
			t.Errorf("%d images, want 1", n)
		}
		if n := strings.Count(b.log.String(), "status=499"); n != 2 {
			t.Errorf("%d clients gone in the log, want 2:\n%s", n, b.log)
		}
	})
}

// An engine that finishes although its client is gone leaves no image either.
func TestClientGoneAtTheEnd(t *testing.T) {
	b := loadedBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	b.base.run = func(computation context.Context, _ sdxl.Request) error {
		cancel()
		<-computation.Done()
		return nil
	}
	b.doContext(ctx, "POST", "/generate", `{"prompt":"a"}`)
	for b.imageCount(t) != 0 { // the device may be at its file, which it removes then
		time.Sleep(time.Millisecond)
	}
}

func TestReadiness(t *testing.T) {
	b := newBench(t, nil)
	gated := func(code int, detail, retry string) {
		t.Helper()
		for _, c := range []struct{ method, path, body string }{
			{"GET", "/readyz", ""}, {"POST", "/generate", `{"prompt":"a"}`}, {"POST", "/refine", `{"id":"x","prompt":"a"}`},
		} {
			w := b.do(c.method, c.path, c.body)
			if w.Code != code || w.Body.String() != `{"detail":"`+detail+`"}` || w.Header().Get("Retry-After") != retry {
				t.Errorf("%s: %d %s %v, want %d %s", c.path, w.Code, w.Body, w.Header(), code, detail)
			}
		}
		if w := b.do("GET", "/healthz", ""); w.Code != 200 {
			t.Errorf("/healthz: %d", w.Code)
		}
	}
	gated(503, "The model is being loaded", "5")
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	gated(503, "The server is stopping", "10")
	if !b.base.closed.Load() || !b.refiner.closed.Load() {
		t.Error("an engine was not closed")
	}
	b.base, b.refiner = &fakeEngine{t: t}, &fakeEngine{t: t} // of the next Load
	if err := b.Load(); err != nil || !b.base.closed.Load() {
		t.Errorf("a model that came after Close: %v, closed: %v", err, b.base.closed.Load())
	}
}
