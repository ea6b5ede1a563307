package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
)

// pipes is a listener whose connections are in memory, so that they live in the time of a test's bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial opens a connection. A read or write that is still blocked on it after a day ends with an error, so that a hang
// fails the test.
func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	p.conns <- server
	if err := client.SetDeadline(time.Now().Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// inMemory runs a server on pipes in a bubble of its own. At the end of test it must drain without an error.
func inMemory(t *testing.T, change func(*Config), test func(t *testing.T, r *running, l *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := runOn(t, l, change)
		synctest.Wait()
		defer func() {
			if t.Failed() {
				r.Stop() // what still goes on must not hang the test
			}
			r.end()
			if err := <-r.ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		test(t, r, l)
	})
}

// send writes a request, or a part of one.
func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer with its body.
func answer(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// ends reads what is left and tells how long that took until the server closed the connection.
func ends(t *testing.T, r io.Reader) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("the server did not close the connection: %v", err)
	}
	return time.Since(began)
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// big puts an image's file of n bytes among the images, and gives its id. They are no PNG's, which a download does not
// look at.
func (b *bench) big(t *testing.T, n int) string {
	t.Helper()
	fresh, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	data := strings.Repeat("0123456789abcdef", (n+15)/16)[:n]
	if err := os.WriteFile(filepath.Join(b.images, fresh+".png"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return fresh
}

var errHeld = errors.New("held")

// held makes an engine compute until its context ends, and tells of each beginning and end.
func held(e *fakeEngine) (began, stopped chan struct{}) {
	began, stopped = make(chan struct{}, 100), make(chan struct{}, 100)
	e.run = func(ctx context.Context, _ sdxl.Request) error {
		began <- struct{}{}
		<-ctx.Done()
		stopped <- struct{}{}
		return errors.Join(errHeld, ctx.Err())
	}
	return began, stopped
}
