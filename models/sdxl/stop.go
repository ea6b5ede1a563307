package sdxl

import (
	"context"
	"slices"
)

// Interruption is where a run ended that had steps left.
type Interruption struct {
	StepsDone int `json:"steps_done"` // of Steps
	Steps     int `json:"steps"`      // that would have been taken; with a strength below 1 fewer than num_inference_steps
}

// keepsX0 reports whether steps keep x0 beside the latents.
func (q *resolved) keepsX0() bool { return q.request.Preview != nil || q.request.Stop != nil }

// mayStop reports whether the request's Stop is closed.
func (q *resolved) mayStop() bool {
	select {
	case <-q.request.Stop:
		return true
	default:
		return false
	}
}

// cut reports whether the run ends early, by Interrupt, ErrInterrupt or Stop.
func (r *Run) cut() bool {
	r.lookAtStop()
	n := r.q.Interrupt
	return r.interrupted || r.stopped || n > 0 && r.next >= n*r.q.order()
}

// lookAtStop ends the run where Stop is closed, after a whole step and before the last one.
func (r *Run) lookAtStop() {
	if r.next > 0 && r.next < len(r.q.schedule.Steps) && r.next%r.q.order() == 0 && r.q.mayStop() {
		r.stopped = true
	}
}

// interruption is where a run ended that has steps left, nil of another.
func (r *Run) interruption() *Interruption {
	if !r.cut() || r.next >= len(r.q.schedule.Steps) {
		return nil
	}
	return &Interruption{r.next / r.q.order(), r.q.steps()}
}

// finalLatents are those that are decoded: after Stop x0, which the UNet predicted at the last step.
func (r *Run) finalLatents(ctx context.Context) (*Tensor, error) {
	x, err := r.latents(ctx) // also where x0 is wanted: steps that overflowed are computed again
	if err != nil || !r.stopped {
		return x, err
	}
	if !r.live() {
		return channelsFirst(r.latentShape(), r.holdClean(slices.Clone(r.history[r.q.schedule.History]))), nil
	}
	data := make([]float32, r.elements())
	if err := r.program.Floats(ctx, r.x0Name(), data); err != nil {
		return nil, err
	}
	return channelsFirst(r.latentShape(), r.holdClean(data)), nil
}
