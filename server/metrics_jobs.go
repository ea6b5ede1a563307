package server

import (
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// observe counts what becomes of jobs. The queue calls it, locked.
func (m *metrics) observe(j *job.Job, e job.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.known[j.ID]
	switch {
	case e.Kind == job.KindStep && p != nil:
		if p.last.IsZero() {
			p.first = e.Time
		} else {
			m.steps.WithLabelValues(p.model).Observe(e.Time.Sub(p.last).Seconds())
		}
		p.last = e.Time
	case e.Kind != job.KindState || p != nil && p.state == e.State: // another position is no other state
	default:
		m.enter(j, e, p)
	}
}

// enter counts a job that has got another state, or is new.
func (m *metrics) enter(j *job.Job, e job.Event, p *progress) {
	if p == nil {
		p = &progress{model: j.Model, since: j.Created}
		m.known[j.ID] = p
		for _, s := range []job.State{job.Done, job.Failed, job.Cancelled} {
			m.ended.WithLabelValues(string(s), j.Model, j.API)
		}
		if m.takenUp {
			m.submitted.WithLabelValues(j.Model, j.API).Inc()
		}
	} else {
		m.jobs.WithLabelValues(string(p.state)).Dec()
	}
	switch {
	case e.State.Ended():
		delete(m.known, j.ID)
		if e.State == job.Done { // wherever it was computed
			m.images.WithLabelValues(j.Model).Add(float64(len(j.Outputs)))
		}
		m.ended.WithLabelValues(string(e.State), j.Model, j.API).Inc()
		m.duration.WithLabelValues(string(e.State)).Observe(j.Ended.Sub(j.Created).Seconds())
		return
	case e.State == job.Running:
		p.attempts = j.Attempts
		m.wait.Observe(e.Time.Sub(p.since).Seconds())
	case e.State == job.Interrupted && e.Error != nil && ranBefore(j, p, e.Error):
		m.retries.WithLabelValues(e.Error.Kind).Inc()
	}
	if p.state != "" || e.State == job.Interrupted { // else it waits since it was accepted
		p.since = e.Time
	}
	p.state, p.first, p.last = e.State, time.Time{}, time.Time{}
	m.jobs.WithLabelValues(string(e.State)).Inc()
}

// ranBefore reports whether a job that is Interrupted has had an attempt that counts since this process knows it: one
// that a taker gave back as not its own, or that the end of the server cut off, does not count. Of what a former process
// left, only what died with it has not been counted by that.
func ranBefore(j *job.Job, p *progress, why *job.Error) bool {
	if p.state == "" {
		return why.Kind == job.KindProcessDied
	}
	return j.Attempts >= p.attempts
}

// kept counts the time that the stages of an attempt took. The worker calls it before the job is done.
func (m *metrics) kept(a worker.Attempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.known[a.Job]
	if p == nil { // cancelled meanwhile
		return
	}
	stage := func(name string, from, to time.Time) {
		m.stages.WithLabelValues(name).Observe(max(0, to.Sub(from)).Seconds())
	}
	if !p.last.IsZero() {
		stage("prepare", p.since, p.first)
		stage("denoise", p.first, p.last)
		stage("decode", p.last, a.Computed)
	}
	stage("encode", a.Computed, a.Kept)
}

// batched counts the jobs of a computation.
func (m *metrics) batched(device string, jobs int) {
	m.batches.WithLabelValues(device).Observe(float64(jobs))
}

// openedJobs notes that the jobs of a former process are known.
func (m *metrics) openedJobs() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.takenUp = true
}
