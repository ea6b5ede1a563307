package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// serve starts servers with damaged files: each refuses its own by name, or answers each job that has ended as it was
// written, or that its record is damaged, and with the images that it had.
func (d *damage) serve(ctx context.Context, random *rand.Rand) error {
	outcomes := map[string]int{}
	for i := range d.servers {
		file, what := d.cut(random)
		if i%2 == 0 {
			file, what = d.flip(random)
		}
		folder := filepath.Join(d.s.folder, fmt.Sprintf("served-%d", i))
		name, err := d.serveOne(ctx, file, folder)
		if err != nil {
			d.r.violate("a server gives what was not written", "%s: %v", what, err)
		}
		outcomes[name]++
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	d.r.figure("servers", "%d started: %s", d.servers, counts(outcomes))
	return nil
}

// serveOne starts a server in a copy of the folder, with a damaged journal.
func (d *damage) serveOne(ctx context.Context, file []byte, folder string) (outcome string, err error) {
	if err := os.Mkdir(folder, 0o750); err != nil {
		return "not tried", err
	}
	entries, err := os.ReadDir(d.s.images())
	for _, e := range entries {
		if err == nil && e.Name() != journalName {
			err = copyFile(filepath.Join(folder, e.Name()), filepath.Join(d.s.images(), e.Name()))
		}
	}
	path := filepath.Join(folder, journalName)
	if err = errors.Join(err, os.WriteFile(path, file, 0o600)); err != nil {
		return "not tried", err
	}
	// Jobs that are open are not the matter here, and no device is needed for the others.
	p, err := d.s.spawn("-images", folder)
	if err != nil {
		return "not tried", err
	}
	defer p.kill()
	if err := p.listens(ctx); err != nil {
		if text := p.tail(); !errors.Is(err, errEnded) || !strings.Contains(text, path) || !strings.Contains(text, "move it away") || p.cmd.ProcessState.ExitCode() != 1 {
			return "refused", fmt.Errorf("it does not start, and does not say that the journal is damaged: %w", err)
		}
		return "refused by name", nil
	}
	c := newClient(func() string { return p.base }, newReport(), newLatencies())
	defer c.close()
	return d.ask(ctx, c, p)
}

// ask asks for all jobs that had ended. Of one that is not there, the log must say that its record is damaged, once the
// jobs are listed.
func (d *damage) ask(ctx context.Context, c *client, p *process) (outcome string, err error) {
	outcome = "all as it was written"
	var missing []string // what leads to them is damaged
	for _, id := range d.ended {
		was := d.records[id]
		if was.API == "" { // the last one, whose id no client can have
			continue
		}
		j, status, err := c.job(ctx, id)
		switch {
		case err != nil:
			return outcome, err
		case status == 500:
			outcome = "some said to be damaged" // the log says what
			continue
		case status == 404:
			missing = append(missing, id)
			continue
		case status != 200:
			return outcome, fmt.Errorf("job %s is answered %d", id, status)
		case j.State != string(was.State) || len(j.Images) != len(was.Outputs):
			return outcome, fmt.Errorf("job %s is %s with %d images, was %s with %d", id, j.State, len(j.Images), was.State, len(was.Outputs))
		}
		for i, img := range j.Images {
			a, err := c.get(ctx, img.URL)
			if err != nil {
				return outcome, err
			}
			if img.ID != was.Outputs[i].ID || a.status != 200 || sha256.Sum256(a.body) != d.images[img.ID] {
				return outcome, fmt.Errorf("image %d of job %s is another one: %d, %d bytes", i, id, a.status, len(a.body))
			}
		}
	}
	if len(missing) == 0 {
		return outcome, nil
	}
	if err := d.list(ctx, c); err != nil {
		return outcome, err
	}
	log, err := os.ReadFile(p.log)
	if err == nil && !strings.Contains(string(log), "damaged") {
		err = fmt.Errorf("jobs %v are not there, and the log has nothing of that", missing)
	}
	return "some not there, of which the log says that they are damaged", err
}

// list pages through all jobs.
func (d *damage) list(ctx context.Context, c *client) error {
	for before := ""; ; {
		a, err := c.get(ctx, "/v1/jobs?limit=200"+before)
		if err != nil {
			return err
		}
		var page struct{ Next string }
		if err := a.object(&page); err != nil || a.status != 200 {
			return fmt.Errorf("the list of jobs is answered %s", a)
		}
		if page.Next == "" {
			return nil
		}
		before = "&before=" + page.Next
	}
}
