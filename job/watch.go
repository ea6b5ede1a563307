package job

import (
	"context"
	"slices"
)

// maxBehind is how many events a slow watcher may be behind before it loses some.
const maxBehind = 64

// backlog is events in their order. Where they are too many, those go that a later one makes up for.
type backlog struct {
	events []Event
	limit  int
}

func (b *backlog) add(e Event) {
	if n := len(b.events); n > 0 && e.Kind == KindState && b.events[n-1].Kind == KindState && b.events[n-1].State == e.State {
		b.events = b.events[:n-1] // nothing but the position has changed
	}
	if e.Kind == KindPreview { // one an image is enough, since they are large
		b.events = slices.DeleteFunc(b.events, func(old Event) bool { return old.Kind == KindPreview && old.Image == e.Image })
	}
	b.events = append(b.events, e)
	if len(b.events) > b.limit {
		if i := slices.IndexFunc(b.events, func(old Event) bool { return old.droppable() }); i >= 0 {
			b.events = slices.Delete(b.events, i, i+1)
		}
	}
}

// watcher is a Watch that has not ended.
type watcher struct {
	waiting backlog       // of queue.mu: what the watcher has not had yet
	closed  bool          // of queue.mu: nothing follows
	wake    chan struct{} // has room for one
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch sends the events of a job: first the events after the one of the Seq that are still known, all of them for 0,
// then each as it comes. Of a job that has ended there is one event, made of its record. The channel is closed after
// the event of its end, when ctx ends, and when the queue is closed. A watcher that is slow loses steps, previews and
// percents, but no state. Errors are those of Journal.Get.
func (q *Queue) Watch(ctx context.Context, id string, after uint64) (<-chan Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.visible(id)
	if e == nil {
		q.mu.Unlock()
		j, err := q.journal.Get(id)
		q.mu.Lock()
		if err != nil {
			return nil, err
		}
		events := make(chan Event, 1)
		events <- Event{Job: id, Seq: max(after, uint64(max(0, j.Ended.UnixMicro()))), Time: j.Ended, Kind: KindState, State: j.State, Error: j.Error}
		close(events)
		return events, nil
	}
	if after > e.seq {
		after = 0 // it is none of ours
	}
	w := &watcher{wake: make(chan struct{}, 1), waiting: backlog{limit: maxBehind}, closed: q.closed && e.lease == nil || e.job.State.Ended()}
	e.watchers[w] = struct{}{}
	q.tellPositions()
	w.waiting.events = nil
	for _, event := range e.history.events {
		if event.Seq > after {
			w.waiting.events = append(w.waiting.events, event)
		}
	}
	events := make(chan Event)
	go q.pump(ctx, e, w, events)
	return events, nil
}

// pump hands a watcher its events. It ends with ctx, at the latest.
func (q *Queue) pump(ctx context.Context, e *active, w *watcher, events chan<- Event) {
	defer close(events)
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(e.watchers, w)
	}()
	for {
		q.mu.Lock()
		var next *Event
		if len(w.waiting.events) > 0 {
			next = &w.waiting.events[0]
			w.waiting.events = w.waiting.events[1:]
		}
		closed := w.closed
		q.mu.Unlock()
		switch {
		case next != nil:
			select {
			case events <- *next:
			case <-ctx.Done():
				return
			}
			if next.terminal() {
				return
			}
		case closed:
			return
		default:
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// closeWatchers lets a job's watchers end with what they have.
func (e *active) closeWatchers() {
	for w := range e.watchers {
		w.closed = true
		w.signal()
	}
}

// stateEvent is the event of a job's state as it is.
func (q *Queue) stateEvent(e *active) Event {
	if e.lease == nil && !e.job.State.Ended() {
		q.place()
	}
	e.told = e.live.Position
	return Event{Kind: KindState, State: e.job.State, Position: e.live.Position, Error: e.job.Error}
}

// publish sends an event to the watchers of a job, and keeps it for those that come.
func (q *Queue) publish(e *active, event Event) {
	e.seq++
	event.Job, event.Seq, event.Time = e.job.ID, e.seq, q.options.Now()
	if observe := q.options.Observe; observe != nil {
		observe(&e.job, event)
	}
	e.history.add(event)
	for w := range e.watchers {
		w.waiting.add(event)
		w.signal()
	}
}

// tellPositions sends the watchers of jobs that wait their new positions.
func (q *Queue) tellPositions() {
	for _, o := range q.turns {
		for _, e := range o.jobs {
			if len(e.watchers) == 0 {
				continue
			}
			if q.place(); e.live.Position != e.told {
				q.publish(e, q.stateEvent(e))
			}
		}
	}
}
