package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// killing kills the server at random moments while jobs are accepted and computed, and looks afterwards at all that was
// answered.
type killing struct {
	kills, writers int
	queue          int

	s     *setup
	r     *report
	l     load // what is asked for, and how images are checked
	base  atomic.Pointer[string]
	over  atomic.Bool
	done  sync.Map // ids of jobs that were seen done
	tried atomic.Int64
}

// mostAttempts is how often a job is begun: one that is killed as often fails with the kind process_died.
const mostAttempts = 3

// nobody listens there.
const nobody = "http://127.0.0.1:9"

func (k *killing) flags(fs *flag.FlagSet) {
	fs.IntVar(&k.kills, "kills", 100, "`times` that the server is killed")
	fs.IntVar(&k.writers, "writers", 8, "`clients` that submit jobs all the time")
	fs.IntVar(&k.queue, "queue", 600, "`jobs` that may wait")
}

func (k *killing) run(ctx context.Context, s *setup, r *report) error {
	if k.kills < 1 || k.writers < 1 || k.queue < 1 {
		return fmt.Errorf("-kills is %d, -writers %d, -queue %d: must be at least 1", k.kills, k.writers, k.queue)
	}
	k.s, k.r, k.l.s, k.l.r = s, r, s, r
	k.base.Store(new(nobody))
	k.l.c = newClient(func() string { return *k.base.Load() }, r, newLatencies())
	defer k.l.c.close()

	p, err := s.start(ctx, "-queue", fmt.Sprint(k.queue))
	if err != nil {
		return err
	}
	defer func() { p.kill() }()
	k.base.Store(&p.base)
	if err := k.l.prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer k.over.Store(true)
	for i := range k.writers {
		all.Go(func() { k.write(ctx, rand.New(rand.NewPCG(s.seed, uint64(i)+1))) })
	}
	if p, err = k.killOften(ctx, p); err != nil {
		return err
	}
	k.over.Store(true)
	all.Wait()
	r.figure("jobs", "%d accepted in %d tries; %d were seen done before a kill; %d images were answered", len(k.l.known.jobs), k.tried.Load(), length(&k.done), len(k.l.known.images))
	if err := k.verify(ctx); err != nil {
		return err
	}
	if err := p.stop(ctx); err != nil {
		r.violate("the server does not end well", "%v", err)
	}
	return k.verifyFolder(ctx)
}

