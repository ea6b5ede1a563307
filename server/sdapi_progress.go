package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// sdProgressState is A1111's state of the one task that it computes.
type sdProgressState struct {
	Skipped            bool   `json:"skipped"`
	Interrupted        bool   `json:"interrupted"`
	StoppingGeneration bool   `json:"stopping_generation"`
	Job                string `json:"job"`
	JobCount           int    `json:"job_count"`
	JobTimestamp       string `json:"job_timestamp"`
	JobNo              int    `json:"job_no"`
	SamplingStep       int    `json:"sampling_step"`
	SamplingSteps      int    `json:"sampling_steps"`
}

// sdProgressView is A1111's answer of how far that task is.
type sdProgressView struct {
	Progress     float64         `json:"progress" jsonschema:"0 to 1."`
	ETA          float64         `json:"eta_relative" jsonschema:"Seconds until the end, an estimate."`
	State        sdProgressState `json:"state"`
	CurrentImage *string         `json:"current_image" jsonschema:"A preview in base64."`
	TextInfo     *string         `json:"textinfo"`
}

// sdTaskView is A1111's answer of how far a task is that the client names.
type sdTaskView struct {
	Active    bool     `json:"active"`
	Queued    bool     `json:"queued"`
	Completed bool     `json:"completed"`
	Progress  *float64 `json:"progress"`
	ETA       *float64 `json:"eta"`
	Preview   *string  `json:"live_preview" jsonschema:"A data URL."`
	PreviewID int      `json:"id_live_preview"`
	TextInfo  *string  `json:"textinfo"`
}

// sdPendingView is A1111's answer of which tasks wait.
type sdPendingView struct {
	Size  int      `json:"size"`
	Tasks []string `json:"tasks"`
}

// sdTimestamp is A1111's form of a time.
func sdTimestamp(t time.Time) string { return t.Format("20060102150405") }

// progress is how much of a task is done, 0 to 1, and an estimate of the seconds that are left. A1111 counts in the same
// way, from 0.01.
func (t *sdTask) progress(now time.Time) (fraction, left float64) {
	done := float64(t.done)
	for _, j := range t.jobs {
		if j.running && j.steps > 0 {
			done += float64(j.images) * float64(j.step) / float64(j.steps)
		}
	}
	fraction = 0.01 + done/float64(t.images)
	took := now.Sub(t.began).Seconds()
	return min(1, fraction), max(0, took/fraction-took)
}

// sdSkipImage reads whether no preview is wanted.
func (f *fields) sdSkipImage() bool { return f.boolean("skip_current_image", false) }

// sdTask reads which task is asked for, and which preview of it the client has, if it wants one.
func (f *fields) sdTask() (id string, preview bool, seen int) {
	return f.text("id_task"), f.boolean("live_preview", true), int(f.number("id_live_preview", interval{min: -1, max: 1e15}, -1))
}

// sdProgress answers GET /sdapi/v1/progress.
func (s *Server) sdProgress(x *exchange) error {
	f := queryFields(x.r)
	withoutImage := f.sdSkipImage()
	if err := f.err(); err != nil {
		return err
	}
	answer := sdProgressView{State: sdProgressState{JobTimestamp: "0"}}
	a := &s.sdapi
	a.mu.Lock()
	if t := a.running(&x.visitor); t != nil {
		j := t.current()
		answer.Progress, answer.ETA = t.progress(time.Now())
		answer.State = sdProgressState{
			Skipped: t.skipped[j.iteration] && !t.interrupted, Interrupted: t.interrupted, Job: t.job, JobCount: t.iterations, JobTimestamp: sdTimestamp(t.began),
			JobNo: j.iteration, SamplingStep: j.step, SamplingSteps: j.steps,
		}
		if t.iterations > 1 {
			answer.State.Job = fmt.Sprintf("Batch %d out of %d", j.iteration+1, t.iterations)
		}
		if j.preview != nil && !withoutImage {
			answer.CurrentImage = new(base64.StdEncoding.EncodeToString(j.preview))
		}
	}
	a.mu.Unlock()
	return x.reply(http.StatusOK, answer)
}

// sdTaskProgress answers POST /internal/progress, which asks for a task by its id.
func (s *Server) sdTaskProgress(x *exchange) error {
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	id, with, seen := f.sdTask()
	if err := f.err(); err != nil {
		return err
	}
	answer := sdTaskView{PreviewID: seen}
	a := &s.sdapi
	a.mu.Lock()
	waiting, place := 0, 0
	var active *sdTask
	for _, t := range a.tasks {
		if !x.sees(t.owner) {
			continue
		}
		if t.current() == nil {
			if waiting++; t.id == id {
				place = waiting
			}
		} else if t.id == id {
			active = t
		}
	}
	answer.Completed = a.completed(&x.visitor, id)
	if active != nil {
		progress, left := active.progress(time.Now())
		j := active.current()
		answer.Active, answer.Progress, answer.ETA = true, &progress, &left
		if with && j.preview != nil && j.previewID != seen {
			answer.Preview, answer.PreviewID = new("data:image/jpeg;base64,"+base64.StdEncoding.EncodeToString(j.preview)), j.previewID
		}
	} else {
		answer.PreviewID, answer.TextInfo = -1, new("Waiting...")
		if answer.Queued = place > 0; answer.Queued {
			answer.TextInfo = new(fmt.Sprintf("In queue: %d/%d", place, waiting))
		}
	}
	a.mu.Unlock()
	return x.reply(http.StatusOK, answer)
}

// sdPending answers GET /internal/pending-tasks.
func (s *Server) sdPending(x *exchange) error {
	answer := sdPendingView{Tasks: []string{}}
	a := &s.sdapi
	a.mu.Lock()
	for _, t := range a.tasks {
		if x.sees(t.owner) && t.current() == nil {
			answer.Tasks = append(answer.Tasks, t.id)
		}
	}
	a.mu.Unlock()
	answer.Size = len(answer.Tasks)
	return x.reply(http.StatusOK, answer)
}
