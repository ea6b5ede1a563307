package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// memory has images of mixed sizes and formats computed, and looks whether the server's memory grows.
type memory struct {
	images, warm, clients int
	limit                 float64

	s       *setup
	r       *report
	l       load
	mu      sync.Mutex // guards what follows
	begun   int        // images of jobs that were submitted
	samples []sample
}

// sample is what the process held when so many images were done.
type sample struct {
	images    int
	resident  float64 // MiB
	anonymous float64
}

func (m *memory) flags(fs *flag.FlagSet) {
	fs.IntVar(&m.images, "images", 2000, "`images` after those that warm up")
	fs.IntVar(&m.warm, "warm", 500, "`images` before memory is looked at")
	fs.IntVar(&m.clients, "clients", 4, "`clients` that wait for their image each")
	fs.Float64Var(&m.limit, "tolerance", 2, "`percent` that memory may change from the second quarter to the last, and along a line")
}

func (m *memory) run(ctx context.Context, s *setup, r *report) error {
	if m.images < 40 || m.warm < 0 || m.clients < 1 {
		return fmt.Errorf("-images is %d, -warm %d, -clients %d: must be at least 40, 0, 1", m.images, m.warm, m.clients)
	}
	m.s, m.r, m.l.s, m.l.r = s, r, s, r
	p, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	m.l.c = newClient(func() string { return p.base }, r, newLatencies())
	defer m.l.c.close()
	if err := m.l.prepare(ctx); err != nil {
		return err
	}
	stop := m.watch(ctx, p)
	var all sync.WaitGroup
	for i := range m.clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(s.seed, uint64(i)+1))
			for m.more() && ctx.Err() == nil {
				if err := m.one(ctx, random); err != nil && ctx.Err() == nil {
					r.violate("a request without its answer", "%v", err)
				}
			}
		})
	}
	all.Wait()
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.judge()
	if err := p.stop(ctx); err != nil {
		r.violate("the server does not end well", "%v", err)
	}
	return nil
}

func (m *memory) more() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun < m.warm+m.images
}

// one submits a job and does with it what clients do.
func (m *memory) one(ctx context.Context, random *rand.Rand) error {
	l := &m.l
	b := l.body(random)
	if random.IntN(4) == 0 {
		b = l.imageBody(random)
		b.want.recipe = ""
	} else if random.IntN(3) == 0 { // larger, or the other way round
		b.want.width, b.want.height = m.s.size*[]int{1, 2}[random.IntN(2)], m.s.size*2
		b.fields["width"], b.fields["height"] = b.want.width, b.want.height
		b.want.recipe = ""
	}
	b.vary(random)
	if b.want.recipe != "" && b.images > 1 {
		b.want.recipe = ""
	}
	m.mu.Lock()
	m.begun += b.images
	m.mu.Unlock()
	id, err := l.submit(ctx, b)
	if err != nil || id == "" {
		return err
	}
	if random.IntN(12) == 0 {
		sleep(ctx, time.Duration(random.IntN(100))*time.Millisecond)
		l.known.cancel(id)
		if a, err := l.c.once(ctx, request{method: "DELETE", path: "/v1/jobs/" + id}); err != nil || a.status != 200 {
			return fmt.Errorf("job %s can't be cancelled: %s, %w", id, a, err)
		}
	}
	if random.IntN(2) == 0 {
		if _, err := l.c.follow(ctx, id, func() bool { return false }); err != nil {
			return err
		}
	}
	if err := l.verifyJob(ctx, l.known.job(id)); err != nil {
		return err
	}
	if random.IntN(2) == 0 {
		return l.expect(ctx, request{method: "DELETE", path: "/v1/jobs/" + id + "?purge=true"}, 204)
	}
	return nil
}

// watch looks ten times a second what the process holds, once it is warm. What it returns ends that.
func (m *memory) watch(ctx context.Context, p *process) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		said := 0
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			now, err := p.levels()
			m.mu.Lock()
			n := m.begun - m.warm
			if err == nil && n > 0 {
				m.samples = append(m.samples, sample{n, mib(now.resident), mib(now.anonymous)})
			}
			m.mu.Unlock()
			if n/500 > said {
				said = n / 500
				fmt.Fprintf(m.s.out, "%d of %d images, %v\n", n, m.images, now)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// judge says how memory changed.
func (m *memory) judge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.figure("images", "%d after %d that warm up; %d decoded and compared with their parameters", m.images, m.warm, m.l.verified.Load())
	for _, of := range []struct {
		name   string
		value  func(sample) float64
		judged bool
	}{
		{"resident memory", func(s sample) float64 { return s.resident }, true},
		{"of that, not of files", func(s sample) float64 { return s.anonymous }, false},
	} {
		t := trendOf(m.samples, m.images, of.value)
		m.r.figure(of.name, "%d samples, mean %.1f MiB, %.1f to %.1f; quarters %.1f %.1f %.1f %.1f MiB; the last is %+.2f %% of the second; along a line %+.2f %%",
			len(m.samples), t.mean, t.least, t.most, t.quarters[0], t.quarters[1], t.quarters[2], t.quarters[3], t.change, t.slope)
		if of.judged && (math.IsNaN(t.change) || math.Abs(t.change) > m.limit || math.Abs(t.slope) > m.limit) {
			m.r.violate("memory is not flat", "%s: %+.2f %% from the second quarter to the last, %+.2f %% along a line: must be within %v %%", of.name, t.change, t.slope, m.limit)
		}
	}
}

// trend is how a value changed while images were made.
type trend struct {
	mean, least, most float64
	quarters          [4]float64 // means
	change            float64    // percent from the second quarter to the last
	slope             float64    // percent of the mean, from the first image to the last along a fitted line
}

func trendOf(samples []sample, images int, value func(sample) float64) (t trend) {
	var sumX, sumY, sumXX, sumXY float64
	var counts [4]float64
	t.least = math.Inf(1)
	for _, s := range samples {
		x, y := float64(s.images)/float64(images), value(s)
		q := min(3, max(0, int(4*x)))
		t.quarters[q] += y
		counts[q]++
		t.least, t.most = min(t.least, y), max(t.most, y)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	n := float64(len(samples))
	for q := range t.quarters {
		t.quarters[q] /= counts[q]
	}
	t.mean = sumY / n
	t.change = 100 * (t.quarters[3]/t.quarters[1] - 1)
	t.slope = 100 * (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX) / t.mean
	return t
}
