package worker

import (
	"context"
	"errors"
	"sync"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Batcher is a [Source] that gives further jobs to be computed together with one that was taken, with the meaning of
// [job.Queue.TakeWith].
type Batcher interface {
	TakeWith(l Lease, t job.Taker, limit, takers int) []Lease
}

// TakeWith takes further jobs from the queue.
func (s Local) TakeWith(l Lease, t job.Taker, limit, takers int) (more []Lease) {
	of, own := l.(localLease)
	if !own {
		return nil
	}
	for _, one := range s.Queue.TakeWith(of.Lease, t, limit, takers) {
		more = append(more, localLease{one, s.Images})
	}
	return more
}

// joined are a lease and those of the jobs that the device computes together with it.
func (p *Pool) joined(d *device, t job.Taker, l Lease) []Lease {
	source, batches := p.config.Source.(Batcher)
	if !batches || p.config.Batch < 2 {
		return []Lease{l}
	}
	p.mu.Lock()
	devices := len(p.devices) - len(p.down)
	p.mu.Unlock()
	return append([]Lease{l}, source.TakeWith(l, t, p.config.Batch-1, devices)...)
}

// batch is jobs that a device computes together. Each has a goroutine that prepares it, waits for the others in generate
// and brings its images to the disk; it ends, whatever becomes of it, as if the job had been computed alone.
type batch struct {
	pool    *Pool
	device  *device
	missing sync.WaitGroup // jobs that neither came to generate nor will
	jobs    []*batched     // that came, of mu
	mu      sync.Mutex
	size    int
}

// batched is a job that waits for its result.
type batched struct {
	ctx    context.Context
	job    job.Job
	task   Task
	done   chan struct{} // closed once the rest is set
	result *sdxl.Result
	err    error
}

func newBatch(p *Pool, d *device, size int) *batch {
	b := &batch{pool: p, device: d, size: size}
	b.missing.Add(size)
	return b
}

// member is a job's place in a batch.
type member struct {
	*batch
	gone sync.Once
}

// leave tells that the job does not come any more, if it has not come.
func (m *member) leave() { m.gone.Do(m.missing.Done) }

// generate waits for the other jobs and computes all of them.
func (m *member) generate(ctx context.Context, j job.Job, t Task) (*sdxl.Result, error) {
	one := &batched{ctx: ctx, job: j, task: t, done: make(chan struct{})}
	m.mu.Lock()
	m.jobs = append(m.jobs, one)
	m.mu.Unlock()
	m.leave()
	<-one.done
	return one.result, one.err
}

// end gives a job its result, the first one it gets.
func (b *batched) end(result *sdxl.Result, err error) {
	select {
	case <-b.done:
	default:
		b.result, b.err = result, err
		close(b.done)
	}
}

// compute computes the jobs that came, once none is missing.
func (b *batch) compute() {
	b.missing.Wait()
	if len(b.jobs) == 0 {
		return
	}
	if observe := b.pool.config.Batched; observe != nil {
		observe(b.device.deviceName(), len(b.jobs))
	}
	err := guarded(func() error {
		if len(b.jobs) == 1 {
			one := b.jobs[0]
			one.end(b.pool.generate(one.ctx, b.device, one.job, one.task))
			return nil
		}
		return b.together()
	})
	if err == nil {
		err = errors.New("worker: the engine does not say what became of the job")
	}
	for _, one := range b.jobs {
		one.end(nil, err)
	}
}

// together computes several jobs on the device's engine.
func (b *batch) together() error {
	d, p := b.device, b.pool
	e, done, err := d.call()
	defer done()
	if err != nil {
		return err
	}
	first := b.jobs[0]
	d.uses(&first.job, first.task.Job.Name) // before the next job is chosen
	var load *engine.LoadError
	var jobs []engine.BatchJob
	for _, one := range b.jobs {
		jobs = append(jobs, engine.BatchJob{Job: one.task.Job, Context: one.ctx, Done: func(result *sdxl.Result, err error) {
			errors.As(err, &load)
			one.end(result, failedWith(one.ctx, e, err))
		}})
	}
	engine.GenerateBatch(e, jobs)
	if load != nil {
		err = load
	}
	p.used(d, e, &first.job, first.task.Job.Name, err)
	return nil
}
