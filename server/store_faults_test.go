package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// faults makes files fail, by the name of the operation; "open" is making one.
type faults map[string]error

func (f faults) create(root *os.Root, name string) (file, error) {
	if err := f["open"]; err != nil {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
	}
	made, err := createFile(root, name)
	return &faultyFile{file: made, faults: f, name: name}, err
}

type faultyFile struct {
	file
	faults  faults
	name    string
	written int
}

func (f *faultyFile) fail(op string) error {
	if err := f.faults[op]; err != nil {
		return &fs.PathError{Op: op, Path: f.name, Err: err}
	}
	return nil
}

func (f *faultyFile) Write(b []byte) (int, error) {
	op := "write"
	if f.written == 0 {
		op = "reserve"
	}
	if err := f.fail(op); err != nil {
		n, werr := f.file.Write(b[:len(b)/2])
		return n, errors.Join(err, werr)
	}
	return f.file.Write(b)
}

func (f *faultyFile) Seek(offset int64, whence int) (int64, error) {
	f.written++
	return f.file.Seek(offset, whence)
}

func (f *faultyFile) Truncate(n int64) error {
	return errors.Join(f.fail("truncate"), f.file.Truncate(n))
}
func (f *faultyFile) Sync() error  { return errors.Join(f.fail("sync"), f.file.Sync()) }
func (f *faultyFile) Close() error { return errors.Join(f.fail("close"), f.file.Close()) }

// What keeps an image from being written is answered before it is computed if it can be known then, /readyz tells it,
// and it leaves nothing behind. When it has passed, images are computed again.
func TestStoreFaults(t *testing.T) {
	const full, broken = "The folder of images is full", "The folder of images can't be used"
	for _, c := range []struct {
		op     string
		err    error
		status int
		detail string
		before bool // nothing is computed, and /readyz knows
	}{
		{"open", syscall.ENOSPC, 507, full, true}, // no inodes
		{"open", syscall.EDQUOT, 507, full, true},
		{"open", syscall.EMFILE, 503, broken, true},
		{"open", syscall.ENFILE, 503, broken, true},
		{"open", syscall.EROFS, 503, broken, true},
		{"open", syscall.EACCES, 503, broken, true},
		{"reserve", syscall.ENOSPC, 507, full, true},
		{"reserve", syscall.EDQUOT, 507, full, true},
		{"reserve", syscall.EFBIG, 507, full, true},
		{"reserve", syscall.EIO, 503, broken, true},
		{"write", syscall.ENOSPC, 507, full, false},
		{"write", syscall.EIO, 503, broken, false},
		{"truncate", syscall.EIO, 503, broken, false},
		{"sync", syscall.EIO, 503, broken, false},
		{"close", syscall.EDQUOT, 507, full, false},
	} {
		t.Run(c.op+" "+c.err.Error(), func(t *testing.T) {
			b := loadedBench(t, nil)
			made := id(t, b.do("POST", "/generate", plain))
			b.base.calls.Store(0)
			b.store.create = faults{c.op: c.err}.create
			want := fmt.Sprintf(`{"detail":"%s: %v"}`, c.detail, c.err)
			for path, body := range map[string]string{"/generate": plain, "/refine": `{"id":"` + made + `","prompt":"a"}`} {
				w := b.do("POST", path, body)
				if w.Code != c.status || w.Body.String() != want || (w.Header().Get("Retry-After") != "") != (c.status == 503) {
					t.Errorf("%s: %d %s %v, want %d %s", path, w.Code, w.Body, w.Header(), c.status, want)
				}
			}
			if computed := b.base.calls.Load() + b.refiner.calls.Load(); (computed == 0) != c.before {
				t.Errorf("%d images were computed", computed)
			}
			if w := b.do("GET", "/readyz", ""); c.before && (w.Code != 503 || w.Body.String() != want) {
				t.Errorf("/readyz: %d %s, want 503 %s", w.Code, w.Body, want)
			}
			if n := b.imageCount(t); n != 1 {
				t.Errorf("%d files: want the one of before", n)
			}
			if log := b.log.String(); strings.Count(log, "level=ERROR msg=request") < 2 || !strings.Contains(log, c.err.Error()) {
				t.Errorf("log:\n%s", log)
			}
			b.store.create = createFile
			id(t, b.do("POST", "/generate", plain))
			if w := b.do("GET", "/readyz", ""); w.Code != http.StatusOK {
				t.Errorf("/readyz: %d %s", w.Code, w.Body)
			}
		})
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
