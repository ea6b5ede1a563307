package server

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The end does not wait for clients, whatever they have done or left undone, and they are no reason for an error.
func TestDrainWaitsForNoClient(t *testing.T) {
	const size = 1 << 20
	for name, text := range map[string]string{
		"nothing":            "",
		"half a header":      "GET /healthz HTTP/1.1\r\nHost",
		"half a body":        "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"prompt\"",
		"no body":            "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n",
		"body for nobody":    "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"prompt\"",
		"body for any route": "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"prompt\"",
		"body refused":       "GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: y\r\nContent-Length: 20\r\n\r\n{\"prompt\"",
		"idle":               "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"half another":       "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP",
		"nobody reads":       "GET /download/ID HTTP/1.1\r\nHost: x\r\n\r\n",
		"nobody reads many":  strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				r := runOn(t, l, nil)
				synctest.Wait()
				client := l.dial(t)
				send(t, client, strings.Replace(text, "ID", r.big(t, size), 1))
				reader := bufio.NewReader(client)
				if strings.HasPrefix(text, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") || strings.Contains(text, "/nope") || strings.HasPrefix(text, "OPTIONS") || strings.Contains(text, "ID") {
					resp, err := http.ReadResponse(reader, nil)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(text, "ID") {
						io.Copy(io.Discard, resp.Body)
					}
				}
				synctest.Wait()
				time.Sleep(time.Second)
				began := time.Now()
				r.end()
				rest := make(chan string, 1)
				go func() {
					if strings.HasPrefix(name, "nobody reads") {
						time.Sleep(time.Hour)
					}
					all, err := io.ReadAll(reader)
					if err != nil {
						t.Errorf("the server did not close the connection: %v", err)
					}
					rest <- string(all)
				}()
				if err := <-r.ended; err != nil {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("the end took %v", took)
				}
				got := <-rest
				if waited := strings.Contains(text, "/generate"); waited != strings.HasSuffix(got, `{"detail":"The server is stopping"}`) {
					t.Errorf("answer: %q", got)
				}
			})
		})
	}
}

// A computation goes on while a reader stands still beside it, a download that goes on has the time of the drain, and
// no more.
func TestDrainBesideDownloads(t *testing.T) {
	for name, slow := range map[string]time.Duration{"in time": 200 * time.Millisecond, "too slow": 900 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 2 << 20
				l := newPipes()
				r := runOn(t, l, nil)
				synctest.Wait()
				open := gate(r.base)
				computed, stopped, reading := l.dial(t), l.dial(t), l.dial(t)
				send(t, computed, post("/generate", `{"prompt":"a"}`))
				id := r.big(t, size)
				send(t, stopped, "GET /download/"+id+" HTTP/1.1\r\nHost: x\r\n\r\n")
				send(t, reading, "GET /download/"+id+" HTTP/1.1\r\nHost: x\r\n\r\n")
				got := make(chan int)
				go func() {
					n, part := 0, make([]byte, 20000)
					for {
						m, err := io.ReadFull(reading, part)
						if n += m; err != nil {
							got <- n
							return
						}
						time.Sleep(slow)
					}
				}()
				synctest.Wait()
				began := time.Now()
				r.end()
				time.Sleep(10 * time.Second)
				open()
				if resp, body := answer(t, bufio.NewReader(computed)); resp.StatusCode != 200 || !resp.Close {
					t.Errorf("the computation: %d %s, close %v", resp.StatusCode, body, resp.Close)
				}
				if err := <-r.ended; err != nil {
					t.Errorf("Run: %v", err)
				}
				if took := time.Since(began); took > r.config.Drain+3*time.Second || took < 20*time.Second {
					t.Errorf("the end took %v", took)
				}
				if n, whole := <-got, name == "in time"; n > size != whole {
					t.Errorf("%d bytes were read", n)
				}
			})
		})
	}
}
