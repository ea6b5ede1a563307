package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/goxl/goxl/job/remote"
)

// faults are what happens to the processes, and how often.
var faults = []struct {
	name  string
	times int
	do    func(p *plan, ctx context.Context) error
}{
	{"kill -9 of a worker", 10, func(p *plan, _ context.Context) (err error) {
		i := rand.IntN(len(p.crew))
		kill(p.crew[i])
		p.crew[i], err = p.hire()
		return err
	}},
	{"SIGSTOP of a worker past its lease", 5, func(p *plan, ctx context.Context) error {
		c := p.crew[rand.IntN(len(p.crew))]
		if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		select {
		case <-time.After(remote.DefaultLease + 5*time.Second):
		case <-ctx.Done():
		}
		return c.Process.Signal(syscall.SIGCONT)
	}},
	{"kill -9 of the API", 5, func(p *plan, ctx context.Context) error {
		kill(p.api)
		return p.startAPI(ctx)
	}},
	{"restart of NATS", 2, func(p *plan, ctx context.Context) error {
		if err := p.nats.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if err := p.nats.Wait(); err != nil {
			return err
		}
		return p.startNATS(ctx)
	}},
}

// prove has jobs computed while everything happens.
func (p *plan) prove(ctx context.Context) error {
	defer p.end()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	for range 3 {
		c, err := p.hire()
		if err != nil {
			return err
		}
		p.crew = append(p.crew, c)
	}
	var list []int
	for i, f := range faults {
		list = append(list, slices.Repeat([]int{i}, f.times)...)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	began := time.Now()
	var ids []string
	submitted := make(chan error, 1)
	go func() {
		var err error
		ids, err = p.submit(ctx, p.jobs)
		submitted <- err
	}()
	for i, f := range list {
		// The faults are spread over the work.
		err := wait(ctx, "progress", func() bool {
			all, again, err := p.computed()
			return err == nil && all-again >= p.jobs*i/(len(list)+1)
		})
		if err != nil {
			return fmt.Errorf("after %d faults: %w", i, err)
		}
		fmt.Printf("%7.1fs %s\n", time.Since(began).Seconds(), faults[f].name)
		if err := faults[f].do(p, ctx); err != nil {
			return fmt.Errorf("%s: %w", faults[f].name, err)
		}
	}
	if err := <-submitted; err != nil {
		return err
	}
	attempts, _, err := p.verify(ctx, ids)
	if err != nil {
		return err
	}
	all, again, err := p.computed()
	if err != nil {
		return err
	}
	fmt.Printf("%d jobs in %.0f s: each done once, none lost, every image whole; %d computations, %d of them again; at most %d attempts\n",
		len(ids), time.Since(began).Seconds(), all, again, attempts)
	return nil
}

// scale compares many workers with one.
func (p *plan) scale(ctx context.Context) error {
	defer p.end()
	const each = 10 // jobs of one worker
	p.jobs = each * p.workers
	if err := p.prepare(ctx); err != nil {
		return err
	}
	var one, many float64 // jobs a second
	for _, crew := range []int{1, p.workers} {
		for len(p.crew) < crew {
			c, err := p.hire()
			if err != nil {
				return err
			}
			p.crew = append(p.crew, c)
		}
		if err := wait(ctx, "every worker", func() bool { return p.devices(ctx) == crew }); err != nil {
			return err
		}
		began := time.Now()
		p.round = crew
		ids, err := p.submit(ctx, crew*each)
		if err != nil {
			return err
		}
		_, last, err := p.verify(ctx, ids)
		if err != nil {
			return err
		}
		many = float64(len(ids)) / last.Sub(began).Seconds()
		fmt.Printf("%d workers: %d jobs of %v in %.1f s: %.2f jobs/s\n", crew, len(ids), p.sleep, last.Sub(began).Seconds(), many)
		if crew == 1 {
			one = many
		}
	}
	fmt.Printf("%d workers give %.1f times one\n", p.workers, many/one)
	return nil
}

// devices is how many devices the API can give jobs to.
func (p *plan) devices(ctx context.Context) int {
	_, answer, err := p.ask(ctx, "GET", "/v1/queue", "", "")
	var q struct {
		Devices map[string]string `json:"devices"`
	}
	if err != nil || json.Unmarshal(answer, &q) != nil {
		return 0
	}
	return len(q.Devices)
}
