// Package reload keeps what was read from files as new as the files are.
package reload

import (
	"os"
	"sync"
	"time"
)

// every is how often files are looked at.
const every = time.Second

// Files is a value that is read from files, and read again when one of them has changed. It is for any number of
// goroutines.
type Files[T any] struct {
	paths []string
	load  func() (T, error)
	tell  func(error)

	mu      sync.Mutex // guards what follows
	value   T
	seen    []os.FileInfo // of the files at the last try; nil for one that could not be found
	checked time.Time
}

// New reads a value. Later, when a file has another time, size or inode than before, it is read again, a second after
// the last look at the earliest; when that fails, the value stays as it is, and tell is called once with the error. When
// it is read again without an error, tell is called with nil.
func New[T any](load func() (T, error), tell func(error), paths ...string) (*Files[T], error) {
	f := &Files[T]{paths: paths, load: load, tell: tell, checked: time.Now()}
	var err error
	if f.seen, err = f.look(); err != nil { // before they are read: what changes meanwhile is read again
		return nil, err
	}
	if f.value, err = load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get returns the value.
func (f *Files[T]) Get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < every {
		return f.value
	}
	f.checked = now
	seen, err := f.look()
	if same(f.seen, seen) {
		return f.value
	}
	f.seen = seen
	if err == nil {
		var value T
		if value, err = f.load(); err == nil {
			f.value = value
		}
	}
	f.tell(err)
	return f.value
}

// look asks for what the files are now. Its error is that of the first one that could not be found.
func (f *Files[T]) look() (infos []os.FileInfo, err error) {
	for _, path := range f.paths {
		info, serr := os.Stat(path)
		if serr != nil && err == nil {
			err = serr
		}
		infos = append(infos, info)
	}
	return infos, err
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (!os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size()) {
			return false
		}
	}
	return true
}
