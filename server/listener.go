package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// listener accepts connections, a limited number at a time. When there are more, the one that waits longest for its
// client to send a request is closed, so that clients that hold connections keep nobody out. A connection for which an
// image is computed or sent is never closed for another; their number is limited to less, so that there is always one
// that can be.
type listener struct {
	net.Listener
	max        int           // connections
	bodyTime   time.Duration // for pace bytes of a body
	answerTime time.Duration // for pace bytes of an answer
	tls        *tls.Config   // nil is plain HTTP
	log        *slog.Logger

	mu      sync.Mutex
	open    map[*conn]bool // each with whether it works
	working int
	ending  bool
}

func (s *Server) listener(l net.Listener) *listener {
	c := s.config
	return &listener{
		Listener: l, max: c.Connections, bodyTime: c.BodyTimeout, answerTime: c.SendTimeout, tls: s.tls, log: c.Log, open: map[*conn]bool{},
	}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err == nil {
			return l.add(accepted), nil
		}
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || !l.closeIdlest() {
			return nil, err
		}
	}
}

// socketBuffer is how many bytes the system keeps of what a connection sends, and of what it is sent. Left alone, the
// system gives megabytes of its memory to a client that reads nothing, and the server fills them.
const socketBuffer = 256 << 10

func (l *listener) add(accepted net.Conn) *conn {
	if tcp, ok := accepted.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer) // without the limit a connection works all the same
		_ = tcp.SetReadBuffer(socketBuffer)
	}
	c := &conn{Conn: accepted, raw: accepted, owner: l, begins: time.Now(), framing: newFraming()}
	if l.tls != nil {
		c.Conn, c.secure = tls.Server(accepted, l.tls), true
	}
	c.changed.L = &c.mu
	for l.count() >= l.max && l.closeIdlest() {
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = false
	c.ending, c.answerTime = l.ending, l.answerTime
	return c
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// closeIdlest closes the connection that waits longest for a request, and tells whether there was one.
func (l *listener) closeIdlest() bool {
	l.mu.Lock()
	var idlest *conn
	for c, working := range l.open {
		if !working && (idlest == nil || c.begins.Before(idlest.begins)) {
			idlest = c
		}
	}
	l.mu.Unlock()
	if idlest == nil {
		return false
	}
	idlest.drop() // as good as closed by its client
	return true
}

// claim lets a connection work, unless too many do.
func (l *listener) claim(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	working, open := l.open[c]
	if !open || working {
		return true // a closed one has no request that anybody waits for; its context tells
	}
	if l.working >= mostAtWork(l.max) {
		return false
	}
	l.working++
	l.open[c] = true
	c.setWorking(true)
	return true
}

// rest notes that a connection's request is answered.
func (l *listener) rest(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.begins = time.Now()
	if l.open[c] {
		l.working--
		l.open[c] = false
		c.setWorking(false)
	}
}

func (l *listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[c] {
		l.working--
	}
	delete(l.open, c)
}

// drain ends every connection that waits for its client to send something, now and from now on. Those whose client
// takes nothing of an answer for answerTime end too.
func (l *listener) drain(answerTime time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending, l.answerTime = true, answerTime
	for c := range l.open {
		c.drain(answerTime)
	}
}

// finish ends every connection whose answers are not out at t.
func (l *listener) finish(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.finish(t)
	}
}

// connContext and connState are hooks of [http.Server].
func connContext(ctx context.Context, c net.Conn) context.Context { return c.(*conn).context(ctx) }

func (l *listener) connState(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		l.rest(c.(*conn))
	}
}

// Files that a server needs beside those of its connections, and the least number of connections that it has whatever
// the limit.
const (
	otherFiles     = 64
	leastConns     = 16
	ordinaryConns  = 1024
	filesOfAnother = 2 // a connection, and the image that it is sent
)

// mostAtWork is for how many of some connections an image may be computed or sent.
func mostAtWork(connections int) int { return connections - max(1, connections/8) }

// connections is how many may be open: enough for all who wait for an image and as many others, within what files the
// process may have.
func connections(files uint64, waiting int) int {
	wanted := max(ordinaryConns, 2*waiting)
	possible := max(leastConns, (int64(min(files, 1<<30))-otherFiles)/filesOfAnother)
	return int(min(int64(wanted), possible))
}
