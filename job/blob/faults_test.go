package blob

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
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

// What keeps an image from being written is found before it is computed if it can be known then, by Probe too, and
// leaves nothing behind. When it has passed, images are written again.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		op     string
		err    error
		kind   error
		before bool // Begin and Probe know
	}{
		{"open", syscall.ENOSPC, ErrFull, true}, // no inodes
		{"open", syscall.EDQUOT, ErrFull, true},
		{"open", syscall.EMFILE, ErrBroken, true},
		{"open", syscall.ENFILE, ErrBroken, true},
		{"open", syscall.EROFS, ErrBroken, true},
		{"open", syscall.EACCES, ErrBroken, true},
		{"reserve", syscall.ENOSPC, ErrFull, true},
		{"reserve", syscall.EDQUOT, ErrFull, true},
		{"reserve", syscall.EFBIG, ErrFull, true},
		{"reserve", syscall.EIO, ErrBroken, true},
		{"write", syscall.ENOSPC, ErrFull, false},
		{"write", syscall.EIO, ErrBroken, false},
		{"truncate", syscall.EIO, ErrBroken, false},
		{"sync", syscall.EIO, ErrBroken, false},
		{"close", syscall.EDQUOT, ErrFull, false},
	} {
		t.Run(c.op+" "+c.err.Error(), func(t *testing.T) {
			s := newStore(t)
			put(t, s, one, PNG, "data")
			s.create = faults{c.op: c.err}.create
			p, err := s.Begin(two, PNG, 100<<10)
			if (err != nil) != c.before {
				t.Fatalf("Begin: %v; known before: %v", err, c.before)
			}
			if err == nil {
				err = p.Commit([]byte("data"))
			}
			var failed *Error
			if !errors.Is(err, c.kind) || !errors.Is(err, c.err) || !errors.As(err, &failed) || failed.Reason != c.err.Error() {
				t.Errorf("%v: want %v, %v", err, c.kind, c.err)
			}
			if err := s.Probe(); c.before && !errors.Is(err, c.kind) {
				t.Errorf("Probe: %v, want %v", err, c.kind)
			}
			if list := files(t, s); len(list) != 1 {
				t.Errorf("%v: want the image of before alone", list)
			}
			s.create = createFile
			put(t, s, two, PNG, "data")
			if err := s.Probe(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where descriptors run out while an image is computed, it is kept all the same.
func TestNoDescriptors(t *testing.T) {
	s := newStore(t)
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
	put(t, s, one, PNG, "data")
	set(none)
	_, before := s.Begin(two, PNG, 1)
	set(limit)
	if !errors.Is(before, ErrBroken) || !errors.Is(before, syscall.EMFILE) {
		t.Errorf("without descriptors: %v", before)
	}
	p, err := s.Begin(two, PNG, 10)
	if err != nil {
		t.Fatal(err)
	}
	set(none)
	err = p.Commit([]byte("data"))
	set(limit)
	if err != nil {
		t.Error(err)
	}
	if data, _, err := s.Read(two); err != nil || string(data) != "data" {
		t.Errorf("%q, %v", data, err)
	}
}