func length(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// killOften kills the server: one time of three while it starts, one soon after it listens, one while it computes. It
// returns the last one, which goes on.
func (k *killing) killOften(ctx context.Context, p *process) (*process, error) {
	random := rand.New(rand.NewPCG(k.s.seed, 0))
	var times [3]int
	var slowest time.Duration
	for i := range k.kills {
		moment := random.IntN(3)
		times[moment]++
		most := 1500 * time.Millisecond
		if moment == 0 {
			most = early
		} else {
			took, err := k.goOn(ctx, p)
			if err == nil && moment == 2 {
				err = p.ready(ctx)
			}
			if err != nil {
				return p, fmt.Errorf("after %d kills: %w", i, err)
			}
			slowest = max(slowest, took)
		}
		select {
		case <-time.After(time.Duration(random.Int64N(int64(most)))):
		case <-p.ended:
			return p, fmt.Errorf("after %d kills: %w: %w\n%s", i, errEnded, p.err, p.tail())
		case <-ctx.Done():
			return p, context.Cause(ctx)
		}
		p.kill()
		k.base.Store(new(nobody)) // another process may get the port
		next, err := k.s.spawn("-queue", fmt.Sprint(k.queue))
		if err != nil {
			return p, err
		}
		p = next
		if (i+1)%20 == 0 {
			fmt.Fprintf(k.s.out, "%d of %d kills\n", i+1, k.kills)
		}
	}
	if _, err := k.goOn(ctx, p); err != nil {
		return p, fmt.Errorf("after all kills: %w", err)
	}
	k.r.figure("kills", "%d: %d within %v of the start, %d soon after it listens, %d while it computes; it listened again after at most %v",
		k.kills, times[0], early, times[1], times[2], slowest.Round(time.Millisecond))
	return p, nil
}

// early is the time of the start in which a server is killed.
const early = 400 * time.Millisecond

// goOn waits until a server listens, and lets the clients ask it.
func (k *killing) goOn(ctx context.Context, p *process) (took time.Duration, err error) {
	if err := p.listens(ctx); err != nil {
		return 0, err
	}
	took = time.Since(p.began)
	k.base.Store(&p.base)
	return took, nil
}

// write submits jobs until the kills are over, and looks now and then at one that was answered before.
func (k *killing) write(ctx context.Context, random *rand.Rand) {
	for !k.over.Load() && ctx.Err() == nil {
		k.tried.Add(1)
		var err error
		switch random.IntN(9) {
		case 0, 3:
			err = k.look(ctx, random)
		case 1:
			err = k.generate(ctx, random)
		case 2:
			b := k.l.imageBody(random)
			b.vary(random)
			b.want.recipe = ""
			err = k.accept(ctx, b, random)
		default:
			b := k.l.body(random)
			b.vary(random)
			err = k.accept(ctx, b, random)
		}
		most := 300 * time.Millisecond // so that jobs are accepted in every life of the server
		if err != nil {                // it was killed
			most = 40 * time.Millisecond
		}
		sleep(ctx, time.Duration(random.Int64N(int64(most))))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// accept submits a job with a key, again until it is answered: one that was accepted when the server was killed is the
// same then.
func (k *killing) accept(ctx context.Context, b body, random *rand.Rand) error {
	key := [2]string{"Idempotency-Key", fmt.Sprintf("%x", random.Uint64())}
	b.fields["priority"] = -1 // behind clients that wait
	for {
		a, err := k.once(ctx, "/v1/jobs", b, key)
		var j jobRecord
		switch {
		case err == nil && (a.status == 202 || a.status == 200) && a.object(&j) == nil:
			if !k.l.known.accept(&accepted{id: j.ID, want: b.want, images: b.images}) {
				k.r.violate("an id was answered twice", "%s", j.ID)
			}
			return nil
		case err == nil && a.status != 503:
			k.r.violate("a job is refused", "%v: %s", b.want, a)
			return nil
		case k.over.Load():
			return errors.New("it was not accepted")
		case ctx.Err() != nil:
			return ctx.Err()
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// once sends a job without waiting where the queue is full.
func (k *killing) once(ctx context.Context, path string, b body, header ...[2]string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return k.l.c.once(ctx, jsonRequest("POST", path, b.fields, header...))
}

// generate asks for an image; what is answered must be there from then on.
func (k *killing) generate(ctx context.Context, random *rand.Rand) error {
	b := k.l.body(random)
	a, err := k.once(ctx, "/generate", b)
	if err != nil {
		return err
	}
	var answer struct{ ID string }
	switch {
	case a.status == 200 && a.object(&answer) == nil:
		k.l.known.make(answer.ID, b.want)
	case a.status != 503:
		k.r.violate("an image is refused", "%v: %s", b.want, a)
	}
	return nil
}

// look wants a job that was answered before; one that was done stays so, with its images.
func (k *killing) look(ctx context.Context, random *rand.Rand) error {
	id := k.l.known.someJob(random)
	if id == "" {
		return nil
	}
	a, err := k.l.c.get(ctx, "/v1/jobs/"+id)
	if err != nil || a.status == 503 {
		return err
	}
	var j jobRecord
	if a.status != 200 || a.object(&j) != nil {
		k.r.violate("a job whose id was answered is lost", "%s: %s", id, a)
		return nil
	}
	_, was := k.done.Load(id)
	switch {
	case was && j.State != "done":
		k.r.violate("a job that was done is not any more", "%s is %s", id, j.State)
	case j.State == "done":
		k.done.Store(id, true)
	}
	return nil
}
