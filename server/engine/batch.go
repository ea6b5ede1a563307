package engine

import (
	"context"

	"github.com/goxl/goxl/internal/contexts"
	"github.com/goxl/goxl/models/sdxl"
)

// BatchJob is one of several jobs that are computed together.
type BatchJob struct {
	Job
	Context context.Context // ends this job, not the others
	// Done is called once, with what Generate would return. It must be quick.
	Done func(*sdxl.Result, error)
}

// Batcher is an [Engine] that computes several jobs together, which have the same Name and Model; see
// [sdxl.Model.GenerateBatch] for those that share their steps. It may be called where Generate may be, and is over when
// every job is done; the next call may come once each has called its request's OnComputed or is done.
type Batcher interface {
	Engine
	GenerateBatch(jobs []BatchJob)
}

// GenerateBatch computes jobs of one Name and Model: together on a Batcher, else one after the other.
func GenerateBatch(e Engine, jobs []BatchJob) {
	if b, together := e.(Batcher); together {
		b.GenerateBatch(jobs)
		return
	}
	for _, j := range jobs {
		j.Done(e.Generate(j.Context, j.Job))
	}
}

// GenerateBatch does jobs. An ensemble's, and those that enlarge images, are computed one after the other.
func (l *Local) GenerateBatch(jobs []BatchJob) {
	model := map[Model]*sdxl.Model{Base: l.base, Refiner: l.refiner}[jobs[0].Model]
	if model == nil || jobs[0].Upscale != nil {
		for _, j := range jobs {
			j.Done(l.Generate(j.Context, j.Job))
		}
		return
	}
	var requests []sdxl.BatchRequest
	for _, j := range jobs {
		requests = append(requests, sdxl.BatchRequest{Context: j.Context, Request: j.Request, Done: j.Done})
	}
	model.GenerateBatch(requests)
}

// GenerateBatch does jobs on the model that they name.
func (s *Several) GenerateBatch(jobs []BatchJob) {
	if jobs[0].Upscale != nil {
		for _, j := range jobs {
			j.Done(s.Generate(j.Context, j.Job))
		}
		return
	}
	var all []context.Context
	for _, j := range jobs {
		all = append(all, j.Context)
	}
	ctx, stop := contexts.WhileAny(all...)
	defer stop()
	m, err := s.model(jobs[0].Name)
	var e Engine
	if err == nil {
		e, err = s.acquire(ctx, m, func(percent float64) {
			for _, j := range jobs {
				if j.OnLoading != nil {
					j.OnLoading(percent)
				}
			}
		})
	}
	if err != nil {
		for _, j := range jobs {
			if own := j.Context.Err(); own != nil {
				j.Done(nil, own)
			} else {
				j.Done(nil, err)
			}
		}
		return
	}
	defer s.release(m)
	own := make([]BatchJob, len(jobs))
	for i, j := range jobs {
		own[i] = j
		own[i].Job = s.own(m, j.Job)
	}
	GenerateBatch(e, own)
}
