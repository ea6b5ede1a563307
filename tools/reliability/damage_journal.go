package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/job"
)

// write has a server write a journal with jobs that are done, cancelled, removed and open, and reads it. The server is
// killed, so that some jobs were running.
func (d *damage) write(ctx context.Context) error {
	p, err := d.s.start(ctx, "-queue", fmt.Sprint(d.jobs))
	if err != nil {
		return err
	}
	defer p.kill()
	l := &load{s: d.s, r: d.r, c: newClient(func() string { return p.base }, d.r, newLatencies())}
	defer l.c.close()
	if err := l.prepare(ctx); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(d.s.seed, 1))
	for i := range d.jobs {
		b := l.body(random)
		if i%7 == 0 {
			b = l.imageBody(random)
		}
		b.vary(random)
		id, err := l.submit(ctx, b, [2]string{"Idempotency-Key", fmt.Sprint("key ", i)})
		if err != nil {
			return err
		}
		if i%9 == 0 {
			if a, err := l.c.do(ctx, request{method: "DELETE", path: "/v1/jobs/" + id}); err != nil || a.status != 200 {
				return fmt.Errorf("job %s can't be cancelled: %s, %w", id, a, err)
			}
		}
		if i%18 == 0 {
			if a, err := l.c.do(ctx, request{method: "DELETE", path: "/v1/jobs/" + id + "?purge=true"}); err != nil || a.status != 204 {
				return fmt.Errorf("job %s can't be removed: %s, %w", id, a, err)
			}
		}
	}
	const open = 10 // jobs that are left
	for {           // the last ones stay open
		n, err := l.c.metric(ctx, "goxl_queue_length", "")
		if err != nil {
			return err
		}
		if n <= open {
			break
		}
		if sleep(ctx, 0); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	p.kill()
	return d.read()
}

// read writes once more, and reads the file, and what it said before that.
func (d *damage) read() (err error) {
	path := filepath.Join(d.s.images(), journalName)
	if d.before, err = readJournal(path); err != nil {
		return err
	}
	j, err := job.OpenJournal(path, job.JournalOptions{})
	if err != nil {
		return err
	}
	_, _, err = j.Accept(job.Job{ID: "the last one", Model: "demo"})
	if err == nil { // a job that no server could compute must not stay open
		d.before, _, err = listAll(j)
	}
	if err == nil {
		_, err = j.Update("the last one", func(of *job.Job) error { of.State = job.Cancelled; return nil })
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return err
	}
	if d.records, err = readJournal(path); err != nil {
		return err
	}
	if d.file, err = os.ReadFile(path); err != nil {
		return err
	}
	states := map[string]int{}
	for _, of := range d.records {
		states[string(of.State)]++
		if of.State.Ended() {
			d.ended = append(d.ended, of.ID)
		}
	}
	slices.Sort(d.ended)
	d.r.figure("journal", "%d bytes, jobs: %s", len(d.file), counts(states))
	d.images = map[string][32]byte{}
	entries, err := os.ReadDir(d.s.images())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == journalName {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.s.images(), e.Name()))
		if err != nil {
			return err
		}
		id, _, _ := strings.Cut(e.Name(), ".")
		d.images[id] = sha256.Sum256(data)
	}
	return nil
}
