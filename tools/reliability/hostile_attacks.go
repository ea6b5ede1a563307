package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// attack is a way to hold a connection. hold returns when the server has closed it, or ctx has ended, which closes it.
type attack struct {
	name        string
	connections int
	keepsDevice bool // it has the device compute, so that others can have no images meanwhile
	hold        func(ctx context.Context, h *hostile, c *net.TCPConn, random *rand.Rand) error
}

const (
	hostLine = "Host: 127.0.0.1\r\n"
	jsonLine = "Content-Type: application/json\r\n"
)

// attacks are all of them.
func (h *hostile) attacks() []attack {
	few := max(1, h.held/25) // of those that send megabytes
	return []attack{
		{"nothing is sent", h.held, false, sends("")},
		{"more connections than are kept", h.flood, false, sends("")},
		{"idle after a request", h.held, false, sends("GET /healthz HTTP/1.1\r\n" + hostLine + "\r\n")},
		{"header byte by byte", h.held, false, drips("GET /v1/queue HTTP/1.1\r\n" + hostLine + "X-Slow: ")},
		{"body byte by byte", h.held, false, drips("POST /v1/jobs HTTP/1.1\r\n" + hostLine + jsonLine + "Content-Length: 60000\r\n\r\n{")},
		{"chunks byte by byte", h.held, false, drips("POST /v1/jobs HTTP/1.1\r\n" + hostLine + jsonLine + "Transfer-Encoding: chunked\r\n\r\nea60\r\n")},
		{"large bodies that stop", h.held, false,
			sends("POST /v1/images HTTP/1.1\r\n" + hostLine + "Content-Type: image/png\r\nContent-Length: 60000000\r\n\r\n" + strings.Repeat("a", 100<<10))},
		{"a length of 1 TiB", h.held, false, sends("POST /v1/jobs HTTP/1.1\r\n" + hostLine + jsonLine + "Content-Length: 1099511627776\r\n\r\n{")},
		{"a download that is not read", h.held, false, unread(func(context.Context, *hostile) (string, error) { return "/download/" + h.large, nil })},
		{"events that are not read", h.held, true, unread(func(ctx context.Context, h *hostile) (string, error) {
			id, err := h.job.get(ctx)
			return "/v1/jobs/" + id + "/events", err
		})},
		{"half-closed events", h.held, true, func(ctx context.Context, h *hostile, c *net.TCPConn, _ *rand.Rand) error {
			id, err := h.job.get(ctx)
			if err == nil {
				_, err = fmt.Fprintf(c, "GET /v1/jobs/%s/events HTTP/1.1\r\n%s\r\n", id, hostLine)
			}
			if err == nil {
				err = c.CloseWrite()
			}
			if err != nil {
				return err
			}
			return drain(c)
		}},
		{"requests without end, answers not read", h.held / 5, false, func(ctx context.Context, _ *hostile, c *net.TCPConn, _ *rand.Rand) error {
			requests := []byte(strings.Repeat("GET /healthz HTTP/1.1\r\n"+hostLine+"\r\n", 100))
			for ctx.Err() == nil {
				if _, err := c.Write(requests); err != nil {
					return err
				}
			}
			return nil
		}},
		{"headers of 10 MB", few, false, sends("GET /healthz HTTP/1.1\r\n" + hostLine + "X-Large: " + strings.Repeat("a", 10<<20) + "\r\n\r\n")},
		{"100,000 header lines", few, false, sends("GET /healthz HTTP/1.1\r\n" + hostLine + strings.Repeat("X-Many: a\r\n", 100000) + "\r\n")},
		{"images that are left", few, false, func(ctx context.Context, h *hostile, c *net.TCPConn, random *rand.Rand) error {
			body := fmt.Sprintf(`{"prompt": "a", "width": %d, "height": %d, "num_inference_steps": 20}`, h.s.size, h.s.size)
			if _, err := fmt.Fprintf(c, "POST /generate HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", hostLine, jsonLine, len(body), body); err != nil {
				return err
			}
			sleep(ctx, time.Duration(random.IntN(100))*time.Millisecond)
			return c.SetLinger(0) // and Close resets it
		}},
		{"no HTTP", h.held, false, func(_ context.Context, _ *hostile, c *net.TCPConn, random *rand.Rand) error {
			data := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
			for len(data) < 500 {
				data = append(data, byte(random.Uint32()))
			}
			if _, err := c.Write(data); err != nil {
				return err
			}
			return drain(c)
		}},
	}
}

// sends sends a text, and reads until the server closes.
func sends(text string) func(context.Context, *hostile, *net.TCPConn, *rand.Rand) error {
	return func(_ context.Context, _ *hostile, c *net.TCPConn, _ *rand.Rand) error {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		return drain(c)
	}
}

func drain(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// drips sends a text, and then a byte now and then.
func drips(text string) func(context.Context, *hostile, *net.TCPConn, *rand.Rand) error {
	return func(ctx context.Context, _ *hostile, c *net.TCPConn, random *rand.Rand) error {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		for ctx.Err() == nil {
			sleep(ctx, time.Duration(300+random.IntN(400))*time.Millisecond)
			if _, err := c.Write([]byte("a")); err != nil {
				return err
			}
		}
		return nil
	}
}

// unread asks for something and reads nothing of it.
func unread(path func(context.Context, *hostile) (string, error)) func(context.Context, *hostile, *net.TCPConn, *rand.Rand) error {
	return func(ctx context.Context, h *hostile, c *net.TCPConn, _ *rand.Rand) error {
		of, err := path(ctx, h)
		if err != nil {
			return err
		}
		if err := c.SetReadBuffer(2048); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\n%s\r\n", of, hostLine); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
}

// longJob is a job with previews that goes on for a while. Its methods may be called at the same time.
type longJob struct {
	l  *load
	mu sync.Mutex
	id string
}

// get is a job that has not ended.
func (j *longJob) get(ctx context.Context) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.id != "" {
		if of, status, err := j.l.c.job(ctx, j.id); err != nil || status == 200 && !of.ended() {
			return j.id, err
		}
	}
	a, err := j.l.c.post(ctx, "/v1/jobs", map[string]any{
		"prompt": "a", "width": 4 * j.l.s.size, "height": 4 * j.l.s.size, "num_inference_steps": 150, "preview_every": 1,
	})
	if err != nil {
		return "", err
	}
	var of jobRecord
	if a.status != 202 || a.object(&of) != nil {
		return "", fmt.Errorf("a long job was answered %s", a)
	}
	j.id = of.ID
	return j.id, nil
}

// cancel ends it, if there is one.
func (j *longJob) cancel(ctx context.Context) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.id != "" {
		// One that has ended is left as it is; an error shows when the next image is asked for.
		_, _ = j.l.c.do(ctx, request{method: "DELETE", path: "/v1/jobs/" + j.id})
		j.id = ""
	}
	j.l.c.close()
}
