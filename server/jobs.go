package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

// createJob answers POST /v1/jobs: the job is in the journal when it is answered.
func (s *Server) createJob(x *exchange) error {
	if s.draining.Load() || s.stopped.Err() != nil {
		return &failure{kind: stopping}
	}
	key, err := idempotencyKey(x.r)
	if err != nil {
		return err
	}
	f, hash, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	given := f.givenNames()
	t, err := s.jobTask(x, f)
	if err != nil {
		return err
	}
	warning, err := s.resolve(f, &t.task.Job)
	if err != nil {
		return err
	}
	for range t.task.Job.Parameters.Images {
		id, err := s.newID()
		if err != nil {
			return err
		}
		t.task.Outputs = append(t.task.Outputs, id)
	}
	uploaded, err := s.keep(x, t.uploads)
	if err != nil {
		return err
	}
	_, unread := f.unread(given)
	j, err := s.newJob(t.task, warning, unread)
	if err == nil {
		j.API, j.Priority, j.Key = "/v1/jobs", t.priority, key
		if t.task.Quality > 0 && cmp.Or(t.task.Format, blob.PNG) == blob.PNG {
			j.Warnings = append(j.Warnings, "output_quality: PNG has none")
		}
		if key != "" {
			j.KeyHash = hash
		}
		var existed bool
		if j, existed, err = s.submit(x, j); err == nil && !existed {
			x.job = j.ID
			x.Header().Set("Location", x.from.prefix+"/v1/jobs/"+j.ID)
			return s.replyJob(x, http.StatusAccepted, j.ID)
		}
	}
	if err = errors.Join(err, s.store.Remove(uploaded...)); err != nil { // they are for a job that there is not
		return err
	}
	x.job = j.ID
	x.Header().Set("Location", x.from.prefix+"/v1/jobs/"+j.ID)
	x.Header().Set("Idempotent-Replayed", "true")
	return s.replyJob(x, http.StatusOK, j.ID)
}

// longestKey is how many bytes an Idempotency-Key may have.
const longestKey = 255

// idempotencyKey is the header's value, "" if there is none.
func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	if key := keys[0]; len(keys) == 1 && key != "" && len(key) <= longestKey && utf8.ValidString(key) {
		return key, nil
	}
	input, err := json.Marshal(beginning(keys[0]))
	if err != nil {
		return "", err
	}
	return "", &failure{kind: invalid, problems: []problem{{
		Type: "value_error", Loc: []any{"header", "idempotency-key"}, Input: input,
		Msg: fmt.Sprintf("Value error, must be one text of 1 to %d bytes in UTF-8", longestKey),
	}}}
}

// readLargeFields reads a body that may have an image in it, and gives its SHA-256 in hexadecimal.
func (s *Server) readLargeFields(x *exchange) (f *fields, hash string, err error) {
	data, err := s.readBody(x, maxJobBody)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(data)
	f, p := parseFields(data, x.r.Header.Get("Content-Type"))
	if p != nil {
		return nil, "", &failure{kind: invalid, problems: []problem{*p}}
	}
	return f, hex.EncodeToString(sum[:]), nil
}

// replyJob answers with a job as it is now.
func (s *Server) replyJob(x *exchange, status int, id string) error {
	j, live, err := s.job(x, id)
	if err != nil {
		return err
	}
	x.job = id
	return x.reply(status, view(j, live, x.from.prefix))
}

// job finds a job that is there for who asks, or the failure of the request.
func (s *Server) job(x *exchange, id string) (job.Job, job.Live, error) {
	if !blob.IsID(id) {
		return job.Job{}, job.Live{}, &failure{kind: noJob}
	}
	j, live, err := s.queue.Job(id)
	if err == nil && !x.sees(j.Owner) {
		return job.Job{}, job.Live{}, &failure{kind: noJob}
	}
	return j, live, jobError(err)
}

// checkImageOwner is the failure of an image that is not there for who asks.
func (s *Server) checkImageOwner(x *exchange, id string) error {
	if x.all {
		return nil
	}
	owner, known, err := s.journal.OwnerOfBlob(id)
	if err == nil && (!known || !x.sees(owner)) {
		err = &failure{kind: noImage}
	}
	return err
}

