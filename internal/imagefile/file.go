package imagefile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile puts data on disk under path: under a temporary name in the same directory, synced, renamed, the directory
// synced too. Whoever sees path sees all of it, even after a power cut. On failure the temporary file is removed and
// what lay at path stays. A file that is replaced leaves its permissions to the new one.
func WriteFile(path string, data []byte) error { return writeFile(osDisk{}, path, data) }

// disk is what writeFile does to a file system, so that a test can stand in for one that is full.
type disk interface {
	create(path, replaced string) (file, error) // the file must be new; it gets the permissions of the one that it is for, if that is there
	rename(from, to string) error
	remove(path string) error
	syncDir(path string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

func writeFile(d disk, path string, data []byte) (err error) {
	dir, name := filepath.Split(path)
	temporary := filepath.Join(dir, "."+name+".tmp-"+rand.Text()[:10])
	f, err := d.create(temporary, path)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	renamed := false
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("writing %s: %w", path, err)
		if renamed {
			return // the file is whole; only that its name would outlive a power cut is not sure
		}
		if rerr := d.remove(temporary); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("removing what was written: %w", rerr))
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = d.rename(temporary, path); err != nil {
		return err
	}
	renamed = true
	return d.syncDir(filepath.Dir(path))
}

type osDisk struct{}

func (osDisk) create(path, replaced string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // the umask decides, as for any file that a user saves
	if err != nil {
		return nil, err // not a nil *os.File in a non-nil interface
	}
	if info, err := os.Stat(replaced); err == nil && info.Mode().IsRegular() {
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(path))
		}
	}
	return f, nil
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(path string) error     { return os.Remove(path) }

func (osDisk) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
