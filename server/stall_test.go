package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Half a body is answered, on whatever route, and holds its connection for a time only.
func TestHalfBody(t *testing.T) {
	for _, c := range []struct {
		request string
		status  int
		after   time.Duration // of the answer
	}{
		{"GET /healthz", 200, 0},
		{"HEAD /readyz", 200, 0},
		{"GET /download/ID", 200, 0},
		{"GET /download/x", 404, 0},
		{"POST /healthz", 405, 0},
		{"DELETE /generate", 405, 0},
		{"OPTIONS /refine", 405, 0},
		{"OPTIONS *", 404, 0},
		{"PUT /nope", 404, 0},
		{"POST //generate", 404, 0},
		{"POST /generate", 408, 30 * time.Second},
		{"POST /refine", 408, 30 * time.Second},
	} {
		for kind, half := range map[string]string{
			"length":  "Content-Length: 20\r\n\r\n{\"prompt\"",
			"large":   "Content-Length: 2000000\r\n\r\n{\"prompt\"",
			"chunked": "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"prom",
			"nothing": "Content-Length: 20\r\n\r\n",
		} {
			t.Run(c.request+" "+kind, func(t *testing.T) {
				inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
					client := l.dial(t)
					began := time.Now()
					method, path, _ := strings.Cut(c.request, " ")
					send(t, client, method+" "+strings.Replace(path, "ID", r.big(t, 100), 1)+" HTTP/1.1\r\nHost: x\r\n"+half)
					reader := bufio.NewReader(client)
					resp, err := http.ReadResponse(reader, &http.Request{Method: method})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
					if took := time.Since(began); resp.StatusCode != c.status || took != c.after {
						t.Errorf("%d after %v, want %d after %v", resp.StatusCode, took, c.status, c.after)
					}
					ends(t, reader)
					if took := time.Since(began); took > 31*time.Second {
						t.Errorf("the connection was held for %v", took)
					}
				})
			})
		}
	}
}

// A rest of a body that comes after the answer is read, and the connection goes on.
func TestLateBody(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
		client := l.dial(t)
		reader := bufio.NewReader(client)
		for range 3 {
			send(t, client, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n0123456789")
			if resp, body := answer(t, reader); resp.StatusCode != 404 || resp.Close || body != `{"detail":"Not Found"}` {
				t.Errorf("%d %s, close %v", resp.StatusCode, body, resp.Close)
			}
			time.Sleep(29 * time.Second)
			send(t, client, "0123456789")
		}
	})
}

// What a body may take is counted anew whenever a part of it arrived, not for each byte.
func TestPaceOfBody(t *testing.T) {
	whole := `{"prompt":"a","note":"` + strings.Repeat("x", 60000) + `"}`
	for _, c := range []struct {
		part   int
		every  time.Duration
		status int
	}{
		{4000, 5 * time.Second, 200},
		{1, 5 * time.Second, 408},
		{1000, 10 * time.Second, 408},
	} {
		t.Run(fmt.Sprint(c.part), func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
				client := l.dial(t)
				began := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					text := post("/generate", whole)
					for len(text) > 0 {
						n := min(c.part, len(text))
						if len(text) > len(whole) {
							n = len(text) - len(whole)
						}
						if _, err := io.WriteString(client, text[:n]); err != nil {
							return
						}
						text = text[n:]
						time.Sleep(c.every)
					}
				}()
				resp, body := answer(t, bufio.NewReader(client))
				if resp.StatusCode != c.status {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
				if took := time.Since(began); c.status == 408 && took > 31*time.Second {
					t.Errorf("cut after %v", took)
				}
				client.Close()
				<-sent
			})
		})
	}
}

