package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// overhead compares how many images a second the server gives, with a journal, events that are followed and previews,
// with what it gives without the last two, and with what the device gives alone, by goxl bench.
type overhead struct {
	goxl, model, device      string
	blocks, images, inFlight int
	previews                 int
	tolerance                float64

	s *setup
	c *client
}

func (o *overhead) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.goxl, "goxl", "", "`file` of the goxl command, of the same build as -server")
	fs.StringVar(&o.model, "model", "demo", "`model` of both, as their -model")
	fs.StringVar(&o.device, "device", "auto", "`device` of both, as their -device: one")
	fs.IntVar(&o.blocks, "blocks", 3, "`times` that both ways of asking the server are measured, by turns")
	fs.IntVar(&o.images, "images", 15, "`images` of a measurement")
	fs.IntVar(&o.inFlight, "in-flight", 3, "`jobs` that wait or are computed at any time")
	fs.IntVar(&o.previews, "preview-every", 5, "`steps` between previews")
	fs.Float64Var(&o.tolerance, "tolerance", 1, "`percent` of the images a second that journal, events and previews may cost")
}

func (o *overhead) run(ctx context.Context, s *setup, r *report) error {
	switch {
	case o.goxl == "":
		return errors.New("-goxl is missing: must be the file of the goxl command")
	case o.blocks < 1 || o.images < 3 || o.inFlight < 1 || o.previews < 1:
		return fmt.Errorf("-blocks is %d, -images %d, -in-flight %d, -preview-every %d: must be at least 1, 3, 1, 1", o.blocks, o.images, o.inFlight, o.previews)
	}
	o.s = s
	alone, err := o.bench(ctx)
	if err != nil {
		return err
	}
	p, err := s.start(ctx, "-model", o.model, "-device", o.device, "-refiner", "none")
	if err != nil {
		return err
	}
	defer p.kill()
	o.c = newClient(func() string { return p.base }, r, newLatencies())
	defer o.c.close()
	if _, err := o.block(ctx, true, 2*o.inFlight); err != nil { // loads the model
		return err
	}
	var all, plain, idle []float64
	for i := range o.blocks {
		for _, whole := range []bool{true, false} {
			b, err := o.block(ctx, whole, o.images)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "block %d, events and previews %v: %.4f images/s, device idle %.2f %%\n", i+1, whole, b.rate, b.idle)
			if whole {
				all, idle = append(all, b.rate), append(idle, b.idle)
			} else {
				plain = append(plain, b.rate)
			}
		}
	}
	if err := p.stop(ctx); err != nil {
		r.violate("the server does not end well", "%v", err)
	}
	after, err := o.bench(ctx)
	if err != nil {
		return err
	}
	alone = append(alone, after...)
	o.judge(r, all, plain, idle, alone)
	return nil
}

