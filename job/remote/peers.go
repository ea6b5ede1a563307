package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goxl/goxl/job"
)

// restTime is how long a worker gets no jobs that let one wait.
const restTime = 5 * time.Second

// peer is a worker as an API sees it. API.mu guards what changes.
type peer struct {
	api    *API
	id     string
	said   announcement
	sign   time.Time       // of its last announcement
	rests  time.Time       // until when it gets no jobs
	slots  int             // goroutines that take jobs for its devices
	gone   bool            // it was dropped
	looks  context.Context // ends when the takers should look at the jobs anew
	relook context.CancelFunc
}

// onAnnouncement notes what a worker says of itself.
func (a *API) onAnnouncement(m *nats.Msg) {
	var said announcement
	if err := json.Unmarshal(m.Data, &said); err != nil || said.ID == "" {
		a.options.Log.Warn("a worker's announcement can't be read", slog.Any("error", err))
		return
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	p := a.peers[said.ID]
	if p == nil && said.Leaving && len(said.Held) == 0 {
		a.mu.Unlock()
		return
	}
	if p == nil {
		p = &peer{api: a, id: said.ID}
		p.looks, p.relook = context.WithCancel(a.ctx)
		a.peers[said.ID] = p
		a.options.Log.Info("worker", slog.String("name", said.Name), slog.Any("devices", said.Devices), slog.Any("models", said.Models), slog.String("version", said.Version))
	}
	before := p.said
	p.said, p.sign = said, time.Now()
	if !maps.Equal(before.Fingerprints, said.Fingerprints) {
		if names := a.differing(p); len(names) > 0 {
			a.options.Log.Warn("a worker has other files of models", slog.String("name", said.Name), slog.Any("models", names))
		}
	}
	unknown := a.noteHeld(p)
	changed := !slices.Equal(before.Devices, said.Devices) || !slices.Equal(before.Models, said.Models) ||
		!maps.Equal(before.Fingerprints, said.Fingerprints) ||
		before.Leaving != said.Leaving || !slices.Equal(before.Held, said.Held)
	if said.Leaving && len(said.Held) == 0 {
		a.drop(said.ID, "it leaves")
	}
	for ; p.slots < len(said.Devices) && !p.gone; p.slots++ {
		slot := p.slots
		a.loops.Go(func() { a.serve(p, slot) })
	}
	a.mu.Unlock()
	if changed {
		p.wake()
	}
	a.cancelEnded(unknown)
}

// noteHeld takes a worker's list of jobs as signs of their lives, and returns those that no run of this API is for. The
// caller holds mu.
func (a *API) noteHeld(p *peer) (others []held) {
	for _, h := range p.said.Held {
		r := a.runs[h.Job]
		if r == nil || r.id != h.Run {
			others = append(others, h)
			continue
		}
		r.sign, r.accepted = p.sign, true
		if h.Released {
			r.release()
		}
	}
	return others
}

// cancelEnded tells workers of jobs that ended here, for which the first word of that was lost.
func (a *API) cancelEnded(list []held) {
	for _, h := range list {
		j, _, err := a.queue.Job(h.Job)
		if err == nil && j.State.Ended() || errors.Is(err, job.ErrExpired) {
			a.conn.publish(cancelSubject(h.Job), order{h.Run})
		}
	}
}

// drop forgets a worker. The jobs that it has lose their leases when they give no sign of life. The caller holds mu.
func (a *API) drop(id, why string) {
	p := a.peers[id]
	delete(a.peers, id)
	p.gone = true
	p.relook()
	if why != "" {
		a.options.Log.Info("worker is gone", slog.String("name", p.said.Name), slog.String("reason", why))
	}
}

// wake has the takers of a worker look at the jobs anew.
func (p *peer) wake() {
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	if p.gone {
		return
	}
	p.relook()
	p.looks, p.relook = context.WithCancel(p.api.ctx)
}

// rested reports whether a worker gets jobs again since just now.
func (p *peer) rested(now time.Time) bool {
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	if p.rests.IsZero() || now.Before(p.rests) {
		return false
	}
	p.rests = time.Time{}
	return true
}

// slotID tells the queue which device of which worker takes.
type slotID struct {
	worker string
	slot   int
}

// serve takes jobs for one device of a worker while that has it.
func (a *API) serve(p *peer, slot int) {
	id := slotID{p.id, slot}
	defer a.queue.Leave(id)
	for {
		a.mu.Lock()
		looks := p.looks
		if p.gone || slot >= len(p.said.Devices) {
			p.slots = min(p.slots, slot)
			a.mu.Unlock()
			return
		}
		name := fmt.Sprintf("%s/%s", p.said.Name, p.said.Devices[slot])
		a.mu.Unlock()
		if !a.conn.connected() {
			a.queue.Leave(id)
			select {
			case <-time.After(reconnectWait):
			case <-a.ctx.Done():
			}
			continue
		}
		l, err := a.queue.Take(looks, job.Taker{
			ID: id, Name: name,
			Can: func(j *job.Job) bool { return a.can(p, j) }, Prefers: func(j *job.Job) bool { return a.holds(p, j.ID) },
		})
		switch {
		case err == nil:
			a.compute(p, l, name)
		case errors.Is(err, job.ErrClosed):
			return
		}
	}
}

// can tells whether a worker may have a job now. The queue calls it under its lock.
func (a *API) can(p *peer, j *job.Job) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.gone {
		return false
	}
	if holder := a.holder(j.ID); holder != nil {
		return holder == p // it goes on there
	}
	if j.State == job.Interrupted && !a.settled.IsZero() || p.said.Leaving || !p.rests.IsZero() || !a.able(p, j) {
		return false
	}
	return a.busy(p) < len(p.said.Devices)
}

// busy is how many devices of a worker compute, for this API or another. The caller holds mu.
func (a *API) busy(p *peer) (n int) {
	for _, r := range a.runs {
		if r.peer == p && !r.released {
			n++
		}
	}
	for _, h := range p.said.Held {
		if r := a.runs[h.Job]; !h.Released && (r == nil || r.peer != p) {
			n++
		}
	}
	return n
}

// holder is the worker that has a job which is not given out here, nil if none has. The caller holds mu.
func (a *API) holder(id string) *peer {
	for _, p := range a.peers {
		if a.heldRun(p, id) != "" {
			return p
		}
	}
	return nil
}

// heldRun is the run of a job that a worker holds and that has not ended here, "" for none. The caller holds mu.
func (a *API) heldRun(p *peer, id string) string {
	for _, h := range p.said.Held {
		if _, over := a.over[h.Run]; h.Job == id && !over {
			return h.Run
		}
	}
	return ""
}

func (a *API) holds(p *peer, id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heldRun(p, id) != ""
}
