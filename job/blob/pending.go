package blob

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// file is what an image is written to.
type file interface {
	io.WriteSeeker
	Truncate(size int64) error
	Sync() error
	Close() error
}

// createFile makes a new file.
func createFile(root *os.Root, name string) (file, error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err // not a nil *os.File in a non-nil interface
	}
	return f, nil
}

// Pending is an image that is not there yet: a file under a temporary name in the same folder, which has the room that
// the image will need. It is opened before the image is computed, so that nothing is computed that can't be kept.
// Either Commit or Discard ends it. It is of one goroutine at a time.
type Pending struct {
	store     *Store
	root      *os.Root
	name      string   // that the file is to have
	temporary string   // that it has; "" once it has gone
	file      file     // nil once it is closed
	folder    *os.File // to sync the file's name; opened before too, since there may be no descriptor left later
}

// leftover is the name of a file of Pending.
var leftover = regexp.MustCompile(`^\.(probe|[0-9a-f-]{36}\.(png|jpg|webp))\.tmp-[A-Z2-7]{10}$`)

func temporaryName(name string) string { return "." + name + ".tmp-" + rand.Text()[:10] }

// Begin opens the file of an image of at most about so many bytes. The image must have an id and a type that a store
// keeps. Other errors are ErrFull and ErrBroken.
func (s *Store) Begin(id string, t Type, bytes int64) (*Pending, error) {
	if !IsID(id) {
		return nil, fmt.Errorf("blob: the id is %q; allowed: a version 4 UUID in lower case", id)
	}
	if t.Ending() == "" {
		return nil, fmt.Errorf("blob: the type is %q; allowed: %s, %s, %s", t, PNG, JPEG, WebP)
	}
	p := &Pending{store: s, name: id + t.Ending()}
	if err := p.open(temporaryName(p.name), bytes); err != nil {
		return nil, err
	}
	return p, nil
}

// Probe returns why no image can be written now, nil if one can.
func (s *Store) Probe() error {
	p := &Pending{store: s}
	err := p.open(temporaryName("probe"), 4096)
	p.Discard()
	return err
}

func (p *Pending) open(name string, bytes int64) (err error) {
	if p.root, err = p.store.dir(true); err != nil {
		return writing(err)
	}
	if p.file, err = p.store.create(p.root, name); err == nil {
		p.temporary = name
		if p.folder, err = p.root.Open("."); err == nil {
			err = p.reserve(bytes)
		}
	}
	if err != nil {
		p.Discard()
		return writing(fmt.Errorf("making room for an image in %s: %w", p.store.folder, err))
	}
	return nil
}

// reserve fills the file with zeros, which Commit overwrites: a full disk is found now.
func (p *Pending) reserve(bytes int64) error {
	zeros := make([]byte, min(bytes, 64<<10))
	for bytes > 0 {
		n, err := p.file.Write(zeros[:min(bytes, int64(len(zeros)))])
		if err != nil {
			return err
		}
		bytes -= int64(n)
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// Commit makes data the image: synced, under its name, the folder synced too. Whoever sees the image sees all of it,
// even after a power cut. Where the folder was removed or replaced since Begin, it goes to the one that is there now.
// After an error, ErrFull or ErrBroken, there is no image and no temporary file.
func (p *Pending) Commit(data []byte) error {
	defer p.Discard()
	root, err := p.store.dir(true)
	if err != nil {
		return writing(err)
	}
	if root == p.root {
		err = p.finish(data)
	}
	if root != p.root || errors.Is(err, fs.ErrNotExist) { // the latter if the folder, or the file, was removed just now
		p.Discard()
		if err := p.open(temporaryName(p.name), int64(len(data))); err != nil {
			return err
		}
		err = p.finish(data)
	}
	if err != nil {
		return writing(fmt.Errorf("writing %s: %w", filepath.Join(p.store.folder, p.name), err))
	}
	return nil
}

func (p *Pending) finish(data []byte) error {
	_, err := p.file.Write(data)
	if err == nil {
		err = p.file.Truncate(int64(len(data)))
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err := errors.Join(err, p.closeFile()); err != nil {
		return err
	}
	if err := p.root.Rename(p.temporary, p.name); err != nil {
		return err
	}
	p.temporary = ""
	return p.folder.Sync()
}

func (p *Pending) closeFile() error {
	f := p.file
	p.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// Discard removes what Commit has not made an image. A second call does nothing.
func (p *Pending) Discard() {
	_ = p.closeFile() // what was written is not wanted
	if p.folder != nil {
		_ = p.folder.Close() // it was only read from
		p.folder = nil
	}
	if p.temporary != "" {
		_ = p.root.Remove(p.temporary) // one that can't be removed is swept when the server starts again
		p.temporary = ""
	}
}

// Sweep makes the folder if it is missing, removes temporary files of processes that were killed and returns how many.
// One of a process that still runs beside this one costs that nothing: its Commit writes another.
func (s *Store) Sweep() (n int, err error) {
	root, err := s.dir(true)
	if err != nil {
		return 0, writing(err)
	}
	entries, err := readDir(root)
	if err != nil {
		return 0, reading(err)
	}
	for _, e := range entries {
		if !leftover.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if err := root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, reading(err)
		}
		n++
	}
	return n, nil
}
