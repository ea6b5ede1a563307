package engine

import "context"

// Mutex is a lock for which callers wait no longer than a context allows: who holds one that was made by NewMutex may
// use the arena that a device's programs share.
type Mutex struct{ token chan struct{} }

// NewMutex returns an unlocked mutex.
func NewMutex() Mutex { return Mutex{make(chan struct{}, 1)} }

// Lock waits for the mutex, however long that takes.
func (m Mutex) Lock() { m.token <- struct{}{} }

// LockContext waits for the mutex, or for ctx to end, whose error it returns then. A context that has ended gets no
// lock.
func (m Mutex) LockContext(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryLock takes the mutex if nobody holds it, and reports whether it did.
func (m Mutex) TryLock() bool {
	select {
	case m.token <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock gives the mutex back.
func (m Mutex) Unlock() { <-m.token }
