package remote

import (
	"errors"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// A job that is interrupted ends at its worker with what there is, also where that had not heard of the job yet.
func TestInterrupt(t *testing.T) {
	b := newBroker(t)
	f := newFront(t, b)
	newHand(t, b, handOptions{name: "one", engine: &sleeper{step: func(j engine.Job) error {
		j.Request.Progress(sdxl.Progress{Step: 1, Steps: 7})
		select {
		case <-j.Request.Stop:
			return nil
		case <-time.After(time.Minute):
			return errors.New("nobody stops it")
		}
	}}})
	for _, steps := range []int{7, 0} { // known when it is interrupted
		id := f.submit(nil)
		f.until(id, "running", func(j job.Job, live job.Live) bool { return j.State == job.Running && live.Steps >= steps })
		if j, err := f.queue.Interrupt(id); err != nil || j.State != job.Running {
			t.Fatalf("%+v, %v", j, err)
		}
		if j := f.done(id); j.Attempts != 1 {
			t.Errorf("%+v", j)
		}
	}
}
