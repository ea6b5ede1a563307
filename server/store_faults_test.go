package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// breakStore makes the folder fail, at the beginning of an image or, with late, at its end. The function that it returns
// mends it.
func (b *bench) breakStore(err error, late bool) (mend func()) {
	begin, probe := b.store.begin, b.store.probe
	b.store.begin = func(id string, t blob.Type, bytes int64) (worker.Pending, error) {
		if !late {
			return nil, err
		}
		p, berr := begin(id, t, bytes)
		return failingFile{p, err}, berr
	}
	if !late {
		b.store.probe = func() error { return err }
	}
	return func() { b.store.begin, b.store.probe = begin, probe }
}

// failingFile can't be committed.
type failingFile struct {
	worker.Pending
	err error
}

func (f failingFile) Commit([]byte) error {
	f.Discard()
	return f.err
}

// What keeps an image from being written is answered before it is computed if it can be known then, /readyz tells it,
// and it leaves nothing behind. When it has passed, images are computed again.
func TestStoreFaults(t *testing.T) {
	for _, c := range []struct {
		err    blob.Error
		status int
		words  string
	}{
		{blob.Error{Kind: blob.ErrFull, Err: syscall.ENOSPC}, 507, "The folder of images is full"},
		{blob.Error{Kind: blob.ErrBroken, Err: syscall.EIO}, 503, "The folder of images can't be used"},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(c.err.Err, late), func(t *testing.T) {
				b := loadedBench(t, nil)
				made := id(t, b.do("POST", "/generate", plain))
				b.base.calls.Store(0)
				c.err.Reason = c.err.Err.Error()
				mend := b.breakStore(&c.err, late)
				want := fmt.Sprintf(`{"detail":"%s: %s"}`, c.words, c.err.Reason)
				for path, body := range map[string]string{"/generate": plain, "/refine": `{"id":"` + made + `","prompt":"a"}`} {
					w := b.do("POST", path, body)
					if w.Code != c.status || w.Body.String() != want || (w.Header().Get("Retry-After") != "") != (c.status == 503) {
						t.Errorf("%s: %d %s %v, want %d %s", path, w.Code, w.Body, w.Header(), c.status, want)
					}
				}
				if computed := b.base.calls.Load() + b.refiner.calls.Load(); (computed > 0) != late {
					t.Errorf("%d images were computed", computed)
				}
				if w := b.do("GET", "/readyz", ""); !late && (w.Code != 503 || w.Body.String() != want) {
					t.Errorf("/readyz: %d %s, want 503 %s", w.Code, w.Body, want)
				}
				if n := b.imageCount(t); n != 1 {
					t.Errorf("%d files: want the one of before", n)
				}
				if log := b.log.String(); strings.Count(log, "level=ERROR msg=request") < 2 || !strings.Contains(log, c.err.Reason) {
					t.Errorf("log:\n%s", log)
				}
				mend()
				id(t, b.do("POST", "/generate", plain))
				if w := b.do("GET", "/readyz", ""); w.Code != http.StatusOK {
					t.Errorf("/readyz: %d %s", w.Code, w.Body)
				}
			})
		}
	}
}

// Where descriptors run out before, nothing is computed; where they run out while an image is computed, it is kept all
// the same.
func TestNoDescriptors(t *testing.T) {
	b := loadedBench(t, nil)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Error(err)
		}
	}
	defer set(limit)
	none := syscall.Rlimit{Cur: 1, Max: limit.Max} // those that are open stay
	set(none)
	before, ready := b.do("POST", "/generate", plain), b.do("GET", "/readyz", "")
	set(limit)
	const want = `{"detail":"The folder of images can't be used: too many open files"}`
	if before.Code != 503 || before.Body.String() != want || ready.Code != 503 || ready.Body.String() != want || b.base.calls.Load() > 0 {
		t.Errorf("%d %s, /readyz %d %s, %d computed", before.Code, before.Body, ready.Code, ready.Body, b.base.calls.Load())
	}
	b.base.run = func(context.Context, sdxl.Request) error {
		set(none)
		return nil
	}
	w := b.do("POST", "/generate", plain)
	set(limit)
	id(t, w)
}

// What is accepted for a journal whose file is gone would be lost.
func TestJournalRemoved(t *testing.T) {
	b := loadedBench(t, nil)
	if err := os.Remove(b.config.Journal); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/jobs", `{"prompt":"a"}`}, {"POST", "/generate", `{"prompt":"a"}`}, {"GET", "/readyz", ""},
	} {
		w := b.do(c.method, c.path, c.body)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "journal of jobs") || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s %v", c.path, w.Code, w.Body, w.Header())
		}
	}
}
