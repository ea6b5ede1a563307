package job

import (
	"encoding/json"
	"time"
)

// State is where a job stands.
type State string

// The states of a job.
const (
	Queued      State = "queued"
	Running     State = "running"
	Interrupted State = "interrupted" // its engine or process died; it waits for its next attempt
	Done        State = "done"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
)

// Ended reports whether nothing more becomes of a job: it is Done, Failed or Cancelled.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// valid reports whether s is a state at all.
func (s State) valid() bool { return s.Ended() || s == Queued || s == Running || s == Interrupted }

// Bounds of a job's priority.
const (
	MinPriority = -100
	MaxPriority = 100
)

// Job is what a client asked for and what became of it. Its JSON is the journal's record.
type Job struct {
	ID       string `json:"id"`
	Owner    string `json:"owner,omitzero"`
	Priority int    `json:"priority,omitzero"` // the larger is computed first; MinPriority to MaxPriority
	API      string `json:"api,omitzero"`      // the route that made it, as "/v1/jobs"
	Attached bool   `json:"attached,omitzero"` // its client waits on a connection: a restart cancels it
	Key      string `json:"key,omitzero"`      // Idempotency-Key of its owner
	KeyHash  string `json:"key_hash,omitzero"` // SHA-256 of the body that came with Key
	Trace    string `json:"trace,omitzero"`    // W3C traceparent of what made it; "" if that is not traced

	Model      string          `json:"model,omitzero"`
	Task       string          `json:"task,omitzero"`
	Adapters   []Adapter       `json:"adapters,omitzero"`
	Batch      string          `json:"batch,omitzero"`      // jobs with the same one may be computed together; "" is alone
	Request    json.RawMessage `json:"request,omitzero"`    // what is computed; who computes defines it
	Parameters json.RawMessage `json:"parameters,omitzero"` // as resolved; once Done, those of the result
	Inputs     []Blob          `json:"inputs,omitzero"`
	Outputs    []Blob          `json:"outputs,omitzero"`
	Warnings   []string        `json:"warnings,omitzero"`

	State    State  `json:"state"`
	Attempts int    `json:"attempts,omitzero"` // runs that began
	Seq      uint64 `json:"seq"`               // the order of acceptance, from 1; of the journal

	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"` // of the last attempt
	Ended   time.Time `json:"ended,omitzero"`
	Error   *Error    `json:"error,omitzero"` // why it is Failed, Cancelled or Interrupted
}

// Adapter is a LoRA of a job.
type Adapter struct {
	Name     string `json:"name"`
	Hash     string `json:"hash,omitzero"` // SHA-256 of its file
	Strength string `json:"strength,omitzero"`
}

// Blob names an image that a job reads or made.
type Blob struct {
	Role   string  `json:"role,omitzero"` // what it is to the job, as "image" or "mask"
	ID     string  `json:"id"`
	Type   string  `json:"type,omitzero"` // as "image/png"
	Width  int     `json:"width,omitzero"`
	Height int     `json:"height,omitzero"`
	Bytes  int64   `json:"bytes,omitzero"`
	Seed   *uint64 `json:"seed,omitzero"`
	OfJob  bool    `json:"of_job,omitzero"` // of an input: nobody has it but jobs, and it goes with the last of them
}

// IDs are those of blobs.
func IDs(blobs []Blob) (ids []string) {
	for _, b := range blobs {
		ids = append(ids, b.ID)
	}
	return ids
}

// Error is why a job has no result, in words for its client.
type Error struct {
	Kind    string `json:"kind"` // a word for programs, as "device_failed"
	Message string `json:"message"`
	// Detail is what more the Kind says, for programs; who computes defines it.
	Detail json.RawMessage `json:"detail,omitzero"`
}

func (e *Error) Error() string { return e.Message }

// Kinds of errors that this package gives to jobs.
const (
	KindCancelled     = "cancelled"      // somebody, or the end of its server, has cancelled the job
	KindProcessDied   = "process_died"   // the process ended while the job ran, as often as it may
	KindDamagedRecord = "damaged_record" // the journal's record of the job can't be read
)
