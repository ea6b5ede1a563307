package driver

import (
	"errors"
	"time"
	"unsafe"
)

// Event marks a place in a stream.
type Event struct {
	context *Context
	handle  uintptr
}

// Flags of cuEventCreate.
const (
	eventBlockingSync  = 1
	eventDisableTiming = 2
)

// NewEvent returns an event. One with timing can be measured by Since; one without costs less to record and to wait for.
func (c *Context) NewEvent(timing bool) (*Event, error) {
	flags := uintptr(eventBlockingSync | eventDisableTiming)
	if timing {
		flags = eventBlockingSync
	}
	e := &Event{context: c}
	if err := c.call(cuEventCreate, uintptr(unsafe.Pointer(&e.handle)), flags); err != nil {
		return nil, err
	}
	return e, nil
}

// Close destroys the event. Not for concurrent use; closing twice is harmless.
func (e *Event) Close() error {
	h := e.handle
	e.handle = 0
	return e.context.release(cuEventDestroy, h)
}

// Synchronize waits until the work that e was recorded after is done; at once if it never was recorded. The thread sleeps.
func (e *Event) Synchronize() error { return e.context.call(cuEventSynchronize, e.handle) }

// Query reports whether the work that e was recorded after is done, without waiting.
func (e *Event) Query() (done bool, err error) {
	err = e.context.call(cuEventQuery, e.handle)
	if errors.Is(err, NotReady) {
		return false, nil
	}
	return err == nil, err
}

// Since is the device time from start to e, with a resolution of about 0.5 µs. Both were made with timing and are done.
func (e *Event) Since(start *Event) (time.Duration, error) {
	var ms float32
	if err := e.context.call(cuEventElapsedTime, uintptr(unsafe.Pointer(&ms)), start.handle, e.handle); err != nil {
		return 0, err
	}
	return time.Duration(float64(ms) * float64(time.Millisecond)), nil
}