// A reader that stops, or that takes next to nothing, ends its download; one that is slow has it whole.
func TestPaceOfAnswer(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		part  int
		every time.Duration
		whole bool
	}{
		{8000, 7 * time.Second, true},
		{1, 10 * time.Second, false},
		{10, time.Hour, false},
	} {
		t.Run(fmt.Sprint(c.part), func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, r *running, l *pipes) {
				client := l.dial(t)
				if err := client.SetDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
				send(t, client, "GET /download/"+r.big(t, size)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				got := 0
				for part := make([]byte, c.part); got < size/100 || c.whole; time.Sleep(c.every) {
					n, err := io.ReadFull(client, part)
					if got += n; err != nil {
						break
					}
				}
				if got > size != c.whole || !c.whole && got > size/100 {
					t.Errorf("%d bytes were read", got)
				}
				synctest.Wait()
				if log := r.log.String(); strings.Contains(log, "i/o timeout") == c.whole {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

// Answers that nobody reads end the connection, however small they are.
func TestAnswersNobodyReads(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
		client := l.dial(t)
		send(t, client, strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 20))
		time.Sleep(time.Hour)
		began := time.Now()
		data, err := io.ReadAll(client)
		if took := time.Since(began); err != nil || took > 0 || len(data) > 0 {
			t.Errorf("%v after %v: %q", err, took, data)
		}
	})
}

// A header is limited in time and size, and a connection in the time between two requests.
func TestHeaderLimits(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
		half := l.dial(t)
		send(t, half, "GET /healthz HTTP/1.1\r\nHost")
		if took := ends(t, half); took != headerTimeout {
			t.Errorf("half a header was waited for %v", took)
		}

		trickled := l.dial(t)
		send(t, trickled, "GET /healthz HTTP/1.1\r\nX-Long: ")
		began := time.Now()
		for err := error(nil); err == nil && time.Since(began) < time.Hour; time.Sleep(time.Second) {
			_, err = io.WriteString(trickled, "G")
		}
		if took := time.Since(began); took > headerTimeout+2*time.Second {
			t.Errorf("a trickled header was waited for %v", took)
		}

		idle := l.dial(t)
		reader := bufio.NewReader(idle)
		send(t, idle, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		answer(t, reader)
		if took := ends(t, reader); took != idleTimeout {
			t.Errorf("an idle connection was kept for %v", took)
		}

		again := l.dial(t)
		reader = bufio.NewReader(again)
		send(t, again, post("/generate", `{"prompt":"a","note":"`+strings.Repeat("x", pace-100)+`"}`))
		answer(t, reader)
		send(t, again, "GET /healthz HTTP/1.1\r\nX-Long: "+strings.Repeat("x", pace+8000))
		if took := ends(t, reader); took != headerTimeout {
			t.Errorf("half a header after a body was waited for %v", took)
		}

		for length, want := range map[int]int{maxHeader - 1000: 200, maxHeader + 5000: 431} {
			large := l.dial(t)
			go io.WriteString(large, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("x", length)+"\r\n\r\n")
			if resp, body := answer(t, bufio.NewReader(large)); resp.StatusCode != want {
				t.Errorf("a header of %d bytes: %d %s", length, resp.StatusCode, body)
			}
			large.Close()
			synctest.Wait()
		}
	})
}

// A client that asks before it sends a body is answered 100 by the routes that read it, and has its answer at once
// from the others.
func TestExpectContinue(t *testing.T) {
	const body = `{"prompt":"a"}`
	inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
		head := func(path string) string {
			return strings.Replace(post(path, body), "\r\n\r\n"+body, "\r\nExpect: 100-continue\r\n\r\n", 1)
		}
		client := l.dial(t)
		reader := bufio.NewReader(client)
		for range 2 {
			send(t, client, head("/generate"))
			if resp, err := http.ReadResponse(reader, nil); err != nil || resp.StatusCode != http.StatusContinue {
				t.Fatalf("%v, %v", resp, err)
			}
			send(t, client, body)
			if resp, got := answer(t, reader); resp.StatusCode != 200 || resp.Close {
				t.Errorf("%d %s, close %v", resp.StatusCode, got, resp.Close)
			}
		}
		began := time.Now()
		send(t, client, head("/nope"))
		if resp, got := answer(t, reader); resp.StatusCode != 404 || !resp.Close || time.Since(began) > 0 {
			t.Errorf("%d %s, close %v, after %v", resp.StatusCode, got, resp.Close, time.Since(began))
		}
		if took := ends(t, reader); took > 31*time.Second {
			t.Errorf("the connection was held for %v", took)
		}
	})
}

// An expectation that there is not is refused by net/http, which waits for the body: that has a time too.
func TestUnknownExpectation(t *testing.T) {
	for kind, half := range map[string]string{
		"length":  "Content-Length: 20\r\n\r\n{\"prompt\"",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"prom",
	} {
		t.Run(kind, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
				client := l.dial(t)
				reader := bufio.NewReader(client)
				send(t, client, "POST /generate HTTP/1.1\r\nHost: x\r\nExpect: y\r\n"+half)
				if resp, body := answer(t, reader); resp.StatusCode != 417 || !resp.Close {
					t.Errorf("%d %s, close %v", resp.StatusCode, body, resp.Close)
				}
				if took := ends(t, reader); took > headerTimeout+31*time.Second {
					t.Errorf("the connection was held for %v", took)
				}
			})
		})
	}
}
