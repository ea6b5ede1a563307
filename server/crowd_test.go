package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// However many connections are held, the next is served; those that wait longest for their client go first, and work is
// never among them.
func TestCrowd(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "half a header": "GET /he", "half a body": "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"prompt\"",
		"idle": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(c *Config) { c.Connections = 8 }, func(t *testing.T, r *running, l *pipes) {
				open := gate(r.base)
				computed := l.dial(t)
				send(t, computed, post("/generate", `{"prompt":"a"}`))
				synctest.Wait()
				var held []net.Conn
				for range 50 {
					time.Sleep(time.Millisecond)
					c := l.dial(t)
					send(t, c, text)
					if name == "idle" {
						answer(t, bufio.NewReader(c))
					}
					synctest.Wait()
					held = append(held, c)
				}
				began := time.Now()
				asking := l.dial(t)
				send(t, asking, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				if resp, body := answer(t, bufio.NewReader(asking)); resp.StatusCode != 200 || time.Since(began) > 0 {
					t.Errorf("%d %s after %v", resp.StatusCode, body, time.Since(began))
				}
				for i, c := range held {
					_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // it fails where the server has closed
					_, err := c.Read(make([]byte, 1))
					if closed := err == io.EOF; closed != (i < len(held)-6) {
						t.Errorf("connection %d of %d: %v", i, len(held), err)
					}
				}
				open()
				if resp, body := answer(t, bufio.NewReader(computed)); resp.StatusCode != 200 {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			})
		})
	}
}

// Where all connections that may work do, the next request for work is refused, and others are answered.
func TestCrowdAtWork(t *testing.T) {
	inMemory(t, func(c *Config) { c.Connections = 8 }, func(t *testing.T, r *running, l *pipes) {
		open := gate(r.base)
		var all []net.Conn
		for range 7 {
			c := l.dial(t)
			send(t, c, post("/generate", `{"prompt":"a"}`))
			synctest.Wait()
			all = append(all, c)
		}
		for request, want := range map[string]string{
			post("/generate", `{"prompt":"a"}`):                              `503 {"detail":"The server has too many connections"}`,
			"GET /download/" + r.big(t, 10) + " HTTP/1.1\r\nHost: x\r\n\r\n": `503 {"detail":"The server has too many connections"}`,
			"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":                       `200 {"status":"ok"}`,
		} {
			c := l.dial(t)
			send(t, c, request)
			resp, body := answer(t, bufio.NewReader(c))
			if got := fmt.Sprint(resp.StatusCode, " ", body); got != want || resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %s %v, want %s", request, got, resp.Header, want)
			}
		}
		open()
		for _, c := range all {
			if resp, body := answer(t, bufio.NewReader(c)); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		}
		// Those that are answered may be closed for others, and work again.
		for range 20 {
			c := l.dial(t)
			send(t, c, post("/generate", `{"prompt":"a"}`))
			if resp, body := answer(t, bufio.NewReader(c)); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		}
	})
}

// scarce is a listener for which the process has too few files, until a connection was closed.
type scarce struct {
	*pipes
	files, open chan struct{} // open has one of each connection
}

func (s *scarce) Accept() (net.Conn, error) {
	c, err := s.pipes.Accept()
	if err != nil {
		return nil, err
	}
	for {
		select {
		case s.open <- struct{}{}:
			return &counted{Conn: c, s: s}, nil
		default:
			s.files <- struct{}{}
			go func() { s.conns <- c }() // it stays in the backlog
			return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
	}
}

type counted struct {
	net.Conn
	s    *scarce
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { <-c.s.open })
	return c.Conn.Close()
}

// A process that may open no more files closes the connection that waits longest.
func TestTooFewFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &scarce{newPipes(), make(chan struct{}, 100), make(chan struct{}, 4)}
		r := runOn(t, l, nil)
		synctest.Wait()
		for range 20 {
			send(t, l.dial(t), "GET /he")
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		c := l.dial(t)
		send(t, c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := answer(t, bufio.NewReader(c)); resp.StatusCode != 200 || time.Since(began) > 0 {
			t.Errorf("%d %s after %v", resp.StatusCode, body, time.Since(began))
		}
		if len(l.files) != 17 {
			t.Errorf("files were too few %d times, want 17", len(l.files))
		}
		r.end()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestConnections(t *testing.T) {
	for _, c := range []struct {
		files         uint64
		waiting, want int
	}{
		{256, 65, 96}, {1024, 65, 480}, {1 << 20, 65, 1024}, {1<<64 - 1, 65, 1024}, {1 << 20, 5000, 10000}, {1024, 5000, 480}, {32, 65, 16}, {0, 1, 16},
	} {
		if got := connections(c.files, c.waiting); got != c.want {
			t.Errorf("%d files, %d waiting: %d connections, want %d", c.files, c.waiting, got, c.want)
		}
	}
	b := newBench(t, nil)
	if n, most := b.config.Connections, int(min(openFiles(), 1<<30)); n < leastConns || n > max(leastConns, most/2) {
		t.Errorf("%d connections with %d files", n, most)
	}
}

// Who lets more requests wait than there can be connections is warned.
func TestQueueBeyondConnections(t *testing.T) {
	for queue, want := range map[int]bool{0: false, 6: false, 7: true, 1000: true} {
		b := newBench(t, func(c *Config) { c.Connections, c.Queue = 8, queue })
		if log := b.log.String(); strings.Contains(log, "too few connections") != want {
			t.Errorf("a queue of %d: log %q", queue, log)
		}
	}
}

// No goroutine and no connection outlives Run. (synctest fails a test that leaves a goroutine behind.)
func TestNothingOutlivesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		r := runOn(t, pipes, nil)
		synctest.Wait()
		for _, text := range []string{"", "GET", post("/generate", `{"prompt":"a"}`), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 200<<10)} {
			c := pipes.dial(t)
			go io.WriteString(c, text)
			go io.Copy(io.Discard, c)
		}
		synctest.Wait()
		r.end()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}
