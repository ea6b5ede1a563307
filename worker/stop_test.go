package worker

import (
	"context"
	"errors"
	"testing"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// A job that is interrupted ends with what its engine has; the next one is not concerned.
func TestInterrupted(t *testing.T) {
	begun := make(chan struct{})
	r := newRig(t, 1, func(_ int, ctx context.Context, r sdxl.Request) error {
		if r.Prompt != "first" {
			return nil
		}
		close(begun)
		select {
		case <-r.Stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	first, second := r.submit(t, "first"), r.submit(t, "second")
	<-begun
	if _, err := r.queue.Interrupt(second); !errors.Is(err, job.ErrNotRunning) {
		t.Errorf("%v", err)
	}
	if _, err := r.queue.Interrupt(first); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{first, second} {
		if j := r.end(t, id); j.State != job.Done || len(j.Outputs) != 1 {
			t.Errorf("%+v, %v", j, j.Error)
		}
	}
}
