package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hostile holds connections in every way that a client should not, while others want to be served. Afterwards the server
// must hold as much as before.
type hostile struct {
	held, flood  int
	hold, settle time.Duration
	lightLimit   time.Duration
	passes       int
	only         string

	s     *setup
	r     *report
	l     load
	p     *process
	large string // id of an image of some megabytes
	job   longJob
	lost  atomic.Int64 // connections that were closed for others before their request was read
}

func (h *hostile) flags(fs *flag.FlagSet) {
	fs.IntVar(&h.held, "held", 500, "`connections` that one attack holds")
	fs.IntVar(&h.flood, "flood", 1500, "`connections` of the attack that opens more than the server keeps")
	fs.DurationVar(&h.hold, "hold", 12*time.Second, "`time` of an attack")
	fs.DurationVar(&h.settle, "settle", 45*time.Second, "`time` at most until the server holds no more than before")
	fs.DurationVar(&h.lightLimit, "light-limit", time.Second, "`time` that 99 of 100 light requests must be answered in meanwhile")
	fs.IntVar(&h.passes, "passes", 2, "`times` that all attacks are made; after the last one the server may not hold more than after the one before")
	fs.StringVar(&h.only, "only", "", "`text` that the names of attacks must have in them to be made")
}

func (h *hostile) run(ctx context.Context, s *setup, r *report) error {
	if h.held < 1 || h.flood < 1 || h.passes < 1 || h.hold < time.Second {
		return fmt.Errorf("-held is %d, -flood %d, -passes %d, -hold %v: must be at least 1, 1, 1, 1s", h.held, h.flood, h.passes, h.hold)
	}
	h.s, h.r, h.l.s, h.l.r = s, r, s, r
	p, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	h.p = p
	h.l.c = newClient(func() string { return p.base }, r, newLatencies())
	if err := h.prepare(ctx); err != nil {
		return err
	}
	h.smuggle(ctx)
	h.l.c.close()
	before, err := h.settled(ctx, levels{files: 1 << 20, goroutines: 1 << 20}, 3*time.Second)
	if err != nil {
		return err
	}
	r.figure("before", "%v", before)
	var after levels
	for pass := range h.passes {
		for _, a := range h.attacks() {
			if !strings.Contains(a.name, h.only) {
				continue
			}
			if err := h.attack(ctx, a, before, pass); err != nil {
				return err
			}
		}
		last := after
		if after, err = h.settled(ctx, before, h.settle/2); err != nil {
			return err
		}
		r.figure(fmt.Sprintf("after pass %d", pass+1), "%v", after)
		// The first pass pays for pools and buffers that are kept.
		if pass > 0 && float64(after.resident) > 1.05*float64(last.resident)+8<<20 {
			r.violate("memory grows from pass to pass", "%v, after the pass before %v", after, last)
		}
	}
	r.figure("connected again", "%d clients, whose connection was closed for one of more than are kept", h.lost.Load())
	if err := p.stop(ctx); err != nil {
		r.violate("the server does not end well", "%v", err)
	}
	return nil
}

// prepare computes images and uploads a large one.
func (h *hostile) prepare(ctx context.Context) error {
	if err := h.l.prepare(ctx); err != nil {
		return err
	}
	data, err := noise(rand.New(rand.NewPCG(h.s.seed, 9)), 1536, 1536, "image/png")
	if err != nil {
		return err
	}
	a, err := h.l.c.do(ctx, request{method: "POST", path: "/v1/images", kind: "image/png", body: data})
	if err != nil {
		return err
	}
	var answer struct{ ID string }
	if a.status != 201 || a.object(&answer) != nil {
		return fmt.Errorf("an upload was answered %s", a)
	}
	h.large, h.job.l = answer.ID, &h.l
	return nil
}

