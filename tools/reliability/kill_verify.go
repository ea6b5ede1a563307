package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/job"
)

// verify waits for the end of every job that was answered and looks at every image; what was asked for twice, in
// whatever life of the server, must be the same pixels. Then it has some computed anew.
func (k *killing) verify(ctx context.Context) error {
	died, attempts := 0, 0
	for _, a := range k.l.known.jobs {
		j, status, err := k.l.c.untilEnded(ctx, a.id)
		if err != nil {
			return err
		}
		if status == 200 && j.State == "failed" && j.Error != nil && j.Error.Kind == job.KindProcessDied {
			if died++; j.Attempts != mostAttempts {
				k.r.violate("a job failed before its last attempt", "%s after %d", a.id, j.Attempts)
			}
			continue
		}
		if j.Attempts > 1 {
			attempts++
		}
		if err := k.l.verifyJob(ctx, a); err != nil {
			return err
		}
	}
	for _, m := range k.l.known.images {
		a, err := k.l.c.get(ctx, "/download/"+m.id)
		if err != nil {
			return err
		}
		k.l.checkImage(m.id, m.want, a)
	}
	k.r.figure("jobs taken up again", "%d done after more than one attempt; %d failed, each killed in %d attempts", attempts, died, mostAttempts)
	k.r.figure("images", "%d decoded and compared with their parameters; %d equal to another one of the same request", k.l.verified.Load(), k.l.made.compared)
	return k.again(ctx)
}

// again has a sample computed by the last server, which nobody kills.
func (k *killing) again(ctx context.Context) error {
	const sample = 40
	before, sent := k.l.made.compared, 0
	for i, a := range k.l.known.jobs {
		if a.want.recipe == "" || a.images > 1 || i%max(1, len(k.l.known.jobs)/(2*sample)) != 0 {
			continue
		}
		w := a.want
		fields := map[string]any{"prompt": w.prompt, "width": w.width, "height": w.height, "num_inference_steps": w.steps, "seed": w.seed}
		if err := k.l.answeredNow(ctx, body{fields, w, 1}); err != nil {
			return err
		}
		sent++
	}
	if k.l.made.compared-before < sent/2 {
		k.r.violate("images were not compared", "%d of %d", k.l.made.compared-before, sent)
	}
	k.r.figure("computed anew", "%d images, %d of them compared with those from before: equal", sent, k.l.made.compared-before)
	return nil
}

// answeredNow asks for one image and checks it.
func (l *load) answeredNow(ctx context.Context, b body) error {
	a, err := l.c.post(ctx, "/generate", b.fields)
	if err != nil {
		return err
	}
	var answer struct{ ID string }
	if a.status != 200 || a.object(&answer) != nil {
		return fmt.Errorf("/generate: %s", a)
	}
	back, err := l.c.get(ctx, "/download/"+answer.ID)
	if err == nil {
		l.checkImage(answer.ID, b.want, back)
	}
	return err
}

// verifyFolder looks at the folder of images once the server has ended: no file is half-written, and each image is of a
// job, or was uploaded.
func (k *killing) verifyFolder(ctx context.Context) error {
	records, err := readJournal(filepath.Join(k.s.images(), journalName))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	missing := 0
	for _, j := range records {
		for _, id := range append(job.IDs(j.Outputs), job.IDs(j.Inputs)...) {
			known[id] = true
		}
	}
	entries, err := os.ReadDir(k.s.images())
	if err != nil {
		return err
	}
	there := map[string]bool{}
	orphans := 0
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), ".")
		switch {
		case e.Name() == journalName:
		case strings.HasPrefix(e.Name(), "."):
			k.r.violate("a file that is half-written is left", "%s", e.Name())
		case !known[id] && !k.l.uploadedAs(id):
			orphans++ // of a client that left: removed after -keep
		}
		there[id] = true
	}
	for _, j := range records {
		for _, id := range job.IDs(j.Outputs) {
			if j.State == job.Done && !there[id] {
				missing++
				k.r.violate("an image is not there", "%s of job %s", id, j.ID)
			}
		}
	}
	k.r.figure("files", "%d, %d of them of no job, %d missing", len(entries), orphans, missing)
	return ctx.Err()
}

func (l *load) uploadedAs(id string) bool {
	for _, u := range l.uploads {
		if u.id == id {
			return true
		}
	}
	return false
}
