package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

var errFault = errors.New("cuda: a kernel faulted")

// fleet is the engines of a bench with several devices, each as often as it was loaded.
type fleet struct {
	mu      sync.Mutex
	engines map[int][]*fakeEngine
	refuse  map[int]error // why a device can't be loaded
}

func newFleet(t *testing.T, run func(device, load int, e *fakeEngine) func(context.Context, sdxl.Request) error) (*fleet, func(*Config)) {
	f := &fleet{engines: map[int][]*fakeEngine{}, refuse: map[int]error{}}
	load := func(device int) (engine.Engine, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := f.refuse[device]; err != nil {
			return nil, err
		}
		e := &fakeEngine{t: t}
		if run != nil {
			e.run = run(device, len(f.engines[device]), e)
		}
		f.engines[device] = append(f.engines[device], e)
		return pair{e, &fakeEngine{t: t}}, nil
	}
	return f, func(c *Config) { c.Load = load }
}

func (f *fleet) loads(device int) []*fakeEngine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.engines[device]
}

func (f *fleet) setRefuse(device int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[device] = err
}

// faulty computes, but for prompts of "fault", which end the engine.
func faulty(_, _ int, e *fakeEngine) func(context.Context, sdxl.Request) error {
	return func(_ context.Context, r sdxl.Request) error {
		time.Sleep(time.Second)
		if r.Prompt == "fault" {
			e.lost.Store(&errFault)
			return errFault
		}
		return nil
	}
}

