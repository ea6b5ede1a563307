package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// A job goes from card to card until one has the memory, however many have not: that costs it no attempt.
func TestManyTooSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 6, func(device int, _ context.Context, _ sdxl.Request) error {
			if device != 5 {
				return fmt.Errorf("unet: %w", &kernels.MemoryError{Needed: 3 << 30, Allowed: 1 << 30})
			}
			return nil
		})
		synctest.Wait()
		if j := r.end(t, r.submit(t, "a")); j.State != job.Done || j.Attempts != 1 {
			t.Errorf("%s by attempt %d, %v", j.State, j.Attempts, j.Error)
		}
	})
}

// A job that is too large for every card of the pool waits for others that may have the memory, and is not tried here
// again; once there are none, it fails with the figures.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(int, context.Context, sdxl.Request) error {
			return fmt.Errorf("unet: %w", &kernels.MemoryError{Needed: 3 << 30, Allowed: 1 << 30})
		})
		var others atomic.Bool
		others.Store(true)
		r.config.Elsewhere = func(*job.Job) bool { return others.Load() }
		synctest.Wait()
		waits := func(id string) {
			t.Helper()
			for range 3 {
				time.Sleep(time.Minute)
				r.Check()
			}
			synctest.Wait()
			if j, _, err := r.queue.Job(id); err != nil || j.State != job.Interrupted || j.Attempts != 0 || r.calls(0)+r.calls(1) != 2 {
				t.Errorf("%s, attempt %d, %d computations, %v", j.State, j.Attempts, r.calls(0)+r.calls(1), err)
			}
		}
		first := r.submit(t, "a")
		waits(first)
		l, err := r.queue.Take(t.Context(), job.Taker{Name: "a larger card"})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Done(nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		r.Check()
		if len(r.refusals) != 0 {
			t.Errorf("the pool remembers %v", r.refusals)
		}
		for i := range 2 {
			r.mu.Lock()
			r.engines[i][0].calls.Store(0)
			r.mu.Unlock()
		}
		second := r.submit(t, "a")
		waits(second)
		others.Store(false)
		r.Check()
		if j := r.end(t, second); j.State != job.Failed || j.Error.Kind != KindTooLarge || r.calls(0)+r.calls(1) != 2 {
			t.Errorf("%s, %v, %d computations", j.State, j.Error, r.calls(0)+r.calls(1))
		}
	})
}