// jobError is the failure of a request by an error of the queue or the journal.
func jobError(err error) error {
	switch {
	case errors.Is(err, job.ErrUnknown):
		return &failure{kind: noJob, err: err}
	case errors.Is(err, job.ErrExpired):
		return &failure{kind: expiredJob, err: err}
	case errors.Is(err, job.ErrNotRunning):
		return &failure{kind: jobNotRunning}
	case errors.Is(err, job.ErrNotEnded):
		return &failure{kind: jobNotEnded, err: err}
	}
	return err
}

// getJob answers GET /v1/jobs/{id}, also for a job of another server that shares this one's workers.
func (s *Server) getJob(x *exchange) error {
	j, live, err := s.findJob(x, x.r.PathValue("id"))
	if err != nil {
		return err
	}
	x.job = j.ID
	return x.reply(http.StatusOK, view(j, live, x.from.prefix))
}

// purge reads whether a job is to be removed.
func (f *fields) purge() bool { return f.boolean("purge", false) }

// deleteJob cancels a job, or with purge=true removes one that has ended, with its images.
func (s *Server) deleteJob(x *exchange) error {
	id := x.r.PathValue("id")
	f := queryFields(x.r)
	purge := f.purge()
	if err := f.err(); err != nil {
		return err
	}
	j, _, err := s.job(x, id)
	if err != nil {
		return err
	}
	x.job = id
	if !purge {
		if err := s.cancel([]string{id}, nil); err != nil {
			return err
		}
		return s.replyJob(x, http.StatusOK, id)
	}
	if !j.State.Ended() {
		return &failure{kind: jobNotEnded}
	}
	s.quotas.ended(&j)
	if err := jobError(s.removeJob(j)); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// removeJob removes a job that has ended with the images that it made or that came with its request, but those that
// another job has, which stay until that goes. What a crash in between leaves is removed as images of no job are.
func (s *Server) removeJob(j job.Job) error {
	if err := s.journal.Remove(j.ID); err != nil {
		return err
	}
	ids := job.IDs(j.Outputs)
	for _, b := range j.Inputs {
		if b.OfJob {
			ids = append(ids, b.ID)
		}
	}
	return s.removeUnused(ids)
}

// cancelView is what became of jobs that were to be cancelled.
type cancelView struct {
	Cancelled []string `json:"cancelled"`
	Ended     []string `json:"ended" jsonschema:"Those that had ended before."`
	Unknown   []string `json:"unknown"`
}

// jobIDs reads which jobs are to be cancelled.
func (f *fields) jobIDs() (ids []string, all bool) {
	f.notes.items("ids", 0, mostCancelled, &jsonschema.Schema{Type: "string"})
	for i, raw := range f.items("ids", mostCancelled) {
		f.item("ids", i, raw, "string_type", "string", func(one *fields) { ids = append(ids, one.text("ids")) })
	}
	all = f.boolean("all", false)
	if f.given("ids") == nil && !all {
		f.report("ids", "missing", "Field required", nil)
	}
	return ids, all
}

// cancelJobs answers POST /v1/jobs/cancel.
func (s *Server) cancelJobs(x *exchange) error {
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	ids, all := f.jobIDs()
	if err := f.err(); err != nil {
		return err
	}
	if all {
		open, err := s.journal.Open()
		if err != nil {
			return err
		}
		for _, j := range open {
			if x.sees(j.Owner) {
				ids = append(ids, j.ID)
			}
		}
	}
	answer := cancelView{[]string{}, []string{}, []string{}}
	for _, id := range ids {
		before, _, err := s.job(x, id)
		if err == nil && !before.State.Ended() {
			err = s.cancel([]string{id}, nil)
		}
		var f *failure
		switch {
		case errors.As(err, &f) && (f.kind == noJob || f.kind == expiredJob):
			answer.Unknown = append(answer.Unknown, id)
		case err != nil:
			return err
		case before.State.Ended():
			answer.Ended = append(answer.Ended, id)
		default:
			answer.Cancelled = append(answer.Cancelled, id)
		}
	}
	return x.reply(http.StatusOK, answer)
}

// mostCancelled is how many jobs one request may cancel by their ids: as many as its body has room for.
const mostCancelled = maxBody / 39
