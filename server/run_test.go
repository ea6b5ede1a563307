package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// running is a bench behind a real listener.
type running struct {
	*bench
	address string
	end     context.CancelFunc // as a first signal does
	ended   chan error
}

func run(t *testing.T, change func(*Config)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return runOn(t, l, change)
}

func runOn(t *testing.T, l net.Listener, change func(*Config)) *running {
	t.Helper()
	r := &running{bench: newBench(t, change), address: l.Addr().String(), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	go func() { r.ended <- r.Run(ctx, l) }()
	return r
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("Run does not return")
		return nil
	}
}

func (r *running) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if reached() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func (r *running) ready(t *testing.T) {
	t.Helper()
	r.until(t, "ready", func() bool { code, _ := r.get("/readyz"); return code == 200 })
}

func (r *running) get(path string) (int, string) {
	resp, err := http.Get("http://" + r.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// post sends a request in a goroutine of its own and gives "code body".
func (r *running) post(ctx context.Context, path, body string) <-chan string {
	answer := make(chan string, 1)
	go func() {
		request, err := http.NewRequestWithContext(ctx, "POST", "http://"+r.address+path, strings.NewReader(body))
		if err != nil {
			answer <- err.Error()
			return
		}
		request.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		answer <- fmt.Sprint(resp.StatusCode, " ", string(data))
	}()
	return answer
}

// It answers while the model is loaded.
func TestListensBeforeLoading(t *testing.T) {
	goOn := make(chan struct{})
	var base *fakeEngine
	r := run(t, func(c *Config) {
		base = &fakeEngine{t: t}
		c.Load = func(int) (engine.Engine, error) { <-goOn; return pair{base, &fakeEngine{t: t}}, nil }
	})
	r.until(t, "healthy", func() bool { code, _ := r.get("/healthz"); return code == 200 })
	if code, body := r.get("/readyz"); code != 503 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	close(goOn)
	r.ready(t)
	r.end()
	if err := r.wait(t); err != nil || !base.closed.Load() {
		t.Errorf("%v, closed: %v", err, base.closed.Load())
	}
}

func TestLoadFails(t *testing.T) {
	broken := errors.New("no model_index.json")
	r := run(t, func(c *Config) { c.Load = func(int) (engine.Engine, error) { return nil, broken } })
	if err := r.wait(t); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if code, _ := r.get("/healthz"); code != 0 {
		t.Errorf("still answers: %d", code)
	}
	r.end()
}

func TestEndWhileLoading(t *testing.T) {
	goOn := make(chan struct{})
	var base *fakeEngine
	r := run(t, func(c *Config) {
		base = &fakeEngine{t: t}
		c.Load = func(int) (engine.Engine, error) { <-goOn; return pair{base, &fakeEngine{t: t}}, nil }
		c.Drain = 20 * time.Millisecond
	})
	r.end()
	if err := r.wait(t); err == nil || !strings.Contains(err.Error(), "still being loaded") {
		t.Errorf("%v", err)
	}
	close(goOn)
	r.until(t, "closed", base.closed.Load)
}

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := newBench(t, nil)
	if err := b.Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("%v", err)
	}
}

// What is inside and queued when the end comes is finished; nothing new is taken.
func TestDrain(t *testing.T) {
	r := run(t, nil)
	open := gate(r.base)
	r.ready(t)
	var answers []<-chan string
	for range 3 {
		answers = append(answers, r.post(t.Context(), "/generate", `{"prompt":"a"}`))
	}
	r.until(t, "queued", func() bool { return r.queue.Stats().Waiting == 2 })
	r.end()
	r.until(t, "draining", func() bool { return r.draining.Load() })
	if w := r.do("GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "stopping") {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if w := r.do("POST", "/generate", `{"prompt":"a"}`); w.Code != 503 || w.Header().Get("Connection") != "close" {
		t.Errorf("new work: %d %s", w.Code, w.Body)
	}
	open()
	for _, a := range answers {
		if got := <-a; !strings.HasPrefix(got, `200 {"id":`) {
			t.Error(got)
		}
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if !r.base.closed.Load() || r.imageCount(t) != 3 {
		t.Errorf("closed: %v, %d images", r.base.closed.Load(), r.imageCount(t))
	}
}

// Work that does not end in time, and work at a second signal, is cut off with an answer.
func TestCutOff(t *testing.T) {
	for name, drain := range map[string]time.Duration{"limit": 50 * time.Millisecond, "stop": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := run(t, func(c *Config) { c.Drain = drain })
			gate(r.base)
			r.ready(t)
			answers := []<-chan string{r.post(t.Context(), "/generate", `{"prompt":"a"}`), r.post(t.Context(), "/generate", `{"prompt":"a"}`)}
			// The first alone may wait too, for the worker to come to the queue.
			r.until(t, "queued", func() bool { return r.base.inside.Load() == 1 && r.queue.Stats().Waiting == 1 })
			r.end()
			want := "queued work did not end in 50ms"
			if name == "stop" {
				r.until(t, "draining", func() bool { return r.draining.Load() })
				r.Stop()
				want = "the server was stopped"
			}
			for _, a := range answers {
				if got := <-a; got != `503 {"detail":"The server is stopping"}` {
					t.Error(got)
				}
			}
			if err := r.wait(t); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if !r.base.closed.Load() || r.imageCount(t) != 0 {
				t.Errorf("closed: %v, %d images", r.base.closed.Load(), r.imageCount(t))
			}
		})
	}
}

// A real connection that closes ends its computation.
func TestHangUp(t *testing.T) {
	r := run(t, nil)
	stopped := make(chan error, 1)
	r.base.run = func(ctx context.Context, _ sdxl.Request) error {
		<-ctx.Done()
		stopped <- ctx.Err()
		return ctx.Err()
	}
	r.ready(t)
	ctx, hangUp := context.WithCancel(t.Context())
	answer := r.post(ctx, "/generate", `{"prompt":"a"}`)
	r.until(t, "inside", func() bool { return r.base.inside.Load() == 1 })
	hangUp()
	<-answer
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.until(t, "free", func() bool { return r.queue.Stats().Idle == 1 })
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// The limit on a body's time cuts off a slow body.
func TestSlowBody(t *testing.T) {
	r := run(t, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	r.ready(t)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"prompt\"")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close || string(body) != `{"detail":"Request body did not arrive in time"}` {
		t.Errorf("%d %s, close %v", resp.StatusCode, body, resp.Close)
	}
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// The limit on a body's time is none for a computation.
func TestLongComputation(t *testing.T) {
	inMemory(t, func(c *Config) { c.BodyTimeout = time.Second }, func(t *testing.T, r *running, l *pipes) {
		r.base.run = func(ctx context.Context, _ sdxl.Request) error {
			select {
			case <-time.After(time.Hour):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		client := l.dial(t)
		began := time.Now()
		send(t, client, post("/generate", `{"prompt":"a"}`))
		if resp, body := answer(t, bufio.NewReader(client)); resp.StatusCode != 200 || time.Since(began) != time.Hour {
			t.Errorf("%d %s after %v", resp.StatusCode, body, time.Since(began))
		}
	})
}

// A body that is cut off is not taken for a shorter one.
func TestCutBody(t *testing.T) {
	r := run(t, nil)
	r.ready(t)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{\"prompt\":\"a\"}")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest && resp.StatusCode != 499 {
		t.Errorf("%v, %v", resp, err)
	}
	r.end()
	if err := r.wait(t); err != nil || r.imageCount(t) != 0 {
		t.Errorf("%v, %d images", err, r.imageCount(t))
	}
}
