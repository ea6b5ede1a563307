package blob

import (
	"errors"
	"io/fs"
	"strings"
	"time"
)

// Older lists the ids of the images that were written before a time.
func (s *Store) Older(before time.Time) (ids []string, err error) {
	root, err := s.dir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, reading(err)
	}
	entries, err := readDir(root)
	if err != nil {
		return nil, reading(err)
	}
	for _, entry := range entries {
		id, ending, _ := strings.Cut(entry.Name(), ".")
		if !entry.Type().IsRegular() || !IsID(id) || !keeps("."+ending) {
			continue
		}
		info, err := entry.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, reading(err)
		case info.ModTime().Before(before):
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func keeps(ending string) bool {
	for _, e := range endings {
		if e.name == ending {
			return true
		}
	}
	return false
}
