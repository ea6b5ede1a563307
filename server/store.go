package server

import (
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/goxl/goxl/internal/picture"
)

// store is the folder of pictures, each named after its id.
type store struct {
	folder string
	write  func(path string, data []byte) error // as picture.WriteFile
}

func newID() (string, error) {
	id, err := uuid.NewRandom()
	return id.String(), err
}

// isID tells whether s is a version 4 UUID in its one canonical spelling. Nothing else may become part of a path.
func isID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.Version() == 4 && id.Variant() == uuid.RFC4122 && id.String() == s
}

func (s store) path(id string) string { return filepath.Join(s.folder, id+".png") }

// find gives the path of a picture that is there. An id of none and a text that is no id are the same error.
func (s store) find(id string) (string, error) {
	if !isID(id) {
		return "", &failure{kind: noImage}
	}
	path := s.path(id)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &failure{kind: noImage}
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", path)
	}
	return path, nil
}

// load decodes a picture that find found.
func (s store) load(path string) (image.Image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	img, _, err := picture.Decode(data, maxSide)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}
