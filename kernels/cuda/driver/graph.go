package driver

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

// Graph is recorded work. It holds the addresses and arguments that the work had when it was recorded.
type Graph struct {
	context *Context
	handle  uintptr
}

// captureThreadLocal forbids this thread, and no other, what cannot be captured (allocating, synchronising) while it captures.
const captureThreadLocal = 1

// Capture records the work that record queues on the stream, and on streams that fork from it and join it by events, as a graph;
// nothing runs. The goroutine stays on its thread meanwhile, so record must not queue work from another goroutine. After an error
// of record, or of the capture that it invalidated, the stream is usable.
func (s *Stream) Capture(record func() error) (graph *Graph, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.context.call(cuStreamBeginCapture, s.handle, captureThreadLocal); err != nil {
		return nil, err
	}
	recorded := false
	defer func() {
		// Ends the capture after a panic too.
		g := &Graph{context: s.context}
		end := s.context.call(cuStreamEndCapture, s.handle, uintptr(unsafe.Pointer(&g.handle)))
		if !recorded || err != nil || end != nil {
			g.Close()
			graph, err = nil, errors.Join(err, end)
			return
		}
		graph = g
	}()
	err = record()
	recorded = true
	return nil, err
}

// Close destroys the graph; what was instantiated from it stays. Not for concurrent use; closing twice is harmless.
func (g *Graph) Close() error {
	h := g.handle
	g.handle = 0
	return g.context.release(cuGraphDestroy, h)
}

// GraphExec is a graph made ready for a device: a single launch starts all of its work.
type GraphExec struct {
	context *Context
	handle  uintptr
}

// instantiation holds the outputs of cuGraphInstantiate_v2 in one object, so that one pointer keeps all of them alive.
type instantiation struct {
	node uintptr
	log  [4 << 10]byte
}

// Instantiate makes the graph ready. The graph may be closed afterwards.
func (g *Graph) Instantiate() (*GraphExec, error) {
	x := &GraphExec{context: g.context}
	i := new(instantiation)
	err := g.context.call(cuGraphInstantiate, uintptr(unsafe.Pointer(&x.handle)), g.handle, uintptr(unsafe.Pointer(&i.node)),
		uintptr(unsafe.Pointer(&i.log)), uintptr(len(i.log)))
	if err == nil {
		return x, nil
	}
	if text := strings.TrimRight(string(i.log[:]), "\x00"); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return nil, g.context.outOfMemory(err, cuGraphInstantiate, 0)
}

// Launch queues the graph. One instance never runs beside itself: a second launch waits for the first.
func (x *GraphExec) Launch(s *Stream) error {
	if err := s.context.call(cuGraphLaunch, x.handle, s.handle); err != nil {
		return s.context.outOfMemory(err, cuGraphLaunch, 0)
	}
	return nil
}

// Close destroys the instance. Not for concurrent use; closing twice is harmless.
func (x *GraphExec) Close() error {
	h := x.handle
	x.handle = 0
	return x.context.release(cuGraphExecDestroy, h)
}
