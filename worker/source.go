package worker

import (
	"context"
	"encoding/json"
	"image"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

// Source is where a pool's jobs come from: a [Local] queue, or one of another process. Its methods may be called at the
// same time.
type Source interface {
	// Take waits for a job, as [job.Queue.Take] does, whose errors it has.
	Take(ctx context.Context, t job.Taker) (Lease, error)
	// Ended reports whether a job that was taken once is not going to come again.
	Ended(id string) bool
}

// Lease is a job that a pool has, with the meaning of [job.Lease].
type Lease interface {
	Job() job.Job
	Context() context.Context
	Stop() <-chan struct{}
	Event(ev job.Event)
	Released()
	Blobs() Blobs // where the images of the job lie

	Done(outputs []job.Blob, parameters json.RawMessage, warnings []string) error
	Fail(why *job.Error, cause error)
	Retry(why *job.Error)
	Return(why *job.Error) // the device can't compute the job after all: another one may, and the attempt does not count
}

// Blobs are where images lie.
type Blobs interface {
	// Begin makes room for an image of at most about so many bytes, before it is computed.
	Begin(id string, t blob.Type, bytes int64) (Pending, error)
	// Load decodes an image.
	Load(id string) (image.Image, error)
	// Remove removes images that were committed for a job which was cancelled meanwhile.
	Remove(ids ...string) error
}

// Pending is an image that is not there yet. Commit or Discard ends it; Discard after that does nothing.
type Pending interface {
	Commit(data []byte) error
	Discard()
}

// Local is a queue of this process, and the folder of its images.
type Local struct {
	Queue  *job.Queue
	Images Blobs
}

// Take takes a job from the queue.
func (s Local) Take(ctx context.Context, t job.Taker) (Lease, error) {
	l, err := s.Queue.Take(ctx, t)
	if err != nil {
		return nil, err
	}
	return localLease{l, s.Images}, nil
}

// Ended reports whether a job has ended, or is not known any more.
func (s Local) Ended(id string) bool {
	j, _, err := s.Queue.Job(id)
	return err != nil || j.State.Ended()
}

type localLease struct {
	*job.Lease
	images Blobs
}

func (l localLease) Blobs() Blobs { return l.images }
