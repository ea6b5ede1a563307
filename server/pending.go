package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// pending is an image that is not there yet: a file under a temporary name in the same folder, which has the room that
// the image will need. It is opened before the image is computed, so that nothing is computed that can't be kept.
// Either commit or discard ends it.
type pending struct {
	store     *store
	root      *os.Root
	id        string
	temporary string   // the file's name; "" once it has gone
	file      file     // nil once it is closed
	folder    *os.File // to sync the file's name; opened before too, since there may be no descriptor left later
}

// leftover is the name of a file of pending, and of those that former versions wrote.
var leftover = regexp.MustCompile(`^\.(probe|[0-9a-f-]{36}\.png)\.tmp-[A-Z2-7]{10}$`)

func temporaryName(name string) string { return "." + name + ".tmp-" + rand.Text()[:10] }

// begin opens the file of an image of at most about so many bytes. Its errors are failures.
func (s *store) begin(id string, bytes int64) (*pending, error) {
	p := &pending{store: s, id: id}
	err := p.open(temporaryName(fileName(id)), bytes)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// probe tells why no image can be written now, nil if one can.
func (s *store) probe() error {
	p := &pending{store: s}
	err := p.open(temporaryName("probe"), 4096)
	p.discard()
	return err
}

func (p *pending) open(name string, bytes int64) (err error) {
	if p.root, err = p.store.dir(true); err != nil {
		return writeFailure(err)
	}
	if p.file, err = p.store.create(p.root, name); err == nil {
		p.temporary = name
		if p.folder, err = p.root.Open("."); err == nil {
			err = p.reserve(bytes)
		}
	}
	if err != nil {
		p.discard()
		return writeFailure(fmt.Errorf("making room for an image in %s: %w", p.store.folder, err))
	}
	return nil
}

// reserve fills the file with zeros, which commit overwrites: a full disk is found now.
func (p *pending) reserve(bytes int64) error {
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

// commit makes data the image: synced, under its name, the folder synced too. Whoever sees the image sees all of it,
// even after a power cut. Where the folder was removed or replaced since begin, it goes to the one that is there now.
// After an error there is no image and no temporary file.
func (p *pending) commit(data []byte) error {
	defer p.discard()
	root, err := p.store.dir(true)
	if err != nil {
		return writeFailure(err)
	}
	if root == p.root {
		err = p.finish(data)
	}
	if root != p.root || errors.Is(err, fs.ErrNotExist) { // the latter if the folder, or the file, was removed just now
		p.discard()
		if err := p.open(temporaryName(fileName(p.id)), int64(len(data))); err != nil {
			return err
		}
		err = p.finish(data)
	}
	if err != nil {
		return writeFailure(fmt.Errorf("writing %s: %w", p.store.path(p.id), err))
	}
	return nil
}

func (p *pending) finish(data []byte) error {
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
	if err := p.root.Rename(p.temporary, fileName(p.id)); err != nil {
		return err
	}
	p.temporary = ""
	return p.folder.Sync()
}

func (p *pending) closeFile() error {
	f := p.file
	p.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// discard removes what commit has not made an image. A second call does nothing.
func (p *pending) discard() {
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

// sweep removes temporary files of servers that were killed and tells how many. One of a server that still runs beside
// this one costs that nothing: its commit writes another.
func (s *store) sweep() (n int, err error) {
	root, err := s.dir(true)
	if err != nil {
		return 0, err
	}
	d, err := root.Open(".")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if !leftover.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if err := root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		n++
	}
	return n, nil
}
