//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package hub

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes a lock as Python's filelock does. ok is false where somebody else holds it.
func tryLock(path string) (unlock func() error, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return nil, false, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		return nil, false, f.Close()
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP): // a file system without locks, where there is no race to lose but bandwidth
		return f.Close, true, nil
	case err != nil:
		return nil, false, errors.Join(err, f.Close())
	}
	// Who held it may have removed the file meanwhile: then this lock is on a file that nobody else will find.
	held, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		return nil, false, f.Close()
	}
	return f.Close, true, nil // closing gives the lock back
}

// freeSpace is how many bytes an ordinary user may still write below a folder.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
