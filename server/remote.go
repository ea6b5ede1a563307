package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// Remote gives jobs to devices of other processes. Its methods may be called at the same time.
type Remote interface {
	// Start gives out the jobs of a queue, whose images lie in a store.
	Start(q *job.Queue, images *blob.Store) error
	// Ready reports whether there is a device, and Health what the states of those are.
	Ready() bool
	Health() map[string]worker.State
	// Able reports whether there is a device for a job that is too large for those of this process. It may be called while
	// the queue is locked.
	Able(j *job.Job) bool
	// Offered are the names of the models that workers have; some is whether there are workers. Models says what their
	// devices have of them, and leaves out what a device's worker lacks.
	Offered() (models []string, some bool)
	Models() []worker.DeviceModels
	// Find asks other servers for a job that this one does not have; job.ErrUnknown says that none has it. FindImage does so
	// with an image, for as long as ctx lasts; blob.ErrNotFound says that none has it.
	Find(ctx context.Context, id string) (job.Job, job.Live, error)
	FindImage(ctx context.Context, id string) (blob.Distant, error)
	// Wait waits until no job is computed, or fails with the context's cause.
	Wait(ctx context.Context) error
	// Close ends what Start began. The queue is closed before.
	Close() error
}

func (s *Server) remoteReady() bool { return s.config.Remote != nil && s.config.Remote.Ready() }

// health says of each device that has a name what its state is.
func (s *Server) health() map[string]worker.State {
	states := s.pool.Health()
	if s.config.Remote != nil {
		maps.Copy(states, s.config.Remote.Health())
	}
	return states
}

func (s *Server) waitRemote(ctx context.Context) error {
	if s.config.Remote == nil {
		return nil
	}
	return s.config.Remote.Wait(ctx)
}

func (s *Server) closeRemote() error {
	if s.config.Remote == nil {
		return nil
	}
	return s.config.Remote.Close()
}

// findJob finds a job of this server or, to look at, of another one that shares its workers.
func (s *Server) findJob(x *exchange, id string) (job.Job, job.Live, error) {
	j, live, err := s.job(x, id)
	if s.config.Remote == nil || !errors.Is(err, job.ErrUnknown) {
		return j, live, err
	}
	if j, live, err := s.config.Remote.Find(x.r.Context(), id); err == nil && x.sees(j.Owner) {
		return j, live, nil
	}
	return j, live, err
}

// able reports whether another process may have the memory for a job that is too large for this one's devices.
func (s *Server) able(j *job.Job) bool { return s.config.Remote != nil && s.config.Remote.Able(j) }

// deviceModels says what each device has of the models.
func (s *Server) deviceModels() []worker.DeviceModels {
	list := s.pool.Models()
	if s.config.Remote != nil {
		list = append(list, s.config.Remote.Models()...)
	}
	return list
}

// checkOffered is the failure of a model that no worker has, where there are workers alone, and some. A job that came
// before is no new one.
func (s *Server) checkOffered(j *job.Job) error {
	model := j.Model
	if s.config.Load != nil || s.config.Remote == nil {
		return nil
	}
	offered, some := s.config.Remote.Offered()
	if !some || slices.Contains(offered, model) {
		return nil
	}
	if j.Key != "" {
		if _, existed, err := s.journal.Keyed(j.Owner, j.Key, j.KeyHash); existed || err != nil {
			return nil // which Submit finds too
		}
	}
	names := slices.DeleteFunc(s.modelNames(), func(name string) bool { return !slices.Contains(offered, name) })
	if len(names) == 0 {
		return &failure{kind: otherModel, detail: fmt.Sprintf("No worker has the model %q, nor another one of this server", model)}
	}
	input, err := json.Marshal(model)
	if err != nil {
		return err
	}
	expected := oneOf(names)
	return &failure{kind: invalid, problems: []problem{{
		Type: "literal_error", Loc: []any{"body", "model"}, Msg: fmt.Sprintf("Input should be %s: no worker has %q", expected, model),
		Input: input, Ctx: map[string]any{"expected": expected},
	}}}
}

// findImage opens an image of this server or, to look at, of another one that shares its workers. done closes it.
func (s *Server) findImage(x *exchange, id string) (i blob.Distant, done func(), err error) {
	err = s.checkImageOwner(x, id)
	if err == nil {
		var f *os.File
		if f, i.Type, err = s.store.Open(id); err == nil {
			return ofFile(i, f)
		}
	}
	if s.config.Remote == nil || classify(err).kind != noImage || !blob.IsID(id) {
		return i, nil, err
	}
	if far, ferr := s.config.Remote.FindImage(x.r.Context(), id); ferr == nil && (x.all || far.Owned && x.sees(far.Owner)) {
		return far, func() {}, nil
	}
	return i, nil, err
}

// ofFile describes the image in a file.
func ofFile(i blob.Distant, f *os.File) (blob.Distant, func(), error) {
	done := func() { _ = f.Close() } // it was only read
	info, err := f.Stat()
	if err != nil {
		done()
		return i, nil, err
	}
	i.Bytes, i.Modified, i.Content = info.Size(), info.ModTime(), f
	return i, done, nil
}
