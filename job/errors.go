package job

import (
	"errors"
	"fmt"
	"time"
)

// These errors can be returned when a job is asked for.
var (
	// ErrUnknown says that no job has the id.
	ErrUnknown = errors.New("job: no job has this id")

	// ErrExpired says that a job was there, and was removed when its time was over.
	ErrExpired = errors.New("job: the job has expired")

	// ErrNotRunning says that there is nothing yet of a job that could be its result.
	ErrNotRunning = errors.New("job: the job is not being computed")

	// ErrNotEnded refuses to remove a job that is still to be computed.
	ErrNotEnded = errors.New("job: the job has not ended")
)

// These errors can be returned when a job is submitted.
var (
	// ErrKeyReused says that the owner's key came before, with another body.
	ErrKeyReused = errors.New("job: the Idempotency-Key was used before with another request")

	// ErrClosed says that the queue takes no jobs any more, or gives none.
	ErrClosed = errors.New("job: the queue is closed")
)

// ErrCancelled is the cause that the context of a cancelled job's lease ends with, and what a lease says that has lost
// its job that way.
var ErrCancelled = errors.New("job: the job was cancelled")

// ErrLeaseEnded says that a lease was ended before.
var ErrLeaseEnded = errors.New("job: the lease has ended")

// FullError says that as many jobs wait as may.
type FullError struct {
	Owner string        // whose jobs are too many; "" where it is those of all
	Limit int           // jobs that may wait
	Retry time.Duration // until one of them is likely to be taken; 0 where that is unknown
}

func (e *FullError) Error() string {
	if e.Owner != "" {
		return fmt.Sprintf("job: %d jobs of %s wait: allowed: at most %d", e.Limit, e.Owner, e.Limit)
	}
	return fmt.Sprintf("job: the queue is full: %d jobs may wait", e.Limit)
}

// DamagedError says that a record, or the file of the journal, is not as it was written.
type DamagedError struct {
	Path string // the journal's file
	ID   string // of the job; "" where it is the file
	Err  error  // what is wrong
}

func (e *DamagedError) Error() string {
	if e.ID != "" {
		return fmt.Sprintf("job: the record of job %s in %s is damaged: %v", e.ID, e.Path, e.Err)
	}
	return fmt.Sprintf("job: the journal %s is damaged: %v; move it away to start with an empty one", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }
