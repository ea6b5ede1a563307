package blob

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/google/uuid"
)

// Permissions of what a store writes, less the umask: images are read by their owner's group too, and changed by their
// owner alone.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

// Type is the media type of an image.
type Type string

// The types of images that a store keeps.
const (
	PNG  Type = "image/png"
	JPEG Type = "image/jpeg"
	WebP Type = "image/webp"
)

// endings are those of files, in the order in which they are looked for.
var endings = []struct {
	of   Type
	name string
}{{PNG, ".png"}, {JPEG, ".jpg"}, {WebP, ".webp"}}

// Ending is how the name of a file of the type ends, as ".png"; "" if a store keeps no such images.
func (t Type) Ending() string {
	for _, e := range endings {
		if e.of == t {
			return e.name
		}
	}
	return ""
}

// Store is a folder of images. It reads and writes through an os.Root, so that no link leads out of the folder, and
// takes regular files alone for images. A folder that was removed is made again. Its methods may be called at the same
// time.
type Store struct {
	folder string
	create func(root *os.Root, name string) (file, error) // as createFile

	mu   sync.Mutex
	root *os.Root // nil until first needed
}

// New does nothing to the folder yet.
func New(folder string) *Store { return &Store{folder: folder, create: createFile} }

// NewID makes an id for an image: a version 4 UUID.
func NewID() (string, error) {
	id, err := uuid.NewRandom()
	return id.String(), err
}

// IsID reports whether s is a version 4 UUID in its one canonical spelling. Nothing else becomes part of a path.
func IsID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.Version() == 4 && id.Variant() == uuid.RFC4122 && id.String() == s
}

// dir is the folder as it is now: who removed it and made another one finds images in the new one. With make, one that
// is missing is made.
func (s *Store) dir(make bool) (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		named, err := os.Stat(s.folder)
		opened, oerr := s.root.Stat(".")
		if err == nil && oerr == nil && os.SameFile(named, opened) {
			return s.root, nil
		}
	}
	if make {
		if err := os.MkdirAll(s.folder, folderMode); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(s.folder)
	if err != nil {
		return nil, err
	}
	s.root = root // the collector closes the former one, when nothing is being written through it
	return root, nil
}

// Close lets the folder go. The store opens it again when it is used.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	root := s.root
	s.root = nil
	return root.Close()
}

// Find returns where an image is, and its type: ErrNotFound where there is none, s is no id, or what has the name is
// not a regular file.
func (s *Store) Find(id string) (path string, t Type, err error) {
	_, name, t, err := s.find(id)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(s.folder, name), t, nil
}

func (s *Store) find(id string) (root *os.Root, name string, t Type, err error) {
	if !IsID(id) {
		return nil, "", "", &Error{Kind: ErrNotFound}
	}
	if root, err = s.dir(false); err != nil {
		return nil, "", "", reading(err)
	}
	for _, e := range endings {
		info, err := root.Lstat(id + e.name)
		switch {
		case err == nil && info.Mode().IsRegular():
			return root, id + e.name, e.of, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, "", "", reading(err)
		}
	}
	return nil, "", "", &Error{Kind: ErrNotFound}
}

// Open opens an image; its errors are those of Find.
func (s *Store) Open(id string) (*os.File, Type, error) {
	root, name, t, err := s.find(id)
	if err != nil {
		return nil, "", err
	}
	// What took the file's place since find looked must not hold up the caller, as a pipe without a writer would.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", reading(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, "", errors.Join(reading(err), f.Close())
	case !info.Mode().IsRegular():
		return nil, "", errors.Join(&Error{Kind: ErrNotFound}, f.Close())
	}
	return f, t, nil
}

// Read reads an image; its errors are those of Find.
func (s *Store) Read(id string) (data []byte, t Type, err error) {
	f, t, err := s.Open(id)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return nil, "", reading(err)
	}
	return data, t, nil
}

// Remove removes images. Those that are not there are left out. After an error some of them may be there.
func (s *Store) Remove(ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	root, err := s.dir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return reading(err)
	}
	for _, id := range ids {
		if !IsID(id) {
			continue
		}
		for _, e := range endings {
			info, err := root.Lstat(id + e.name)
			if err == nil && info.Mode().IsRegular() {
				err = root.Remove(id + e.name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return reading(err)
			}
		}
	}
	folder, err := root.Open(".")
	if err != nil {
		return reading(err)
	}
	defer folder.Close()
	return reading(folder.Sync()) // a power cut does not bring them back
}

func readDir(root *os.Root) ([]fs.DirEntry, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadDir(-1)
}