// judge compares the medians.
func (o *overhead) judge(r *report, all, plain, idle, alone []float64) {
	device := 1 / median(alone)
	r.figure("image", "%d×%d, %d steps, model %s; %d measurements of %d images each way by turns, %d in flight", o.s.size, o.s.size, o.s.steps, o.model, o.blocks, o.images, o.inFlight)
	r.figure("goxl bench", "%.4f images/s: median of %d images without their PNG, %.4f to %.4f s", device, len(alone), slices.Min(alone), slices.Max(alone))
	r.figure("/generate", "%.4f images/s, %.4f to %.4f", median(plain), slices.Min(plain), slices.Max(plain))
	r.figure("jobs, events, previews", "%.4f images/s, %.4f to %.4f; a preview each %d steps; the device was idle for %.2f %%", median(all), slices.Min(all), slices.Max(all), o.previews, median(idle))
	for _, than := range []struct {
		name string
		rate float64
	}{{"goxl bench", device}, {"/generate", median(plain)}} {
		costs := 100 * (1 - median(all)/than.rate)
		r.figure("costs against "+than.name, "%+.2f %%", costs)
		if costs > o.tolerance {
			r.violate("journal, events and previews cost too much", "%.2f %% of the images/s of %s: must be at most %v %%", costs, than.name, o.tolerance)
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// block is a measurement.
type block struct {
	rate float64 // images a second, from the end of the first to that of the last
	idle float64 // percent of the time in which the device computed nothing
}

// block has images computed, as jobs whose events are followed, with previews, or by /generate.
func (o *overhead) block(ctx context.Context, whole bool, images int) (b block, err error) {
	before, err := o.computed(ctx)
	if err != nil {
		return b, err
	}
	var next atomic.Int64
	var all sync.WaitGroup
	ends, failed := make(chan time.Time, images), make(chan error, o.inFlight)
	began := time.Now()
	for range o.inFlight {
		all.Go(func() {
			for {
				n := int(next.Add(1))
				if n > images {
					return
				}
				if err := o.one(ctx, whole, n); err != nil {
					failed <- err
					return
				}
				ends <- time.Now()
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if len(failed) > 0 {
		return b, <-failed
	}
	after, err := o.computed(ctx)
	if err != nil {
		return b, err
	}
	first := <-ends
	last := first
	for range images - 1 {
		if t := <-ends; t.After(last) {
			last = t
		} else if t.Before(first) {
			first = t
		}
	}
	return block{float64(images-1) / last.Sub(first).Seconds(), 100 * (1 - (after-before)/took.Seconds())}, nil
}

// one has an image computed.
func (o *overhead) one(ctx context.Context, whole bool, n int) error {
	fields := map[string]any{
		"prompt": "a lighthouse at dusk", "width": o.s.size, "height": o.s.size, "num_inference_steps": o.s.steps, "seed": n,
	}
	path, status := "/generate", 200
	if whole {
		path, status = "/v1/jobs", 202
		fields["preview_every"] = o.previews
	}
	a, err := o.c.post(ctx, path, fields)
	if err != nil {
		return err
	}
	var answer struct{ ID string }
	if a.status != status || a.object(&answer) != nil {
		return fmt.Errorf("%s: %s", path, a)
	}
	if !whole {
		return nil
	}
	events := 0
	if _, err := o.c.follow(ctx, answer.ID, func() bool { events++; return false }); err != nil {
		return err
	}
	j, _, err := o.c.job(ctx, answer.ID)
	if err == nil && (j.State != "done" || events < o.s.steps) {
		err = fmt.Errorf("job %s is %s after %d events: %+v", j.ID, j.State, events, j.Error)
	}
	return err
}

// computed is for how many seconds the device has computed.
func (o *overhead) computed(ctx context.Context) (seconds float64, err error) {
	a, err := o.c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for _, stage := range []string{"prepare", "denoise", "decode"} {
		of, err := sumOfMetric(string(a.body), "goxl_job_stage_seconds_sum", fmt.Sprintf("stage=%q", stage))
		if err != nil {
			return 0, nil // before the first image there is none
		}
		seconds += of
	}
	return seconds, nil
}

// bench has goxl bench time images: the seconds of each but the first, less those of the PNG, which the server encodes
// beside the next image.
func (o *overhead) bench(ctx context.Context) (seconds []float64, err error) {
	size, steps := fmt.Sprint(o.s.size), fmt.Sprint(o.s.steps)
	c := exec.CommandContext(ctx, o.goxl, "bench", "image", "-model", o.model, "-device", o.device, "-width", size, "-height", size, "-steps", steps,
		"-runs", fmt.Sprint(o.images/2+2), "-json")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("goxl bench image: %w", err)
	}
	var figures struct {
		Images []float64 `json:"images_s"`
		Stages []struct {
			Stage   string  `json:"stage"`
			Seconds float64 `json:"s"`
		} `json:"stages"`
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&figures); err != nil || len(figures.Images) == 0 {
		return nil, fmt.Errorf("goxl bench image has no figures: %w\n%s", err, out)
	}
	png := 0.0
	for _, s := range figures.Stages {
		if s.Stage == "png" {
			png = s.Seconds
		}
	}
	for _, s := range figures.Images {
		seconds = append(seconds, s-png)
	}
	return seconds, nil
}
