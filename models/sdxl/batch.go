package sdxl

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/goxl/goxl/internal/contexts"
	"github.com/goxl/goxl/kernels"
)

// BatchRequest is one of the requests that [Model.GenerateBatch] computes together.
type BatchRequest struct {
	Context context.Context // ends this request, not the others
	Request Request
	// Done is called once, with what Generate would return, by the goroutine that computes the batch. It must not call a
	// model of the host.
	Done func(*Result, error)
}

// GenerateBatch makes the images of several requests and evaluates the UNet for all of them at once, where they have
// the same size, steps, scheduler, guidance, PAG, FreeU, adapters and number of images; prompts, seeds, images to begin
// with and micro-conditioning may differ. Requests that do not go together, and those with OnStep, Taps, Controls or
// T2IAdapters, are computed one after the other. So are those for which there is no memory together: halves of the batch
// are tried first.
//
// A request has its own text encoding, noise and decoding, and its context, its errors and its callbacks are its own:
// Progress and Preview are called after each step of the batch, OnComputed once the request's own last image is
// computed. When its context ends, the others go on without it. On a CPU its result is what Generate gives, bit for bit;
// on a card it may differ in the last bits, as kernels are chosen by the size of the batch. It holds the right to
// compute until the last request is done.
func (m *Model) GenerateBatch(requests []BatchRequest) {
	var all []context.Context
	for _, q := range requests {
		all = append(all, q.Context)
	}
	ctx, stop := contexts.WhileAny(all...)
	defer stop()
	slot, err := m.host.acquire(ctx)
	if err != nil {
		for _, q := range requests {
			q.Done(nil, q.because(err))
		}
		return
	}
	defer slot.release()
	if requests = m.generateApart(ctx, requests, slot); len(requests) == 0 {
		return
	}
	b := &batch{m: m, ctx: ctx, slot: slot}
	defer b.close()
	for i := range requests {
		q := &requests[i]
		run, err := m.prepare(q.Context, q.Request, nil)
		if err != nil {
			q.Done(nil, q.because(err))
			continue
		}
		b.waiting = append(b.waiting, &member{Run: run, own: q})
	}
	for len(b.waiting) > 0 {
		first := b.waiting[0]
		var group []*member
		b.waiting = slices.DeleteFunc(b.waiting, func(other *member) bool {
			joins := other == first || first.joins(other.Run)
			if joins {
				group = append(group, other)
			}
			return joins
		})
		b.group = append(b.group, group...)
		b.admit(group)
	}
}

// because is the error of a request, whose own context says why it ended.
func (q *BatchRequest) because(err error) error {
	if own := q.Context.Err(); own != nil {
		return own
	}
	return err
}

// member is a request of a batch.
type member struct {
	*Run
	own *BatchRequest
}

// batch is a call of GenerateBatch.
type batch struct {
	m       *Model
	ctx     context.Context // ends when those of all requests have
	slot    *slot
	waiting []*member // prepared, and of no group yet
	group   []*member // of groups, not done
}

// close ends the runs that a panic of a callback has left.
func (b *batch) close() {
	for _, r := range append(b.group, b.waiting...) {
		r.Close()
	}
}

// done ends a request.
func (b *batch) done(r *member, result *Result, err error) {
	r.Close()
	b.group = slices.DeleteFunc(b.group, func(other *member) bool { return other == r })
	if err != nil {
		result, err = nil, r.own.because(err)
	}
	r.own.Done(result, err)
}

