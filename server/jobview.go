package server

import (
	"encoding/json"
	"math"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/engine"
)

// jobView is a job as clients of /v1/jobs see it. What is not known is left out.
type jobView struct {
	ID          string          `json:"id"`
	Owner       string          `json:"owner,omitzero" jsonschema:"The user whose it is."`
	Seq         uint64          `json:"seq" jsonschema:"The order of acceptance."`
	State       job.State       `json:"state"`
	Task        string          `json:"task,omitzero"`
	Model       string          `json:"model,omitzero"`
	Refiner     bool            `json:"refiner,omitzero" jsonschema:"The refiner computes, or has a part in it."`
	Priority    int             `json:"priority"`
	Created     time.Time       `json:"created,omitzero"`
	Started     time.Time       `json:"started,omitzero" jsonschema:"When the last attempt began."`
	Ended       time.Time       `json:"ended,omitzero"`
	Position    int             `json:"position,omitzero" jsonschema:"The place in the queue; 1 is next."`
	Step        int             `json:"step,omitzero" jsonschema:"The step that is done."`
	Steps       int             `json:"steps,omitzero"`
	Progress    float64         `json:"progress,omitzero" jsonschema:"0 to 1."`
	SecondsLeft float64         `json:"seconds_left,omitzero" jsonschema:"An estimate."`
	Loading     float64         `json:"loading,omitzero" jsonschema:"How much of the model is read, 0 to 100."`
	Stopping    bool            `json:"stopping,omitzero" jsonschema:"It was interrupted, and ends after the step that is under way."`
	Attempts    int             `json:"attempts,omitzero"`
	Warnings    []string        `json:"warnings,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Inputs      []inputView     `json:"inputs,omitempty"`
	Images      []imageView     `json:"images,omitempty" jsonschema:"Of a job that is done."`
	Error       *errorView      `json:"error,omitempty"`
}

// imageView is an image that a job made, or that was uploaded.
type imageView struct {
	ID     string  `json:"id"`
	URL    string  `json:"url" jsonschema:"A path on this server."`
	Width  int     `json:"width"`
	Height int     `json:"height"`
	Seed   *uint64 `json:"seed,omitempty"`
	Type   string  `json:"type"`
}

// inputView is an image that a job begins with.
type inputView struct {
	Role   string `json:"role" jsonschema:"The field of the request."`
	ID     string `json:"id"`
	URL    string `json:"url"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

type errorView struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// view is a job as its client sees it, whose paths on this server begin with prefix.
func view(j job.Job, live job.Live, prefix string) jobView {
	v := jobView{
		ID: j.ID, Seq: j.Seq, Owner: j.Owner, State: j.State, Task: j.Task, Model: j.Model, Priority: j.Priority,
		Created: j.Created, Started: j.Started, Ended: j.Ended,
		Position: live.Position, Step: live.Step, Steps: live.Steps, SecondsLeft: seconds(live.Left), Loading: live.Loading, Stopping: live.Stopping,
		Attempts: j.Attempts, Warnings: j.Warnings, Parameters: j.Parameters,
	}
	var request struct{ Model engine.Model }
	if json.Unmarshal(j.Request, &request) == nil { // there is none of a job that was removed meanwhile
		v.Refiner = request.Model == engine.Refiner || request.Model == engine.Ensemble
	}
	for _, b := range j.Inputs {
		v.Inputs = append(v.Inputs, inputView{Role: b.Role, ID: b.ID, URL: prefix + "/download/" + b.ID, Width: b.Width, Height: b.Height})
	}
	switch {
	case j.State == job.Done:
		v.Progress = 1
		for _, b := range j.Outputs {
			v.Images = append(v.Images, viewImage(b, prefix))
		}
	case live.Steps > 0:
		v.Progress = float64(live.Step) / float64(live.Steps)
	}
	if j.Error != nil {
		v.Error = &errorView{j.Error.Kind, j.Error.Message}
	}
	return v
}

func viewImage(b job.Blob, prefix string) imageView {
	return imageView{ID: b.ID, URL: prefix + "/download/" + b.ID, Width: b.Width, Height: b.Height, Seed: b.Seed, Type: b.Type}
}

// seconds are rounded to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
