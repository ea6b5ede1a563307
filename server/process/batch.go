package process

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// GenerateBatch does jobs together. Their requests are as those of Generate.
func (e *Engine) GenerateBatch(jobs []engine.BatchJob) {
	c := call{Do: together}
	var raw [][]byte
	var asking []*asked
	var sent []engine.BatchJob
	for _, j := range jobs {
		on := takeCallbacks(&j.Job)
		packed, data, err := pack(j.Job)
		if own := j.Context.Err(); own != nil {
			err = own
		}
		if err != nil {
			j.Done(nil, err)
			continue
		}
		limit := j.Job
		limit.Parameters.Images *= len(jobs)
		a := e.expect(j.Context, e.patience(limit), on)
		c.IDs, c.Jobs, raw = append(c.IDs, a.id), append(c.Jobs, packed), append(raw, data...)
		asking, sent = append(asking, a), append(sent, j)
	}
	if len(sent) == 0 {
		return
	}
	e.mu.Lock()
	all := make([]*pending, len(asking))
	for i, a := range asking {
		all[i] = a.pending
		a.with = all
	}
	e.mu.Unlock()
	if err := e.send(c, raw...); err != nil {
		for i, a := range asking {
			e.unsent(a)
			sent[i].Done(nil, err)
		}
		return
	}
	var waiting sync.WaitGroup
	for i, a := range asking {
		waiting.Go(func() {
			got, err := e.await(a)
			if err == nil && got.Result == nil {
				err = errors.New("process: the program's answer has neither a result nor an error")
			}
			if err != nil {
				sent[i].Done(nil, err)
				return
			}
			e.noteUse(sent[i].Job)
			sent[i].Done(&got.Result.Result, nil)
		})
	}
	waiting.Wait()
}

// unpackJobs reads the raw data of a call for several jobs.
func (c *call) unpackJobs(l *link) (jobs []engine.Job, err error) {
	if c.Do == together && (len(c.Jobs) == 0 || len(c.Jobs) != len(c.IDs)) {
		return nil, fmt.Errorf("process: a call for %d jobs with %d ids: must be as many, and at least one", len(c.Jobs), len(c.IDs))
	}
	for i, packed := range c.Jobs {
		if packed == nil {
			return nil, fmt.Errorf("process: job %d of a call is null: must be a job", i)
		}
		j, err := packed.unpack(l)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// takeTogether begins a call for several jobs, each of which is cancelled and answered by itself.
func (p *program) takeTogether(ctx context.Context, c call, jobs []engine.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.engine
	var batch []engine.BatchJob
	for i, j := range jobs {
		own, cancel := context.WithCancel(ctx)
		id := c.IDs[i]
		p.cancels[id] = cancel
		p.makeStop(id, &j)
		p.listen(id, e, c.Jobs[i].Request.PreviewEvery, &j)
		batch = append(batch, engine.BatchJob{Job: j, Context: own, Done: func(result *sdxl.Result, err error) {
			a, raw := outcome(id, e, result, err)
			p.running.Go(func() { // the device need not wait for the pipe
				p.end(a, raw)
				cancel()
			})
		}})
	}
	p.running.Go(func() {
		if e != nil {
			engine.GenerateBatch(e, batch)
			return
		}
		for _, j := range batch {
			j.Done(nil, errNotOpen)
		}
	})
}

var errNotOpen = errors.New("process: the engine is not open yet")