// joins reports whether the steps of two runs are the same for all that a program of both takes once.
func (r *Run) joins(other *Run) bool {
	a, b := r.q, other.q
	return r.shape == other.shape && r.unet == other.unet && r.adapters == other.adapters &&
		!a.request.stepsAlone() && !b.request.stepsAlone() && samePreviews(a.request.Preview, b.request.Preview) &&
		a.Guidance == b.Guidance && slices.Equal(a.guidance, b.guidance) && a.GuidanceRescale == b.GuidanceRescale &&
		a.PAGScale == b.PAGScale && a.PAGAdaptiveScale == b.PAGAdaptiveScale && reflect.DeepEqual(a.FreeU, b.FreeU) &&
		a.Interrupt == b.Interrupt && slices.Equal(r.conditioning.weights, other.conditioning.weights) &&
		len(r.noise.generators) == len(other.noise.generators) && len(r.noise.paths) == len(other.noise.paths) &&
		reflect.DeepEqual(a.schedule, b.schedule)
}

// stepsAlone reports whether a request sees or changes what the UNet computes at a step.
func (r *Request) stepsAlone() bool {
	return r.OnStep != nil || !reflect.ValueOf(r.Taps).IsZero() || len(r.Controls) > 0 || len(r.T2IAdapters) > 0
}

func samePreviews(a, b *Preview) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Every == b.Every && a.before == b.before
}

// admit computes a group, or its halves where there is no memory for all of it at once.
func (b *batch) admit(group []*member) {
	if len(group) == 1 {
		b.alone(group[0])
		return
	}
	all := join(group)
	err := all.admit(b.ctx)
	if errors.Is(err, kernels.ErrMemory) {
		b.m.options.Log.Info("a batch is computed in halves for want of memory", "requests", len(group), "error", err)
		half := len(group) / 2
		b.admit(group[:half])
		b.admit(group[half:])
		return
	}
	var begun []*member
	for _, r := range group {
		own := err
		if own == nil {
			own = r.begin(r.own.Context)
		}
		if own != nil {
			b.done(r, nil, own)
			continue
		}
		begun = append(begun, r)
	}
	b.compute(begun)
}

// compute takes the steps of members, all at the same one, and finishes them.
func (b *batch) compute(group []*member) {
	for len(group) > 1 {
		err := b.together(group)
		switch {
		case b.ctx.Err() != nil:
		case errors.Is(err, kernels.ErrNotFinite), errors.Is(err, kernels.ErrMemory):
			// Only what a member computes alone tells whose numbers these are.
			b.m.options.Log.Info("the requests of a batch are computed one after the other", "requests", len(group), "error", err)
			for _, r := range group {
				r.restart()
				b.alone(r)
			}
			return
		}
		stay := group[:0:0]
		for _, r := range group {
			switch {
			case err != nil:
				b.done(r, nil, err)
			case r.own.Context.Err() != nil:
				b.done(r, nil, r.own.Context.Err())
			case r.Next():
				stay = append(stay, r)
			default:
				b.finish(r)
			}
		}
		group = stay
	}
	if len(group) == 1 {
		b.alone(group[0])
	}
}

// together takes steps until a member leaves: its context has ended, or it has no step left.
func (b *batch) together(group []*member) error {
	all := join(group)
	if err := all.preparePreviews(b.ctx); err != nil {
		return err
	}
	for !slices.ContainsFunc(group, func(r *member) bool { return r.own.Context.Err() != nil || !r.Next() }) {
		if _, err := all.step(b.ctx); err != nil {
			return err
		}
		for _, r := range group {
			r.next, r.at, r.pace = all.next, all.at, all.pace
		}
	}
	return all.split(b.ctx)
}

// alone computes a member from where it stands. One that has not begun is admitted first.
func (b *batch) alone(r *member) {
	ctx := r.own.Context
	err := r.Run.admit(ctx)
	if err == nil && r.x == nil {
		err = r.begin(ctx)
	}
	if err == nil {
		err = r.steps(ctx, b.slot)
	}
	if err != nil {
		b.done(r, nil, err)
		return
	}
	b.finish(r)
}

// finish decodes a member's images. After the last one's the device is free.
func (b *batch) finish(r *member) {
	held := &slot{}
	if len(b.group) == 1 && len(b.waiting) == 0 {
		held = b.slot
	}
	result, err := r.Run.finish(r.own.Context, held)
	b.done(r, result, err)
}
