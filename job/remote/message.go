package remote

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// Names in NATS.
const (
	streamName  = "GOXL_JOBS"
	bucketName  = "goxl-images"
	workSubject = "goxl.work."

	subjectWorkers = "goxl.workers"
	subjectHello   = "goxl.hello"
	subjectResult  = "goxl.result"
	subjectAPIs    = "goxl.apis"
	subjectState   = "goxl.api.job"
	subjectImage   = "goxl.api.image"
	subjectEvents  = "goxl.job.*.events"
	subjectCancel  = "goxl.job.*.cancel"
	subjectStop    = "goxl.job.*.stop"
)

func eventsSubject(id string) string { return "goxl.job." + id + ".events" }
func cancelSubject(id string) string { return "goxl.job." + id + ".cancel" }
func stopSubject(id string) string   { return "goxl.job." + id + ".stop" }

// object is the name of an image of a job in the object store.
func object(jobID, run, id string) string { return jobID + "/" + run + "/" + id }

// announcement is what a worker says of itself.
type announcement struct {
	ID      string   `json:"id"`   // of the process, a token of a subject
	Name    string   `json:"name"` // for people
	Version string   `json:"version"`
	Models  []string `json:"models"`
	// Fingerprints are those of models, by name; one that is computed from no files has none.
	Fingerprints map[string]string     `json:"fingerprints,omitzero"`
	Devices      []string              `json:"devices"`         // that can compute
	Opened       []worker.DeviceModels `json:"opened,omitzero"` // what the devices have of the models, without what is unloaded
	Held         []held                `json:"held"`
	Leaving      bool                  `json:"leaving"` // it takes no more jobs
}

// held is a job that a worker has, until the API has answered its result.
type held struct {
	Job      string `json:"job"`
	Run      string `json:"run"`
	Released bool   `json:"released"` // its device is free
}

// work is a job for a worker.
type work struct {
	Run string  `json:"run"`
	Job job.Job `json:"job"`
}

// news is what a worker tells of a job while it computes it.
type news struct {
	Run      string    `json:"run"`
	Released bool      `json:"released,omitzero"`
	Event    job.Event `json:"event"`
}

// order is what an API tells of a job: a run that is cancelled, or that is to end with what there is.
type order struct {
	Run string `json:"run"`
}

// ending is how a worker ends a job.
type ending string

const (
	endDone     ending = "done"
	endFailed   ending = "failed"
	endRetry    ending = "retry"
	endReturned ending = "returned" // the worker leaves; the attempt does not count
	endRefused  ending = "refused"  // another worker may have what this one lacks
)

// outcome is what became of a job at a worker.
type outcome struct {
	Job        string          `json:"job"`
	Run        string          `json:"run"`
	Worker     string          `json:"worker"`
	Ending     ending          `json:"ending"`
	Outputs    []job.Blob      `json:"outputs,omitzero"` // of done, in the object store
	Parameters json.RawMessage `json:"parameters,omitzero"`
	Warnings   []string        `json:"warnings,omitzero"`
	Error      *job.Error      `json:"error,omitzero"` // of all others
	Cause      string          `json:"cause,omitzero"` // for the log
}

// verdict is an API's answer to an outcome.
type verdict string

const (
	taken   verdict = "taken"   // it is recorded
	ended   verdict = "ended"   // nobody wants it
	missing verdict = "missing" // an image is not in the object store: send it again
)

// presence is the sign of life of an API.
type presence struct {
	ID      string `json:"id"`
	Leaving bool   `json:"leaving,omitzero"`
}

// state is a job as another API has it.
type state struct {
	Job  job.Job  `json:"job"`
	Live job.Live `json:"live"`
}

// piece asks for an image of another API, from an offset in bytes.
type piece struct {
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
}

// imageInfo is what an API says of an image with each piece of it.
type imageInfo struct {
	Type     blob.Type `json:"type"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
	Owner    string    `json:"owner,omitzero"`
	Known    bool      `json:"known,omitzero"` // it has an owner, if only ""
}

// Headers of messages between APIs.
const (
	headerAPI   = "Goxl-Api"   // the id of the sender
	headerFound = "Goxl-Found" // of an answer: it is there
	headerImage = "Goxl-Image" // of an answer: an imageInfo
)

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("remote: a message: %w", err)
	}
	return data, nil
}
