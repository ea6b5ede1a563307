package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// disk is what a download does with the system, for tests.
type disk struct {
	free func(dir string) (int64, error)
	open func(path string) (partial, error)
}

// partial is a file that grows.
type partial interface {
	io.WriteCloser
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Sync() error
}

func (d disk) space(dir string) (int64, error) {
	if d.free != nil {
		return d.free(dir)
	}
	return freeSpace(dir)
}

func (d disk) grow(path string) (partial, error) {
	if d.open != nil {
		return d.open(path)
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}

// download is one of files of a commit.
type download struct {
	*Client
	name   Name
	repo   repo
	commit string
	meter  *meter
}

// blob is the hash and the length of a file by the listing: "" and −1 where it does not say.
func (f file) blob() (hash string, size int64) {
	size = -1
	if f.Size != nil {
		size = *f.Size
	}
	if f.LFS != nil {
		return f.LFS.SHA256, f.LFS.Size
	}
	return f.Blob, size
}

// all downloads files, after looking whether there is room for them.
func (d *download) all(ctx context.Context, files []file) error {
	dir := d.repo.path("blobs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	m := d.meter
	m.Files, m.Done, m.Total, m.Bytes = len(files), 0, 0, 0
	var missing int64
	for _, f := range files {
		hash, size := f.blob()
		if size < 0 {
			continue
		}
		m.Total += size
		if d.repo.size(d.commit, f.Path) == size {
			continue
		}
		missing += size
		if info, err := os.Stat(d.repo.blob(hash) + incomplete); err == nil && hash != "" {
			missing -= min(info.Size(), size)
		}
	}
	if free, err := d.disk.space(dir); err == nil && free < missing {
		return fmt.Errorf("%s: %w", d.name, spaceError(dir, missing, free))
	}
	for _, f := range files {
		if err := d.file(ctx, f); err != nil {
			return err
		}
		m.Done++
	}
	m.Finished = true
	m.report(true)
	return nil
}

// incomplete is what a blob's name ends in until it is complete.
const incomplete = ".incomplete"

// file downloads a file that the snapshot lacks, or has in another length than the listing says.
func (d *download) file(ctx context.Context, f file) error {
	d.meter.File = f.Path
	want, size := f.blob()
	if have := d.repo.size(d.commit, f.Path); have >= 0 && (size < 0 || have == size) {
		d.meter.Bytes += have
		d.meter.report(false)
		return nil
	} else if have >= 0 {
		d.log().Warn("the cache has a file of a wrong length: it is downloaded again", "file", d.repo.file(d.commit, f.Path), "bytes", have, "want", size)
	}
	var s source
	err := d.again(ctx, f.Path, retries, nil, func() (err error) {
		s, err = d.locate(ctx, d.name, d.commit, f.Path)
		return err
	})
	if err != nil {
		return d.explain(Name{d.name.Repo, f.Path, d.name.Revision}, err)
	}
	if want != "" && s.hash != want {
		return fmt.Errorf("%s: %s: the ETag is %s: must be %s, as the repository lists it", d.name, f.Path, s.hash, want)
	}
	if size >= 0 && s.size >= 0 && s.size != size {
		return fmt.Errorf("%s: %s: the server says %d bytes: must be %d, as the repository lists it", d.name, f.Path, s.size, size)
	}
	if s.size < 0 {
		s.size = size
	}
	unlock, err := d.lock(ctx, d.repo.lock(s.hash))
	if err != nil {
		return err
	}
	err = d.blob(ctx, f.Path, s)
	if err == nil {
		err = d.repo.link(d.commit, f.Path, s.hash)
	}
	return errors.Join(err, unlock())
}

// lock waits for a lock.
func (d *download) lock(ctx context.Context, path string) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	said := false
	for start := time.Now(); ; {
		unlock, ok, err := tryLock(path)
		if err != nil || ok {
			return unlock, err
		}
		if !said && time.Since(start) > 2*time.Second {
			said = true
			d.log().Info("another process downloads this file: waiting for it", "lock", path)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// blob downloads one unless it is there. Whoever calls it holds its lock.
func (d *download) blob(ctx context.Context, path string, s source) error {
	to := d.repo.blob(s.hash)
	if info, err := os.Stat(to); err == nil && info.Mode().IsRegular() && (s.size < 0 || info.Size() == s.size) {
		d.meter.Bytes += info.Size()
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	part := to + incomplete
	before := d.meter.Bytes
	for try := 0; ; try++ {
		resumed, err := d.content(ctx, path, s, part)
		if err != nil {
			return err
		}
		err = verify(part, s.hash, s.size)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		if err := os.Remove(part); err != nil { // nothing of it can be used
			return err
		}
		d.meter.Bytes = before
		if !resumed || try > 0 {
			return fmt.Errorf("%s: %s: %w; other files stay", d.name, path, err)
		}
		d.log().Warn("what an earlier download left is not the file: it is downloaded from the start", "file", path, "why", err)
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	return nil
}

// content fetches a file's content into a partial file, from where that ends. resumed tells that a part was there.
func (d *download) content(ctx context.Context, path string, s source, part string) (resumed bool, err error) {
	f, err := d.disk.grow(part)
	if err != nil {
		return false, d.full(err, s)
	}
	defer func() { err = errors.Join(err, d.full(f.Close(), s)) }()
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	resumed = at > 0
	d.meter.Bytes += at
	last := at
	get := &getter{download: d, path: path, source: s, file: f, at: at}
	err = d.again(ctx, path, retries, func() bool {
		progressed := get.at > last
		last = get.at
		return progressed
	}, func() error { return get.once(ctx) })
	if err == nil {
		err = d.full(f.Sync(), s)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoSpace) {
		err = d.explain(d.name, fmt.Errorf("%s: %w (%d bytes are kept; the next try goes on from there)", path, err, get.at))
	}
	return resumed, err
}

// full explains an error of the disk.
func (d *download) full(err error, s source) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", d.name, spaceError(d.repo.path("blobs"), s.size, -1), err)
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return err
}
