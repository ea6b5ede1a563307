package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// accepted is one connection of a listener for nothing else, with its client.
func accepted(t *testing.T, l *listener) (*conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	c := l.add(server)
	c.context(t.Context())
	t.Cleanup(func() { client.Close() })
	return c, client
}

func newListener() *listener {
	return &listener{max: 8, bodyTime: time.Minute, answerTime: time.Minute, open: map[*conn]bool{}}
}

// What begins to wait for its client while the server drains ends at once, whether the connection is new or not.
func TestDrainedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		old, oldClient := accepted(t, l)
		l.drain(time.Second)
		fresh, freshClient := accepted(t, l)
		for _, c := range []*conn{old, fresh} {
			began := time.Now()
			for name, wait := range map[string]func(){
				"header": func() { c.SetReadDeadline(time.Now().Add(time.Hour)) },
				"body":   c.beginBody,
			} {
				wait()
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 0 {
					t.Errorf("%s: %v after %v", name, err, time.Since(began))
				}
			}
			if _, err := c.Write(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
				t.Errorf("writing: %v after %v", err, time.Since(began))
			}
		}
		// The wait for a client to leave goes on.
		for c, client := range map[*conn]net.Conn{old: oldClient, fresh: freshClient} {
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Hour, func() { client.Close() })
			began := time.Now()
			if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF || time.Since(began) != time.Hour {
				t.Errorf("watching: %d, %v after %v", n, err, time.Since(began))
			}
			c.Close()
		}
	})
}

// Deadlines do what net/http relies on.
func TestReadDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client := accepted(t, newListener())
		defer c.Close()
		read := func() error { _, err := c.Read(make([]byte, 4)); return err }
		began := time.Now()
		c.SetReadDeadline(began.Add(time.Second))
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline that has passed: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		ended := make(chan error, 1)
		go func() { ended <- read() }()
		synctest.Wait()
		c.SetReadDeadline(time.Unix(1, 0)) // as net/http ends a read that is under way
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline in the past: %v", err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second)) // replaced in time
		c.SetDeadline(time.Now().Add(time.Hour))
		time.Sleep(time.Minute)
		send(t, client, "text")
		if err := read(); err != nil {
			t.Error(err)
		}
		go func() { ended <- read() }()
		synctest.Wait()
		c.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read while the connection is closed: %v", err)
		}
	})
}

// Clients that leave while they are served make room for others.
func TestWorkIsGivenBack(t *testing.T) {
	inMemory(t, func(c *Config) { c.Connections = 8 }, func(t *testing.T, r *running, l *pipes) {
		_, stopped := held(r.base)
		for range 30 {
			c := l.dial(t)
			send(t, c, post("/generate", `{"prompt":"a"}`))
			synctest.Wait()
			c.Close()
			synctest.Wait()
		}
		if n := len(stopped); n != 30 {
			t.Errorf("%d of 30 were taken", n)
		}
	})
}

// The lines are found however they come, and nothing else is.
func TestFraming(t *testing.T) {
	chunked := &http.Request{ProtoMajor: 1, ProtoMinor: 1, TransferEncoding: []string{"chunked"}}
	for text, want := range map[string]bool{
		"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n":               true,
		"POST / HTTP/1.1\ncontent-length:4\n\n":                      true,
		"POST / HTTP/1.1\r\nHost: x\r\nCONTENT-LENGTH:4\r\n\r\n":     true,
		"x\r\nContent-Lengt\r\nContent-\nContent-Length: 4\r\n":      true,
		"POST / HTTP/1.1\r\nX-Content-Length: 4\r\n\r\n":             false,
		"POST / HTTP/1.1\r\nX: Content-Length: 4\r\n\r\n":            false,
		"POST / HTTP/1.1\r\nContent-Lengths: 4\r\n\r\n":              false,
		"POST / HTTP/1.1\r\nContent-Length\r\n: 4\r\n\r\n":           false,
		"POST / HTTP/1.1\r\n Content-Length: 4\r\n\r\n":              false,
		strings.Repeat("x", 10000) + "\r\nContent-Length: 4\r\n\r\n": true,
	} {
		for _, size := range []int{1, 7, len(text)} {
			f := newFraming()
			for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
				f.scan([]byte(rest[:min(size, len(rest))]))
			}
			if got := f.faulty(chunked); got != want {
				t.Errorf("%.60q by %d: %v", text, size, got)
			}
		}
	}
}

// What was under way when a connection was given up is not read: it is the rest of a body, and would be taken for a
// request.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client := accepted(t, newListener())
		defer client.Close()
		synctest.Wait() // it is being read
		c.giveUp()
		if _, err := client.Write([]byte("GET /rest HTTP/1.1\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, err := c.Read(make([]byte, 100)); n > 0 || err != io.EOF {
			t.Errorf("%d bytes were read, %v", n, err)
		}
	})
}

// A client that has all of an answer may send its next request, however long, before net/http has ended this one. What
// waits for longer is too much.
func TestSentAheadOfRest(t *testing.T) {
	for _, c := range []struct {
		name string
		rest time.Duration
		ends bool
	}{
		{"the answer ends in time", aheadTime / 2, false},
		{"the answer goes on", 2 * aheadTime, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newListener()
				client, server := net.Pipe()
				conn := l.add(server)
				ctx := conn.context(t.Context())
				if err := conn.work(); err != nil {
					t.Fatal(err)
				}
				go client.Write(make([]byte, 2*maxAhead)) // ends when client is closed
				time.Sleep(c.rest)
				l.rest(conn)
				time.Sleep(2 * aheadTime)
				if ended := ctx.Err() != nil; ended != c.ends {
					t.Errorf("the context ended: %v", context.Cause(ctx))
				}
				client.Close()
				conn.Close()
			})
		})
	}
}
