package worker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/goxl/goxl/job"
)

// serve computes jobs on a device until the pool ends.
func (p *Pool) serve(d *device) {
	for p.stopped.Err() == nil {
		ctx, cancel := context.WithCancel(p.stopped)
		d.mu.Lock()
		d.waits = cancel
		d.mu.Unlock()
		if cause := d.failure(); cause != nil { // asked now: a failure that comes later wakes the device
			cancel()
			p.recover(d, cause)
			continue
		}
		taker := job.Taker{ID: d, Name: d.deviceName(), Can: func(j *job.Job) bool { return p.can(d, j) }, Prefers: d.prefers}
		lease, err := p.config.Source.Take(ctx, taker)
		woken := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			p.run(d, p.joined(d, taker, lease))
		case errors.Is(err, job.ErrClosed):
			return
		case !woken:
			p.config.Log.Error("no job can be taken", d.attrs(slog.String("error", err.Error()))...)
			select {
			case <-time.After(firstPause):
			case <-p.stopped.Done():
			}
		}
	}
}

// can reports whether a device takes a job: not while it is lost, also before it is opened again. One that is too large
// for it is left to the others, while there are any, here or elsewhere.
func (p *Pool) can(d *device, j *job.Job) bool {
	if d.state() != Ready {
		return false
	}
	p.mu.Lock()
	f := p.refusals[j.ID]
	free, last := f == nil || !f.by[d.index], f != nil && p.refused(f)
	p.mu.Unlock()
	return free || last && !p.elsewhere(j)
}

// elsewhere reports whether somebody else may compute a job that is too large for every device here.
func (p *Pool) elsewhere(j *job.Job) bool { return p.config.Elsewhere != nil && p.config.Elsewhere(j) }

// refused reports whether a job is too large for every device that is not down. The caller holds mu.
func (p *Pool) refused(f *refusal) bool {
	for _, d := range p.devices {
		if !f.by[d.index] && !p.down[d.index] {
			return false
		}
	}
	return true
}

// run computes a job, or several together, and returns once the device is free. The rest goes on beside that.
func (p *Pool) run(d *device, leases []Lease) {
	b := newBatch(p, d, len(leases))
	var busy sync.WaitGroup
	for _, l := range leases {
		busy.Add(1)
		release := sync.OnceFunc(func() {
			l.Released()
			busy.Done()
		})
		m := &member{batch: b}
		p.begin()
		p.loops.Go(func() {
			defer p.finish()
			defer release()
			defer m.leave()
			p.compute(d, l, m, release)
		})
	}
	p.loops.Go(b.compute)
	busy.Wait()
}

// conclude ends a lease by what became of its attempt, and logs it.
func (p *Pool) conclude(d *device, l Lease, took durations, kept []job.Blob, c *computed, err error) {
	j := l.Job()
	attrs := append(d.attrs(slog.String("job", j.ID), slog.Int("attempt", j.Attempts)), took.attrs()...)
	if err == nil {
		if note := c.result.Parameters.PresetNote(); note != "" {
			attrs = append(attrs, slog.String("preset", note))
		}
		p.config.Log.Info("job computed", append(attrs, slog.Int("warnings", len(c.warnings)))...) // before its client learns of it
		p.config.Log.Debug("job parameters", slog.String("job", j.ID), slog.Any("warnings", c.warnings), slog.Any("parameters", c.result.Parameters))
		if err = p.done(l, kept, c); err == nil {
			p.forget(j.ID)
			return
		}
	}
	if errors.Is(err, job.ErrCancelled) || errors.Is(err, job.ErrLeaseEnded) { // the queue has recorded it
		p.forget(j.ID)
		if errors.Is(err, job.ErrCancelled) { // else another attempt may have made the images
			if rerr := l.Blobs().Remove(job.IDs(kept)...); rerr != nil {
				attrs = append(attrs, slog.String("error", rerr.Error()))
			}
		}
		p.config.Log.Info("job cancelled", attrs...)
		return
	}
	e := classify(err)
	if e.ours() { // what else happens to jobs is in the queue's log
		p.config.Log.Error("job failed by a fault of the server", append(attrs, slog.String("error", e.Error()))...)
	}
	switch {
	case e.Kind == KindStopping: // the queue is closed, which counts no attempt then
		l.Retry(e.forJob())
	case e.Kind == KindDeviceFailed:
		l.Retry(e.forJob())
		p.forgetEnded()
	case e.Kind == KindTooLarge && (p.refuse(d, j, e) || p.elsewhere(&j)):
		l.Return(e.forJob())
		p.forgetEnded()
	default:
		p.forget(j.ID)
		l.Fail(e.forJob(), e.Err)
	}
}

// refuse notes that a job is too large for a device, and reports whether another one of the pool may have the memory.
func (p *Pool) refuse(d *device, j job.Job, e *Error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.refusals[j.ID]
	if f == nil {
		f = &refusal{by: map[int]bool{}}
		p.refusals[j.ID] = f
	}
	f.by[d.index], f.last = true, e
	return !p.refused(f)
}

// tooLarge is the error of a job that no device has the memory for, nil if one may have.
func (p *Pool) tooLarge(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.refusals[id]; f != nil && p.refused(f) {
		return f.last
	}
	return nil
}

// forget drops what is remembered of a job that has ended.
func (p *Pool) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.refusals, id)
}

// forgetEnded forgets the jobs that ended while they waited for another attempt, or were not given one.
func (p *Pool) forgetEnded() {
	p.mu.Lock()
	ids := slices.Collect(maps.Keys(p.refusals))
	p.mu.Unlock()
	for _, id := range ids {
		if p.config.Source.Ended(id) {
			p.forget(id)
		}
	}
}
