package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// TestMain lets this program be the one that a server starts for a card.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asServer {
		os.Exit(run(os.Args[2:], os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		if os.Getenv(watchEngine) != "" {
			os.Exit(runWatched(os.Args[2:]))
		}
		os.Exit(run(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// asServer is the first argument of a test's process that is the command.
const asServer = "serve"

// apart is a server whose engine, on the CPU, is in a process of its own, as those of cards are.
type apart struct {
	*server.Server
	engines chan *process.Engine // each that was started
	inside  atomic.Int32         // images that are computed
	log     *output
}

// watched is an engine of which is known when it computes.
type watched struct {
	*process.Engine
	inside *atomic.Int32
}

func (w watched) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	w.inside.Add(1)
	defer w.inside.Add(-1)
	return w.Engine.Generate(ctx, j)
}

// newApart serves a model on a device.
func newApart(t *testing.T, model, refiner, device string) *apart {
	t.Helper()
	return newApartWith(t, model, refiner, device, process.Config{})
}

func newApartWith(t *testing.T, model, refiner, device string, config process.Config) *apart {
	t.Helper()
	m := models{model: model, refiner: refiner}
	m.device.Precision = "auto"
	return newApartOf(t, m, device, config, nil)
}

// newApartOf serves what flags say. change is of the server's configuration, nil for none.
func newApartOf(t *testing.T, m models, device string, config process.Config, change func(*server.Config)) *apart {
	t.Helper()
	a := &apart{engines: make(chan *process.Engine, 10), log: &output{}}
	specs, err := m.specs()
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{
		Specs:   specs,
		Devices: []string{device},
		Load: func(int) (engine.Engine, error) {
			e, err := m.start(device, a.log, config)
			if err == nil {
				a.engines <- e
			}
			return asEngine(watched{e, &a.inside}, err)
		},
		Schedulers: scheduler.Names(),
		Images:     filepath.Join(t.TempDir(), "images"), Journal: filepath.Join(t.TempDir(), "jobs.db"), Queue: 9, Version: cli.Version(), Log: slog.New(slog.NewTextHandler(a.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	a.Server = s
	return a
}

func (a *apart) do(method, path, body string) (int, string) {
	return a.doContext(context.Background(), method, path, body)
}

func (a *apart) doContext(ctx context.Context, method, path, body string) (int, string) {
	request := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

// image asks for an image and gives the file.
func (a *apart) image(t *testing.T, path, body string) (id, png string) {
	t.Helper()
	code, answer := a.do("POST", path, body)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s\n%s", path, code, answer, a.log)
	}
	id, _, _ = strings.Cut(strings.TrimPrefix(answer, `{"id":"`), `"`)
	code, png = a.do("GET", "/download/"+id, "")
	if code != http.StatusOK {
		t.Fatalf("%s: %d", id, code)
	}
	return id, png
}

const small = `{"prompt":"a cat","negative_prompt":"","width":64,"height":64,"num_inference_steps":2,"seed":1}`

// An engine in a process of its own computes what one in this process computes, and when it dies, the next one computes
// its request anew.
func TestEngineApart(t *testing.T) {
	a := newApart(t, "synth:tiny", "synth:tiny-refiner", "cpu")
	first := <-a.engines
	id, made := a.image(t, "/generate", small)
	_, refined := a.image(t, "/refine", fmt.Sprintf(`{"id":%q,"prompt":"a dog","num_inference_steps":4,"strength":0.5,"seed":1}`, id))
	address, _, ended := start(t, "-model", "synth:tiny", "-refiner", "synth:tiny-refiner", "-images", t.TempDir(), "-watermark=false", "-device", "cpu")
	here := post(t, address+"/generate", small)
	if got := get(t, address+"/download/"+here); got != made {
		t.Error("a process of its own computes another image")
	}
	there := post(t, address+"/refine", fmt.Sprintf(`{"id":%q,"prompt":"a dog","num_inference_steps":4,"strength":0.5,"seed":1}`, here))
	if got := get(t, address+"/download/"+there); len(got) != len(refined) { // the texts name another id
		t.Error("a process of its own refines to another image")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	if code, answer := a.do("POST", "/generate", `{"prompt":"a","width":4096}`); code != 422 {
		t.Errorf("a bad request: %d %s", code, answer)
	}

	long, hangUp := a.long(t)
	waiting := make(chan string, 2)
	for range 2 {
		go func() {
			code, answer := a.do("POST", "/generate", small)
			waiting <- strconv.Itoa(code) + " " + answer
		}()
	}
	time.Sleep(200 * time.Millisecond) // time to queue, or they come while the engine is started again
	if err := syscall.Kill(first.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	idle := <-a.engines
	a.busy() // with another attempt
	hangUp()
	if got := <-long; got != `499 {"detail":"The client hung up"}` {
		t.Errorf("the request that was computed: %s", got)
	}
	for range 2 {
		if got := <-waiting; !strings.HasPrefix(got, "200 ") {
			t.Errorf("a request that waited: %s\n%s", got, a.log)
		}
	}
	if _, again := a.image(t, "/generate", small); again != made {
		t.Error("the next process computes another image")
	}

	if err := syscall.Kill(idle.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for idle.Lost() == nil {
		time.Sleep(time.Millisecond)
	}
	if code, answer := a.do("GET", "/readyz", ""); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a process that was killed: %d %s", code, answer)
	}
	<-a.engines
	for code := 0; code != http.StatusOK; code, _ = a.do("GET", "/readyz", "") {
		time.Sleep(time.Millisecond)
	}
	if _, again := a.image(t, "/generate", small); again != made {
		t.Error("the process after one that was killed computes another image")
	}
	if log := a.log.String(); !strings.Contains(log, `msg="device lost" device=cpu error="the engine's process ended: signal: killed"`) || strings.Count(log, "model loaded") != 6 {
		t.Errorf("log:\n%s", log)
	}
}

// long is a request that computes for longer than anybody waits, until hangUp is called.
func (a *apart) long(t *testing.T) (answer <-chan string, hangUp func()) {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	answers := make(chan string, 1)
	go func() {
		code, answer := a.doContext(ctx, "POST", "/generate", `{"prompt":"a","width":1024,"height":1024,"num_inference_steps":200}`)
		answers <- strconv.Itoa(code) + " " + answer
	}()
	a.busy()
	return answers, hangUp
}

// busy waits until something is computed.
func (a *apart) busy() {
	for a.inside.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
	}
	return string(data)
}

// What a process can't open comes back as the error that it had.
func TestEngineDoesNotStart(t *testing.T) {
	for device, says := range map[string]string{"cuda:999": "cuda: ", "gpu": `-device "gpu": must be`} {
		m := models{model: "synth:tiny"}
		m.device.Precision = "auto"
		_, err := m.start(device, &output{}, process.Config{})
		if err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%s: %v, want %q", device, err, says)
		}
	}
	m := models{model: "synth:nothing"}
	m.device.Precision = "auto"
	if _, err := m.start("cpu", &output{}, process.Config{}); err == nil || !strings.Contains(err.Error(), "synth:nothing") || errors.Unwrap(err) != nil {
		t.Errorf("%v", err)
	}
}