// A device that fails costs an attempt, and a request that ends every engine three. The engines are closed, others are
// loaded, and those who waited are served by the last.
func TestLostDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := loadedBench(t, change)
		made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
		id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
		broken := b.start(t.Context(), "/generate", `{"prompt":"fault"}`)
		synctest.Wait()
		var after []<-chan *httptest.ResponseRecorder
		for range 2 {
			after = append(after, b.start(t.Context(), "/generate", `{"prompt":"a"}`))
			synctest.Wait()
		}
		if w := <-broken; w.Code != 500 || w.Body.String() != `{"detail":"The device failed while it computed this image; it is being opened again"}` {
			t.Errorf("the job that failed: %d %s", w.Code, w.Body)
		}
		for _, a := range after {
			id(t, <-a)
		}
		engines := f.loads(0)
		calls := int32(0)
		for i, e := range engines {
			calls += e.calls.Load()
			if e.closed.Load() != (i < 3) {
				t.Errorf("engine %d is closed: %v", i, e.closed.Load())
			}
		}
		if len(engines) != 4 || calls != 1+3+2 {
			t.Fatalf("%d loads, %d computations", len(engines), calls)
		}
		id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`)) // by the new engine
		if log := b.log.String(); !strings.Contains(log, `msg="device lost" error="cuda: a kernel faulted"`) || strings.Count(log, "model loaded") != 8 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A device that fails while nobody computes on it costs no request where there is another, and is opened again for whoever asks next.
func TestLostWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := loadedBench(t, func(c *Config) {
			change(c)
			c.Devices = []string{"cuda:0", "cuda:1"}
			load := c.Load
			c.Load = func(device int) (engine.Engine, error) {
				time.Sleep(time.Second) // long enough to be seen
				return load(device)
			}
		})
		for round, device := range []int{0, 1, 0} {
			engines := f.loads(device)
			engines[len(engines)-1].lost.Store(&errFault)
			for range 3 {
				id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
			}
			if engines = f.loads(device); len(engines) != 2+round/2 || !engines[len(engines)-2].closed.Load() {
				t.Errorf("round %d: device %d was loaded %d times", round, device, len(engines))
			}
		}
		for device := range 2 {
			engines := f.loads(device)
			engines[len(engines)-1].lost.Store(&errFault)
		}
		if w := b.do("GET", "/readyz", ""); w.Code != 503 || w.Body.String() != `{"detail":"The device failed and is being opened again"}` {
			t.Errorf("/readyz: %d %s", w.Code, w.Body)
		}
		time.Sleep(2 * time.Second)
		if w := b.do("GET", "/readyz", ""); w.Body.String() != `{"status":"ready","devices":{"cuda:0":"ready","cuda:1":"ready"}}` {
			t.Errorf("/readyz: %d %s", w.Code, w.Body)
		}
		id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	})
}

// Too little memory is an answer about the image, and no fault of the device; the figures are in the log, and in the
// answer where the device tells them.
func TestTooLarge(t *testing.T) {
	b := loadedBench(t, nil)
	b.base.run = func(context.Context, sdxl.Request) error {
		return fmt.Errorf("%w: 9000.0 MiB needed", kernels.ErrMemory)
	}
	w := b.do("POST", "/generate", `{"prompt":"a"}`)
	if w.Code != 507 || w.Body.String() != `{"detail":"The device has too little memory for this image: ask for a smaller one"}` || !strings.Contains(b.log.String(), "9000.0 MiB needed") {
		t.Errorf("%d %s\n%s", w.Code, w.Body, b.log)
	}
	b.base.run = func(context.Context, sdxl.Request) error {
		return fmt.Errorf("unet: %w", &kernels.MemoryError{Needed: 3 << 30, Allowed: 400 << 20})
	}
	w = b.do("POST", "/generate", `{"prompt":"a"}`)
	if want := `{"detail":"The device has too little memory for this image: ask for a smaller one: 3.00 GiB needed, 400.00 MiB allowed"}`; w.Code != 507 || w.Body.String() != want {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
	b.base.run = nil
	id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	if n := strings.Count(b.log.String(), "model loaded"); n != 2 { // base and refiner
		t.Errorf("models were loaded %d times", n)
	}
}

// A device that can't be opened again is in every answer, tried again with growing pauses, and used once it is back.
func TestDeviceStaysLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := loadedBench(t, change)
		f.setRefuse(0, errors.New("no such device"))
		broken := b.start(t.Context(), "/generate", `{"prompt":"fault"}`)
		synctest.Wait()
		waiting := b.start(t.Context(), "/generate", `{"prompt":"a"}`)
		lost := func(what string, w *httptest.ResponseRecorder) {
			t.Helper()
			if w.Code != 503 || w.Body.String() != `{"detail":"The device failed and is being opened again"}` || w.Header().Get("Retry-After") != "5" {
				t.Errorf("%s: %d %s %v", what, w.Code, w.Body, w.Header())
			}
		}
		lost("who was computed", <-broken) // and waits for another attempt
		lost("who waited", <-waiting)
		lost("/readyz", b.do("GET", "/readyz", ""))
		lost("/generate", b.do("POST", "/generate", `{"prompt":"a"}`))
		if w := b.do("GET", "/healthz", ""); w.Code != 200 {
			t.Errorf("/healthz: %d", w.Code)
		}
		time.Sleep(10 * time.Second) // tried at 0, 1, 3 and 7 s
		if n := strings.Count(b.log.String(), `msg="device still lost" error="no such device"`); n != 4 {
			t.Errorf("tried %d times, want 4:\n%s", n, b.log)
		}
		f.setRefuse(0, nil)
		time.Sleep(6 * time.Second)
		id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	})
}

// A server can end while a device is lost.
func TestCloseWhileLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		b := newBench(t, change)
		if err := b.Load(); err != nil {
			t.Fatal(err)
		}
		f.setRefuse(0, errors.New("no such device"))
		b.do("POST", "/generate", `{"prompt":"fault"}`)
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if e := f.loads(0); len(e) != 1 || !e[0].closed.Load() {
			t.Errorf("%d loads", len(e))
		}
	})
}

// Each device has a worker; jobs go to whichever is free, in order, and no device has two at once.
func TestSeveralDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most atomic.Int32
		f, change := newFleet(t, func(device, _ int, _ *fakeEngine) func(context.Context, sdxl.Request) error {
			return func(context.Context, sdxl.Request) error {
				most.Store(max(most.Load(), inside.Add(1)))
				defer inside.Add(-1)
				time.Sleep(time.Duration(device+1) * time.Second) // device 0 is the fastest
				return nil
			}
		})
		b := loadedBench(t, func(c *Config) { change(c); c.Devices = []string{"cuda:0", "cuda:1", "cuda:2"}; c.Queue = 30 })
		if w := b.do("GET", "/readyz", ""); w.Body.String() != `{"status":"ready","devices":{"cuda:0":"ready","cuda:1":"ready","cuda:2":"ready"}}` {
			t.Errorf("/readyz: %s", w.Body)
		}
		var answers []<-chan *httptest.ResponseRecorder
		for i := range 22 {
			answers = append(answers, b.start(t.Context(), "/generate", `{"prompt":"a","seed":`+strconv.Itoa(i)+`}`))
			synctest.Wait()
		}
		began := time.Now()
		for _, a := range answers {
			id(t, <-a)
		}
		if spent := time.Since(began); spent != 12*time.Second { // 12 + 6 + 4 jobs
			t.Errorf("22 jobs took %v, want 12 s", spent)
		}
		var calls []int32
		for device := range 3 {
			e := f.loads(device)[0]
			calls = append(calls, e.calls.Load())
			if e.most.Load() != 1 {
				t.Errorf("device %d computed %d at once", device, e.most.Load())
			}
		}
		if fmt.Sprint(calls) != "[12 6 4]" || most.Load() != 3 {
			t.Errorf("%v jobs, %d at once", calls, most.Load())
		}
	})
}

// A device that is lost for good leaves its work to the others, and says so.
func TestOneOfTwoLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults atomic.Int32
		f, change := newFleet(t, func(device, load int, e *fakeEngine) func(context.Context, sdxl.Request) error {
			run := faulty(device, load, e)
			return func(ctx context.Context, r sdxl.Request) error {
				if r.Prompt == "fault" && faults.Add(1) > 1 {
					r.Prompt = "one fault is enough"
				}
				return run(ctx, r)
			}
		})
		b := loadedBench(t, func(c *Config) { change(c); c.Devices = []string{"cuda:0", "cuda:1"} })
		f.setRefuse(0, errors.New("fell off the bus"))
		f.setRefuse(1, errors.New("fell off the bus"))
		id(t, b.do("POST", "/generate", `{"prompt":"fault"}`)) // computed again by the other
		for range 5 {
			id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
		}
		var state struct{ Devices map[string]string }
		w := b.do("GET", "/readyz", "")
		if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil || w.Code != 200 {
			t.Fatalf("/readyz: %d %s", w.Code, w.Body)
		}
		alive := 0
		for device := range 2 {
			want := "ready"
			if f.loads(device)[0].closed.Load() {
				want = "lost"
			} else if alive = int(f.loads(device)[0].calls.Load()); alive != 6 {
				t.Errorf("the device that is left computed %d, want 6", alive)
			}
			if got := state.Devices[fmt.Sprint("cuda:", device)]; got != want {
				t.Errorf("device %d is %s, want %s", device, got, want)
			}
		}
		if alive == 0 || !strings.Contains(b.log.String(), `msg="device still lost" device=cuda:`) {
			t.Errorf("log:\n%s", b.log)
		}
	})
}

// One device that can't be opened at the start ends the server, which was to use it.
func TestOneDeviceFailsToLoad(t *testing.T) {
	f, change := newFleet(t, nil)
	f.setRefuse(1, errors.New("no memory"))
	r := run(t, func(c *Config) { change(c); c.Devices = []string{"cuda:0", "cuda:1"} })
	if err := r.wait(t); err == nil || err.Error() != "cuda:1: no memory" {
		t.Errorf("%v", err)
	}
	if e := f.loads(0); len(e) != 1 || !e[0].closed.Load() {
		t.Errorf("the other device was loaded %d times, or left open", len(e))
	}
	r.end()
}
