package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goxl/goxl/job"
)

// damage damages a journal that a server wrote, and opens it: what is opened has the records that were written, or says
// which are damaged, or it is refused.
type damage struct {
	cuts, flips, servers, jobs int

	s       *setup
	r       *report
	file    []byte              // as it was written
	records map[string]job.Job  // that it has
	before  map[string]job.Job  // and had before the last write
	images  map[string][32]byte // SHA-256 of the images' files
	ended   []string            // ids of jobs that have ended, in order
}

func (d *damage) flags(fs *flag.FlagSet) {
	fs.IntVar(&d.cuts, "cuts", 1000, "`times` that the file is cut, each at another offset")
	fs.IntVar(&d.flips, "flips", 1000, "`times` that bits are flipped: one, or as many as 64")
	fs.IntVar(&d.servers, "servers", 20, "`times` that a server is started with a damaged file, half of them with one that was cut")
	fs.IntVar(&d.jobs, "jobs", 300, "`jobs` that the journal is written with")
}

func (d *damage) run(ctx context.Context, s *setup, r *report) error {
	if d.jobs < 1 {
		return fmt.Errorf("-jobs is %d: must be at least 1", d.jobs)
	}
	d.s, d.r = s, r
	if err := d.write(ctx); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(s.seed, 2))
	for _, kind := range []struct {
		name  string
		times int
		once  func(*rand.Rand) ([]byte, string)
	}{{"cut", d.cuts, d.cut}, {"flipped bits", d.flips, d.flip}} {
		outcomes := map[string]int{}
		for i := range kind.times {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			file, what := kind.once(random)
			outcome, err := d.examine(file)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			for _, why := range outcome.wrong {
				r.violate("a damaged journal gives what was not written", "%s: %s", what, why)
			}
			outcomes[outcome.name]++
			if (i+1)%200 == 0 {
				fmt.Fprintf(s.out, "%s: %d of %d\n", kind.name, i+1, kind.times)
			}
		}
		r.figure(kind.name, "%d times: %s", kind.times, counts(outcomes))
	}
	return d.serve(ctx, random)
}

// counts are outcomes as a text.
func counts(outcomes map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		list = append(list, fmt.Sprintf("%d %s", outcomes[name], name))
	}
	return strings.Join(list, ", ")
}

// cut shortens the file.
func (d *damage) cut(random *rand.Rand) ([]byte, string) {
	n := 1 + random.IntN(len(d.file)-1)
	return d.file[:n], fmt.Sprintf("cut to %d bytes of %d", n, len(d.file))
}

// flip flips a bit, or several.
func (d *damage) flip(random *rand.Rand) ([]byte, string) {
	bits := 1
	if random.IntN(2) == 0 {
		bits = 1 + random.IntN(64)
	}
	file := bytes.Clone(d.file)
	var at []int
	for range bits {
		bit := random.IntN(8 * len(file))
		file[bit/8] ^= 1 << (bit % 8)
		at = append(at, bit)
	}
	return file, fmt.Sprintf("flipped bits %v", at)
}

// outcome is what came of a damaged file.
type outcome struct {
	name  string
	wrong []string // what must not be
}

// examine opens a damaged file.
func (d *damage) examine(file []byte) (o outcome, err error) {
	path := filepath.Join(d.s.folder, "damaged.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return o, err
	}
	var log bytes.Buffer
	j, err := job.OpenJournal(path, job.JournalOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		o.name = "refused"
		var damaged *job.DamagedError
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), path) {
			o.wrong = append(o.wrong, fmt.Sprintf("it is refused without the reason: %v", err))
		}
		return o, nil
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	got, damaged, err := listAll(j)
	if err != nil {
		o.wrong = append(o.wrong, fmt.Sprintf("it can't be listed: %v", err))
		return o, nil
	}
	for id := range d.records {
		of, err := j.Get(id)
		var why *job.DamagedError
		switch {
		case err == nil && !reflect.DeepEqual(of, got[id]) && !slices.Contains(damaged, id):
			o.wrong = append(o.wrong, fmt.Sprintf("job %s is %+v by its id, and %+v in the list, of which %v are damaged", id, of, got[id], damaged))
		case errors.As(err, &why):
			damaged = append(damaged, id)
		}
	}
	compared := d.compare(got, damaged, log.String())
	return outcome{compared.name, append(o.wrong, compared.wrong...)}, nil
}

// compare says what came of the records: each is as it was written, or reported as damaged. Where the log says that the
// last write may be lost, all may be as before it.
func (d *damage) compare(got map[string]job.Job, damaged []string, log string) (o outcome) {
	o.name = "as it was written"
	note := func(format string, args ...any) { o.wrong = append(o.wrong, fmt.Sprintf(format, args...)) }
	want := d.records
	if strings.Contains(log, "may be lost") {
		o.name = "the other first page counts"
		if !reflect.DeepEqual(got, d.records) {
			want, o.name = d.before, "the last write is lost, and the log says so"
		}
	}
	for id, of := range want {
		now, there := got[id]
		switch {
		case !there && slices.Contains(damaged, id):
			o.name = "records are reported as damaged"
		case !there:
			note("job %s is gone", id)
		case now.Error != nil && now.Error.Kind == job.KindDamagedRecord && now.State == job.Failed && len(now.Outputs) == 0:
			if o.name = "an open job has failed, and says why"; of.State.Ended() {
				note("job %s was %s and is said to have failed", id, of.State)
			}
		case !reflect.DeepEqual(of, now):
			note("job %s is not as it was written: %+v", id, now)
		}
	}
	for id := range got {
		if _, known := want[id]; !known {
			note("there is a job %s that was never written", id)
		}
	}
	if o.name == "as it was written" && log != "" {
		o.name = "repaired"
	}
	return o
}

// copyFile copies a file.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
