package server

import (
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/google/uuid"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// Permissions of what the server writes, less the umask: images are read by their owner's group too, and changed by
// their owner alone.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

// store is the folder of images, each named after its id. It reads and writes through an os.Root, so that no link leads
// out of the folder, and takes regular files alone for images. A folder that was removed is made again.
type store struct {
	folder string
	create func(root *os.Root, name string) (file, error) // as createFile

	mu   sync.Mutex
	root *os.Root // nil until first needed
}

// newStore does nothing to the folder yet.
func newStore(folder string) *store { return &store{folder: folder, create: createFile} }

func newID() (string, error) {
	id, err := uuid.NewRandom()
	return id.String(), err
}

// isID tells whether s is a version 4 UUID in its one canonical spelling. Nothing else may become part of a path.
func isID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.Version() == 4 && id.Variant() == uuid.RFC4122 && id.String() == s
}

func fileName(id string) string { return id + ".png" }

func (s *store) path(id string) string { return filepath.Join(s.folder, fileName(id)) }

// dir is the folder as it is now: who removed it and made another one finds images in the new one. With make, one that
// is missing is made.
func (s *store) dir(make bool) (*os.Root, error) {
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

// close lets the folder go.
func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	root := s.root
	s.root = nil
	return root.Close()
}

// find gives the path of an image that is there. An id of none, a text that is no id, and anything that is not a
// regular file are the same error.
func (s *store) find(id string) (string, error) {
	if !isID(id) {
		return "", &failure{kind: noImage}
	}
	root, err := s.dir(false)
	if err == nil {
		var info fs.FileInfo
		if info, err = root.Lstat(fileName(id)); err == nil && !info.Mode().IsRegular() {
			return "", &failure{kind: noImage}
		}
	}
	return s.path(id), storeFailure(err)
}

// open opens an image; its errors are those of find.
func (s *store) open(id string) (*os.File, error) {
	if _, err := s.find(id); err != nil {
		return nil, err
	}
	root, err := s.dir(false)
	if err != nil {
		return nil, storeFailure(err)
	}
	// What took the file's place since find looked must not hold up the server, as a pipe without a writer would.
	f, err := root.OpenFile(fileName(id), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, storeFailure(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.Join(storeFailure(err), f.Close())
	case !info.Mode().IsRegular():
		return nil, errors.Join(&failure{kind: noImage}, f.Close())
	}
	return f, nil
}

// size reads the size of an image from its header; its errors are those of find, and of a file that is no PNG.
func (s *store) size(id string) (sdxl.Size, error) {
	f, err := s.open(id)
	if err != nil {
		return sdxl.Size{}, err
	}
	defer f.Close()
	config, err := png.DecodeConfig(f)
	if err != nil {
		return sdxl.Size{}, fmt.Errorf("%s: %w", s.path(id), err)
	}
	return sdxl.Size{Height: config.Height, Width: config.Width}, nil
}

// load decodes an image; its errors are those of find, and of a file that is no PNG.
func (s *store) load(id string) (image.Image, error) {
	f, err := s.open(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, storeFailure(err)
	}
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(id), err)
	}
	return img, nil
}

// storeFailure is what a client is told of an error of the file system: no such image, a full disk, or a folder that
// can't be used.
func storeFailure(err error) error {
	var f *failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &failure{kind: noImage, err: err}
	}
	return writeFailure(err)
}

// writeFailure is storeFailure where the image is yet to be written, so that something else is missing.
func writeFailure(err error) error {
	reason := "it can't be opened or written"
	var number syscall.Errno
	if errors.As(err, &number) {
		reason = number.Error() // without the path, which is the server's own
	}
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return &failure{kind: storeFull, detail: answers[storeFull].detail + ": " + reason, err: err}
		}
	}
	return &failure{kind: storeBroken, detail: answers[storeBroken].detail + ": " + reason, err: err}
}
