package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A client that leaves is noticed, computed or waiting, whatever it sent after its request, at once or later.
func TestClientGoneAfterMore(t *testing.T) {
	for name, more := range map[string]string{
		"nothing": "", "a byte": "x", "a line": "\r\n", "a request": post("/generate", `{"prompt":"b"}`), "much": strings.Repeat("x", 50000),
	} {
		for when, together := range map[string]bool{"at once": true, "later": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
					_, stopped := held(r.base)
					first, second := l.dial(t), l.dial(t)
					for _, client := range []net.Conn{first, second} {
						if together {
							send(t, client, post("/generate", `{"prompt":"a"}`)+more)
						} else {
							send(t, client, post("/generate", `{"prompt":"a"}`))
							synctest.Wait()
							send(t, client, more)
						}
						synctest.Wait()
					}
					second.Close()
					synctest.Wait()
					if n := r.queue.Stats().Waiting; n != 0 {
						t.Errorf("%d still wait", n)
					}
					first.Close()
					synctest.Wait()
					if len(stopped) != 1 || r.base.inside.Load() != 0 {
						t.Errorf("%d computations stopped, %d go on", len(stopped), r.base.inside.Load())
					}
					if n := r.base.calls.Load(); n != 1 {
						t.Errorf("%d computations, want 1", n)
					}
				})
			})
		}
	}
}

// The same on a network, where a client may also break its connection.
func TestClientGoneOnNetwork(t *testing.T) {
	r := run(t, nil)
	began, stopped := held(r.base)
	r.ready(t)
	for name, leave := range map[string]func(c *net.TCPConn) error{
		"close":      (*net.TCPConn).Close,
		"reset":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"half close": (*net.TCPConn).CloseWrite,
	} {
		c, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		send(t, c, post("/generate", `{"prompt":"a"}`))
		<-began
		send(t, c, "x")
		if err := leave(c.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		r.until(t, name+" noticed", func() bool { return len(stopped) == 1 })
		<-stopped
	}
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// What is sent before its time is bounded, so that a client that leaves is noticed behind it.
func TestSentAhead(t *testing.T) {
	for _, c := range []struct{ more, status int }{{100 << 10, 200}, {200 << 10, 400}} {
		inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
			open := gate(r.base)
			client := l.dial(t)
			go io.WriteString(client, post("/generate", `{"prompt":"a"}`)+strings.Repeat("x", c.more))
			time.Sleep(2 * aheadTime)
			open()
			if resp, body := answer(t, bufio.NewReader(client)); resp.StatusCode != c.status || resp.Close != (c.status != 200) {
				t.Errorf("%d bytes: %d %s", c.more, resp.StatusCode, body)
			}
			client.Close()
		})
	}
}

// Requests may be sent before the answers to those before them, and are answered in order.
func TestPipelining(t *testing.T) {
	r := run(t, nil)
	r.ready(t)
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const rounds = 50
	go io.WriteString(c, strings.Repeat(post("/generate", `{"prompt":"a"}`)+"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"+
		post("/refine", `{"prompt":"b"}`)+post("/nope", `{"prompt":"b"}`)+"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", rounds))
	reader := bufio.NewReader(c)
	for i := range rounds {
		for _, want := range []int{200, 404, 422, 404, 200} {
			if resp, body := answer(t, reader); resp.StatusCode != want {
				t.Fatalf("round %d: %d %s, want %d", i, resp.StatusCode, body, want)
			}
		}
	}
	if n := r.imageCount(t); n != rounds {
		t.Errorf("%d images", n)
	}
	r.end()
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// A body with two lengths is answered by the one that counts, and then the connection ends, so that nobody takes its
// rest for a request.
func TestTwoLengths(t *testing.T) {
	const body = `{"prompt":"a"}`
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	const head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	const next = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		text    string
		answers int // before the end
		kept    bool
	}{
		"length first": {head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 1, false},
		"length last":  {head + "Transfer-Encoding: chunked\r\ncontent-length: 4\r\n\r\n" + chunked, 1, false},
		"later":        {next + head + "Transfer-Encoding: chunked\r\nCONTENT-LENGTH:4\r\n\r\n" + chunked, 2, false},
		"elsewhere":    {"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 1, false},
		"HTTP/1.0": {"POST /generate HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" +
			fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body, 1, false},
		"chunked only": {head + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 1, true},
		"length only":  {post("/generate", body), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
				client := l.dial(t)
				reader := bufio.NewReader(client)
				go io.WriteString(client, c.text+next) // nobody may read all of it
				for i := range c.answers {
					resp, got := answer(t, reader)
					if last := i == c.answers-1; resp.Close != (last && !c.kept) {
						t.Errorf("%d %s, close %v", resp.StatusCode, got, resp.Close)
					}
				}
				if c.kept {
					if resp, got := answer(t, reader); resp.StatusCode != 200 || got != `{"status":"ok"}` {
						t.Errorf("the next request: %d %s", resp.StatusCode, got)
					}
				} else if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
					t.Errorf("%v, another answer: %s", err, rest)
				}
				client.Close()
			})
		})
	}
}
