package job

import "time"

// EventKind is what an Event is about.
type EventKind string

// The kinds of events.
const (
	KindState   EventKind = "state"   // the job's state, or its place in the queue, has changed
	KindLoading EventKind = "loading" // a model is loaded for it
	KindStep    EventKind = "step"
	KindPreview EventKind = "preview"
	KindWarning EventKind = "warning"
	// KindStopping: the job is going to end with what there is; see Queue.Interrupt.
	KindStopping EventKind = "stopping"
)

// Event is a change of a job. Only the fields of its kind are set.
type Event struct {
	Job  string    `json:"job"`
	Seq  uint64    `json:"seq"` // grows with each event of a job, over restarts too; not by one
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`

	// Of KindState.
	State    State  `json:"state,omitzero"`
	Position int    `json:"position,omitzero"` // 1 is next; 0 is not queued
	Error    *Error `json:"error,omitzero"`

	// Of KindStep.
	Step  int           `json:"step,omitzero"` // that is done, from 1
	Steps int           `json:"steps,omitzero"`
	Left  time.Duration `json:"left,omitzero"` // of the whole job

	Percent float64 `json:"percent,omitzero"` // of KindLoading: 0 to 100
	Warning string  `json:"warning,omitzero"` // of KindWarning

	// Of KindPreview.
	Preview     []byte `json:"preview,omitzero"`
	PreviewType string `json:"preview_type,omitzero"` // as "image/jpeg"
	Image       int    `json:"image,omitzero"`        // which one of the batch, from 0
}

// terminal reports whether an event is the last of its job.
func (e *Event) terminal() bool { return e.Kind == KindState && e.State.Ended() }

// droppable reports whether a watcher that is slow can do without an event: a later one says the same.
func (e *Event) droppable() bool {
	return e.Kind == KindStep || e.Kind == KindPreview || e.Kind == KindLoading
}

// Live is what is known of a job that has not ended, beyond its record.
type Live struct {
	Position int           // in the queue; 1 is next, 0 is not queued
	Step     int           // that is done
	Steps    int           // 0 until known
	Left     time.Duration // until the job is done; 0 until known
	Loading  float64       // percent of its model; 0 when none is loaded
	Stopping bool          // it is going to end with what there is
}