// attack holds connections in one way, asks for what others want meanwhile, lets them go, and waits until the server
// has let them go too.
func (h *hostile) attack(ctx context.Context, a attack, before levels, pass int) error {
	held, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var opened atomic.Int64
	for i := range a.connections {
		all.Go(func() {
			random := rand.New(rand.NewPCG(h.s.seed, uint64(i)))
			for held.Err() == nil {
				c, err := net.DialTimeout("tcp", strings.TrimPrefix(h.p.base, "http://"), 5*time.Second)
				if err == nil {
					opened.Add(1)
					stop := context.AfterFunc(held, func() { _ = c.Close() }) // ends reads and writes
					_ = a.hold(held, h, c.(*net.TCPConn), random)             // the server closes it when it wants
					stop()
					_ = c.Close() // or it is closed
				}
				sleep(held, 200*time.Millisecond)
			}
		})
	}
	times, images := h.serveOthers(ctx, a)
	cancel()
	all.Wait()
	h.job.cancel(ctx)
	name := fmt.Sprintf("%s (%d)", a.name, a.connections)
	light := times.sorted("light")
	after, err := h.settled(ctx, before, h.settle)
	if err != nil {
		return err
	}
	h.r.figure(name, "%d opened; %s; %d images; %v", opened.Load(), strings.TrimSpace(spread(light)), images, after)
	fmt.Fprintf(h.s.out, "pass %d: %s\n", pass+1, name)
	if p99 := quantile(light, 0.99); len(light) == 0 || p99 > h.lightLimit {
		h.r.violate("others are not served in time", "%s: p99 of %d requests is %v", a.name, len(light), p99)
	}
	if images == 0 && !a.keepsDevice {
		h.r.violate("others are not served in time", "%s: no image", a.name)
	}
	const slack = 3 // of what comes and goes by itself
	if after.files > before.files+slack || after.goroutines > before.goroutines+slack {
		h.r.violate("the server holds more than before", "%s: %v, before %v", a.name, after, before)
	}
	return nil
}

// serveOthers asks for what ordinary clients want, on new connections and on one that is kept, for as long as an attack
// takes.
func (h *hostile) serveOthers(ctx context.Context, a attack) (times *latencies, images int) {
	until := time.Now().Add(h.hold)
	times = newLatencies()
	var all sync.WaitGroup
	for kept := range 2 {
		all.Go(func() {
			c := newClient(func() string { return h.p.base }, h.r, times)
			defer c.close()
			for time.Now().Before(until) && ctx.Err() == nil {
				for _, path := range []string{"/healthz", "/v1/queue", "/v1/jobs?limit=5", "/"} {
					answer, err := c.once(ctx, request{name: "light", method: "GET", path: path})
					if ctx.Err() == nil && (err != nil || answer.status != 200) {
						h.r.violate("others are refused", "%s: %s: %s, %v", a.name, path, answer, err)
					}
				}
				if kept == 0 {
					c.close()
				}
				sleep(ctx, 20*time.Millisecond)
			}
		})
	}
	if !a.keepsDevice {
		random := rand.New(rand.NewPCG(h.s.seed, 5))
		c := newClient(func() string { return h.p.base }, h.r, newLatencies())
		c.http.Transport.(*http.Transport).DisableKeepAlives = true // one that waits may be closed for others
		failed := 0
		for time.Now().Before(until) && ctx.Err() == nil && failed < 2 {
			l := load{s: h.s, r: h.r, c: c}
			err := l.answeredNow(ctx, l.body(random))
			switch {
			case err == nil:
				images, failed = images+1, 0
			case failed == 0 && a.connections > h.held && errors.Is(err, io.EOF):
				failed++ // among more connections than are kept, one is closed before its request is read
				h.lost.Add(1)
			default:
				failed = 2
				h.r.violate("others are refused", "%s: %v", a.name, err)
			}
			sleep(ctx, 100*time.Millisecond)
		}
	}
	all.Wait()
	return times, images
}

// settled waits until the server holds no more than it did, and returns what it holds.
func (h *hostile) settled(ctx context.Context, before levels, most time.Duration) (now levels, err error) {
	c := newClient(func() string { return h.p.base }, newReport(), newLatencies())
	defer c.close()
	until := time.Now().Add(most)
	for {
		sleep(ctx, 500*time.Millisecond)
		n, err := c.metric(ctx, "go_goroutines", "")
		if err != nil {
			return now, err
		}
		if now, err = h.p.levels(); err != nil {
			return now, err
		}
		now.goroutines = int(n)
		enough := now.files <= before.files && now.goroutines <= before.goroutines
		if before.resident == 0 {
			enough = false // before all: a while for what the start left
		} else if enough && most == h.settle/2 {
			enough = now.resident <= before.resident // the collector gives memory back by and by
		}
		if enough || time.Now().After(until) || ctx.Err() != nil {
			return now, ctx.Err()
		}
	}
}
