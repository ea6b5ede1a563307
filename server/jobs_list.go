package server

import (
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/job"
)

// Jobs of one answer of GET /v1/jobs.
const (
	jobsPerPage = 50
	mostJobs    = 200
)

// jobPage is an answer of GET /v1/jobs.
type jobPage struct {
	Jobs []jobView `json:"jobs"`
	Next string    `json:"next,omitzero" jsonschema:"The cursor of the page after this one, as the parameter before takes it."`
}

// jobFilter reads which jobs are asked for: as many as limit says, those before a cursor.
func (f *fields) jobFilter() (filter job.Filter) {
	filter = job.Filter{
		Limit:  int(f.integer("limit", limits{1, mostJobs, 0}, jobsPerPage)),
		Before: f.integer("before", limits{1, math.MaxInt64, 0}, 0),
	}
	if text := f.optionalText("model"); text != nil {
		filter.Model = *text
	}
	filter.Task = f.choice("task", slices.DeleteFunc(slices.Clone(tasks), func(task string) bool { return task == ensemble })) // which is text-to-image
	if text := f.optionalText("state"); text != nil {
		for name := range strings.SplitSeq(*text, ",") {
			state := job.State(name)
			if !slices.Contains(states, state) {
				f.report("state", "literal_error", "Input should be "+quotedStates(), map[string]any{"expected": quotedStates()})
				break
			}
			filter.States = append(filter.States, state)
		}
	}
	return filter
}

// listJobs answers GET /v1/jobs, the newest first.
func (s *Server) listJobs(x *exchange) error {
	f := queryFields(x.r)
	filter := f.jobFilter()
	if err := f.err(); err != nil {
		return err
	}
	if !x.all {
		filter.Owner = new(x.owner())
	}
	page, err := s.journal.List(filter)
	if err != nil {
		return err
	}
	if len(page.Damaged) > 0 { // which are in no answer
		s.config.Log.Error("journal: records of jobs are damaged", slog.Any("jobs", page.Damaged))
	}
	answer := jobPage{Jobs: []jobView{}}
	for _, j := range page.Jobs {
		var live job.Live
		if !j.State.Ended() {
			if now, l, err := s.queue.Job(j.ID); err == nil {
				j, live = now, l
			}
		}
		answer.Jobs = append(answer.Jobs, view(j, live, x.from.prefix))
	}
	if page.Next > 0 {
		answer.Next = strconv.FormatUint(page.Next, 10)
	}
	return x.reply(http.StatusOK, answer)
}

var states = []job.State{job.Queued, job.Running, job.Interrupted, job.Done, job.Failed, job.Cancelled}

// quotedStates are the states in the words of a literal_error.
func quotedStates() string {
	var list []string
	for _, s := range states {
		list = append(list, "'"+string(s)+"'")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// queryFields are the parameters of a request's query, each a string.
func queryFields(r *http.Request) *fields {
	f := &fields{values: map[string]json.RawMessage{}, whole: json.RawMessage("{}"), from: "query"}
	for name, values := range r.URL.Query() {
		text, err := json.Marshal(values[len(values)-1])
		if err == nil { // a string has a form
			f.values[name] = text
		}
	}
	return f
}
