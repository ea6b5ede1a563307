package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// KindOtherModel says that a worker would compute another image than the job asks for: it lacks the model, a file that
// the request names or an embedding, or its model of that name has other defaults.
const KindOtherModel = "other_model"

// Check returns why a worker with such models, by name, must not compute a job that another process resolved, nil if it
// may: what the request resolves to here must be what it resolved to there, and adapters, embeddings and the other files
// that it names must have the same content. The models' weights are not read for that: their fingerprints are compared before, see package remote. Another
// precision is not found out.
func Check(j job.Job, models map[string]engine.Specs, s Shared) *job.Error {
	differs := func(format string, args ...any) *job.Error {
		return &job.Error{Kind: KindOtherModel, Message: "The worker can't compute the job: " + fmt.Sprintf(format, args...)}
	}
	t, err := Decode(j.Request, s)
	if err != nil {
		return differs("%v", s.WithinFolders(err))
	}
	specs, ok := models[t.Job.Name]
	switch {
	case !ok:
		return differs("it has no model %q", t.Job.Name)
	case t.Job.Model != engine.Base && specs.Refiner == nil:
		return differs("it has no refiner")
	}
	p, err := specs.Resolve(t.Job)
	if err != nil {
		return differs("%v", s.WithinFolders(err))
	}
	here, err := json.Marshal(p)
	if err != nil {
		return differs("%v", err)
	}
	names, err := differences(j.Parameters, here)
	if err != nil {
		return differs("%v", err)
	}
	if len(names) > 0 {
		return differs("it has another %s", strings.Join(names, ", "))
	}
	if other := otherFile(j, t, specs, s); other != "" {
		return differs("%s", other)
	}
	return nil
}

// differences are the names of parameters that are not the same in two JSON objects of sdxl.Parameters.
func differences(a, b json.RawMessage) ([]string, error) {
	var parsed sdxl.Parameters // writes both in one form
	if err := json.Unmarshal(a, &parsed); err != nil {
		return nil, fmt.Errorf("the job's parameters: %w", err)
	}
	a, err := json.Marshal(parsed)
	if err != nil {
		return nil, err
	}
	var left, right map[string]json.RawMessage
	if err := json.Unmarshal(a, &left); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &right); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for name, value := range left {
		names[name] = names[name] || !bytes.Equal(value, right[name])
	}
	for name, value := range right {
		names[name] = names[name] || !bytes.Equal(value, left[name])
	}
	maps.DeleteFunc(names, func(_ string, differ bool) bool { return !differ })
	return slices.Sorted(maps.Keys(names)), nil
}
