package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// pace is how many bytes must go through a connection in the time that a body or an answer has, for that time to
	// begin anew.
	pace = 16 << 10
	// maxAhead is how many bytes are taken from a client before their turn. The longest request that is answered fits.
	maxAhead = maxHeader + maxBody + 32<<10
	// readSize is how many bytes are read at once.
	readSize = 4 << 10
	// aheadTime is how long that many may wait while an image is computed or sent. A client may have all of the answer,
	// and send its next request, a moment before net/http has ended this one.
	aheadTime = time.Second
)

// conn is a client's connection.
//
// A goroutine of its own reads it, ahead of net/http. That alone shows that a client left while its request is
// computed: net/http watches a connection for one byte, and once a client has sent that, nothing looks at the
// connection any more until the request is answered.
//
// Reading a body and writing an answer have a time that each [pace] bytes begin anew, so that a peer that is slow is
// served, and one that stands still, or takes a byte now and then, is not.
type conn struct {
	net.Conn
	raw    net.Conn // what Conn speaks TLS on, or Conn itself
	secure bool     // Conn speaks TLS
	owner  *listener
	leave  context.CancelCauseFunc // ends the contexts of this connection's requests; set before anything is read
	begins time.Time               // of the wait for the request that is to come, or to be complete; owner.mu guards it

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	ahead   bytes.Buffer // was read, but not by net/http
	err     error        // why nothing more is read
	closed  bool
	mute    bool // nothing more is written, not even that the connection ends, as TLS does
	framing framing

	timer *time.Timer // of the limit of time for reading, nil for none
	late  bool        // the limit has passed
	left  int         // of pace, while a body is read; 0 else

	working    bool          // an image is computed or sent; owner.mu guards changes too
	ending     bool          // the server drains: reading has no time any more, except to see that a client leaves
	answerTime time.Duration // for pace bytes of an answer
	lastAnswer time.Time     // when all answers must be out; zero for no such time
}

type connKey struct{}

// connOf is the connection of a request, nil if it did not come by [Server.Run].
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// context is what requests of the connection have, until the client leaves. It is called once, and begins to read.
func (c *conn) context(parent context.Context) context.Context {
	ctx, leave := context.WithCancelCause(context.WithValue(parent, connKey{}, c))
	c.leave = leave
	go c.readAhead()
	return ctx
}

// readAhead reads until the connection ends.
func (c *conn) readAhead() {
	chunk := make([]byte, readSize)
	for more := true; more; {
		n, err := c.Conn.Read(chunk) // of TLS, the first one shakes hands
		if c.handshakeFailed(err) {
			err = io.EOF
		}
		more = c.took(chunk[:n], err)
	}
}

// took keeps what was read until there is room for as much again. It reports whether to go on.
func (c *conn) took(data []byte, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil { // else giveUp was faster
		c.framing.scan(data)
		c.ahead.Write(data)
		c.err = err
	}
	if err != nil {
		c.leave(nil)
	}
	c.changed.Broadcast()
	var full bool // for aheadTime
	var timer *time.Timer
	for c.err == nil && !c.closed && c.ahead.Len() > maxAhead-readSize {
		switch {
		case c.working && full:
			c.leave(&failure{kind: sentAhead})
		case c.working && timer == nil:
			timer = time.AfterFunc(aheadTime, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				full = true
				c.changed.Broadcast()
			})
			defer timer.Stop()
		}
		c.changed.Wait()
	}
	return c.err == nil && !c.closed
}

// Read gives what was read ahead, or waits for it.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.late:
			return 0, os.ErrDeadlineExceeded
		case c.ahead.Len() > 0:
			n, _ := c.ahead.Read(p) // it has no errors of its own
			if c.left > 0 {
				if c.left -= n; c.left <= 0 {
					c.left = pace
					c.limit(time.Now().Add(c.owner.bodyTime))
				}
			}
			c.changed.Broadcast()
			return n, nil
		case c.err != nil:
			return 0, c.err
		}
		c.changed.Wait()
	}
}

// SetReadDeadline limits the time of reads, as net/http asks for headers and between requests. It ends the time of a
// body.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = 0
	c.limit(t)
	return nil
}

// SetDeadline is as [conn.SetReadDeadline]: each write sets its own limit.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: each write sets its own limit.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// limit needs mu.
func (c *conn) limit(t time.Time) {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.late = false
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.timer == timer { // else it was stopped too late
			c.late = true
			c.changed.Broadcast()
		}
	})
	c.timer = timer
	if c.ending || !time.Now().Before(t) {
		c.late = true
		c.changed.Broadcast()
	}
}

// beginBody starts the time of a request's body. net/http ends it when the body has ended.
func (c *conn) beginBody() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = pace
	c.limit(time.Now().Add(c.owner.bodyTime))
}

// giveUp lets nothing more be read: what the client still sends would be taken for a request.
func (c *conn) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead.Reset()
	c.err = io.EOF
	c.changed.Broadcast()
}

// Write sends p within the time of answers.
func (c *conn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = c.limitAnswer(); err != nil {
			break
		}
		var m int
		m, err = c.Conn.Write(p[n:min(n+pace, len(p))])
		n += m
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mute = true
	}
	return n, err
}

// limitAnswer starts the time of pace bytes.
func (c *conn) limitAnswer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now().Add(c.answerTime)
	if !c.lastAnswer.IsZero() && c.lastAnswer.Before(t) {
		t = c.lastAnswer
	}
	return c.Conn.SetWriteDeadline(t)
}

// drain ends the wait for requests, headers and bodies at once, and lets answers have less time.
func (c *conn) drain(answerTime time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.answerTime = true, answerTime
	if c.timer != nil {
		c.late = true
		c.changed.Broadcast()
	}
	c.shorten(time.Now().Add(answerTime))
}

// finish gives all answers that are being written until t.
func (c *conn) finish(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastAnswer = t
	c.shorten(t)
}

// shorten limits the write that may be under way. A connection that can't be limited any more is closed; there is
// nothing to do then.
func (c *conn) shorten(t time.Time) { _ = c.Conn.SetWriteDeadline(t) }

// work notes that a request is complete and an image is computed or sent for it, until rest. It fails when that holds
// for too many connections. c may be nil.
func (c *conn) work() error {
	if c == nil || c.owner.claim(c) {
		return nil
	}
	return &failure{kind: crowded}
}

// setWorking needs owner.mu.
func (c *conn) setWorking(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working = on
	c.changed.Broadcast()
}

// faulty is as [framing.faulty]. Of a connection that is nil nothing is known: every chunked request counts.
func (c *conn) faulty(r *http.Request) bool {
	if c == nil {
		return len(r.TransferEncoding) > 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.framing.faulty(r)
}

// CloseWrite lets net/http end a connection so that the client can still read the answer.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// drop is as Close, but writes nothing to the client, which might not read it.
func (c *conn) drop() {
	c.mu.Lock()
	c.mute = true
	c.mu.Unlock()
	_ = c.Close()
}

// Close ends reading and writing.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	mute := c.mute
	c.limit(time.Time{})
	c.changed.Broadcast()
	c.mu.Unlock()
	c.owner.remove(c)
	if mute && c.secure {
		_ = c.raw.Close() // before Conn.Close, which could write then; its error tells of both
	}
	return c.Conn.Close()
}
