package main

import (
	"context"
	"encoding/base64"
	"sync"
)

// checkImage checks the answer of a download.
func (l *load) checkImage(id string, w want, a answer) {
	if a.status != 200 {
		l.r.violate("an image is not there", "%s: %s", id, a)
		return
	}
	if kind := a.header.Get("Content-Type"); kind != w.kind {
		l.r.violate("an image is not as wanted", "%s is %s, want %s", id, kind, w.kind)
		return
	}
	l.checkData(id, w, a.body)
}

func (l *load) checkBase64(id string, w want, text string) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		l.r.violate("an image is not as wanted", "%s: %v", id, err)
		return
	}
	l.checkData(id, w, data)
}

func (l *load) checkData(id string, w want, data []byte) {
	pixels, err := w.check(data)
	if err == nil {
		err = l.made.compare(w.recipe, pixels)
	}
	if err != nil {
		l.r.violate("an image is not as wanted", "%s: %v", id, err)
		return
	}
	l.verified.Add(1)
}

// verify waits for the end of every job whose id was answered, and looks at every image.
func (l *load) verify(ctx context.Context) error {
	work := make(chan func() error)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for do := range work {
				if err := do(); err != nil && ctx.Err() == nil {
					l.r.violate("a request without its answer", "%v", err)
				}
			}
		})
	}
	for _, a := range l.known.jobs {
		work <- func() error { return l.verifyJob(ctx, a) }
	}
	for _, m := range l.known.images {
		work <- func() error {
			a, err := l.c.once(ctx, request{method: "GET", path: "/download/" + m.id})
			if err == nil {
				l.checkImage(m.id, m.want, a)
			}
			return err
		}
	}
	close(work)
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// verifyJob wants of a job that it is done, unless it was cancelled, and that its images are as wanted; of one that was
// removed, that it is gone.
func (l *load) verifyJob(ctx context.Context, a *accepted) error {
	j, status, err := l.c.untilEnded(ctx, a.id)
	switch {
	case err != nil:
		return err
	case a.removed && status == 404:
		return nil
	case status != 200:
		l.r.violate("a job whose id was answered is lost", "%s: %d", a.id, status)
		return nil
	case a.removed:
		l.r.violate("a job that was removed is there", "%s is %s", a.id, j.State)
		return nil
	case j.State == "cancelled" && a.cancelled:
		return nil
	case j.State != "done" || len(j.Images) != a.images:
		l.r.violate("a job did not end as it should", "%s is %s after %d attempts with %d images of %d: %+v", a.id, j.State, j.Attempts, len(j.Images), a.images, j.Error)
		return nil
	}
	for i, img := range j.Images {
		w := a.want
		if img.Seed != nil {
			w.seed = *img.Seed
		}
		if i > 0 {
			w.recipe = ""
		}
		answer, err := l.c.once(ctx, request{method: "GET", path: img.URL})
		if err != nil {
			return err
		}
		l.checkImage(img.ID, w, answer)
	}
	return nil
}
