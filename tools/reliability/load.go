package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load sends mixed requests on many connections, and looks afterwards at all that was answered.
type load struct {
	requests, connections int
	lightLimit            time.Duration

	s        *setup
	r        *report
	c        *client
	known    ledger
	made     recipes
	uploads  []upload
	base     bool         // there is no refiner: the base does image-to-image
	dropped  atomic.Int64 // streams of events that were left and taken up again
	hungUp   atomic.Int64
	verified atomic.Int64 // images
}

// upload is an image that image-to-image begins with.
type upload struct {
	id, kind string
	data     []byte
}

func (l *load) flags(fs *flag.FlagSet) {
	fs.IntVar(&l.requests, "requests", 10000, "`requests` in all")
	fs.IntVar(&l.connections, "connections", 200, "`connections`, each of which waits for its answer before its next request")
	fs.DurationVar(&l.lightLimit, "light-limit", 50*time.Millisecond, "`time` that 99 of 100 light requests must be answered in; 0 is no limit")
}

func (l *load) run(ctx context.Context, s *setup, r *report) error {
	if l.requests < 1 || l.connections < 1 {
		return fmt.Errorf("-requests is %d, -connections %d: must be at least 1", l.requests, l.connections)
	}
	l.s, l.r = s, r
	p, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	l.c = newClient(func() string { return p.base }, r, newLatencies())
	defer l.c.close()
	if err := l.prepare(ctx); err != nil {
		return err
	}
	busy := l.watchDevices(ctx)
	began := time.Now()
	if err := l.send(ctx, p); err != nil {
		return err
	}
	took := time.Since(began)
	r.figure("devices busy", "%.1f %% of the time that requests were sent", 100*busy())
	if err := l.verify(ctx); err != nil {
		return err
	}
	l.figures(took)
	if err := p.stop(ctx); err != nil {
		r.violate("the server does not end well", "%v", err)
	}
	return nil
}

// prepare has an image computed, so that the models are loaded, and uploads some.
func (l *load) prepare(ctx context.Context) error {
	random := rand.New(rand.NewPCG(l.s.seed, 0))
	for i := range 12 {
		kind := []string{"image/png", "image/jpeg", "image/webp"}[i%3]
		data, err := noise(random, l.s.size, l.s.size, kind)
		if err != nil {
			return err
		}
		a, err := l.c.do(ctx, request{method: "POST", path: "/v1/images", kind: kind, body: data})
		if err != nil {
			return err
		}
		var answer struct{ ID string }
		if a.status != 201 || a.object(&answer) != nil {
			return fmt.Errorf("an upload was answered %s", a)
		}
		l.uploads = append(l.uploads, upload{answer.ID, kind, data})
	}
	for _, body := range []map[string]any{l.body(random).fields, l.imageBody(random).fields} {
		a, err := l.c.post(ctx, "/v1/jobs", body)
		if err != nil {
			return err
		}
		var j jobRecord
		if a.status != 202 || a.object(&j) != nil {
			return fmt.Errorf("a first job was answered %s", a)
		}
		if j, _, err = l.c.untilEnded(ctx, j.ID); err != nil || j.State != "done" {
			return fmt.Errorf("a first job is %s: %+v, %w", j.State, j.Error, err)
		}
	}
	a, err := l.c.post(ctx, "/refine", map[string]any{"id": l.uploads[0].id, "prompt": "a", "num_inference_steps": l.s.steps, "strength": 0.9})
	if err != nil {
		return err
	}
	l.base = a.status == 501
	l.c.times = newLatencies() // of which loading is no part
	return nil
}

// watchDevices looks ten times a second whether a device computes. What it returns ends that, and gives the fraction.
func (l *load) watchDevices(ctx context.Context) (fraction func() float64) {
	ctx, cancel := context.WithCancel(ctx)
	looks, busy := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			a, err := l.c.get(ctx, "/v1/queue")
			var q struct{ Waiting, Computing int }
			if err != nil || a.object(&q) != nil {
				continue
			}
			if looks++; q.Computing > 0 {
				busy++
			}
		}
	}()
	return func() float64 {
		cancel()
		<-done
		return float64(busy) / float64(max(looks, 1))
	}
}

// send sends all requests, in an order that the seed gives.
func (l *load) send(ctx context.Context, p *process) error {
	list := l.plan()
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range list {
			select {
			case next <- i:
			case <-p.ended:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	var all sync.WaitGroup
	var sent atomic.Int64
	for range l.connections {
		all.Go(func() {
			for i := range next {
				random := rand.New(rand.NewPCG(l.s.seed, uint64(i)+1))
				if err := list[i].do(l, ctx, random); err != nil && ctx.Err() == nil {
					l.r.violate("a request without its answer", "%s: %v", list[i].name, err)
				}
				if n := sent.Add(1); n%1000 == 0 {
					fmt.Fprintf(l.s.out, "%d of %d requests\n", n, len(list))
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-p.ended:
		return fmt.Errorf("the server has ended: %w\n%s", errors.Join(errEnded, p.err), p.tail())
	default:
		return nil
	}
}

// plan is a list of operations as often as their weights say.
func (l *load) plan() (list []operation) {
	var sum int
	for _, o := range operations {
		sum += o.weight
	}
	for _, o := range operations {
		list = append(list, slices.Repeat([]operation{o}, l.requests*o.weight/sum)...)
	}
	random := rand.New(rand.NewPCG(l.s.seed, 0))
	for len(list) < l.requests {
		list = append(list, operations[random.IntN(len(operations))])
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// figures says how long answers took.
func (l *load) figures(took time.Duration) {
	r := l.r
	r.figure("requests", "%d on %d connections in %v; %d HTTP answers in all, %d of them 503 with Retry-After", l.requests, l.connections,
		took.Round(100*time.Millisecond), l.c.answered.Load(), l.c.refused.Load())
	r.figure("jobs", "%d accepted, %d of which were cancelled, %d removed", len(l.known.jobs), l.known.count(func(a *accepted) bool { return a.cancelled }),
		l.known.count(func(a *accepted) bool { return a.removed }))
	r.figure("images", "%d decoded and compared with their parameters; %d equal to another one of the same request", l.verified.Load(), l.made.compared)
	r.figure("streams", "%d left and taken up again by Last-Event-ID; %d clients hung up", l.dropped.Load(), l.hungUp.Load())
	var light []string
	for _, o := range operations {
		if o.light {
			light = append(light, o.name)
		}
	}
	all := l.c.times.sorted(light...)
	for _, name := range l.c.times.names() {
		kind := ""
		if slices.Contains(light, name) {
			kind = "light "
		}
		r.figure("  "+kind+name, "%s", spread(l.c.times.sorted(name)))
	}
	r.figure("light requests", "%s", spread(all))
	if p99 := quantile(all, 0.99); l.lightLimit > 0 && p99 > l.lightLimit {
		r.violate("light requests are slow", "p99 is %v: must be at most %v", p99.Round(time.Microsecond), l.lightLimit)
	}
}
