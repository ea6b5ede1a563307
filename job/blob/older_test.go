package blob

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Older lists images alone, by when they were written.
func TestOlder(t *testing.T) {
	s := newStore(t)
	if ids, err := s.Older(time.Now()); len(ids) != 0 || err != nil {
		t.Errorf("without a folder: %v, %v", ids, err)
	}
	put(t, s, one, WebP, "old")
	put(t, s, two, PNG, "new")
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, at := range map[string]time.Time{one + ".webp": day.Add(-time.Hour), two + ".png": day, "notes.txt": day.Add(-time.Hour), "x.png": day} {
		path := filepath.Join(s.folder, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := s.Older(day); !slices.Equal(ids, []string{one}) || err != nil {
		t.Errorf("%v, %v: want %s", ids, err, one)
	}
}

func TestIsID(t *testing.T) {
	made, err := NewID()
	if err != nil || !IsID(made) {
		t.Errorf("%q, %v", made, err)
	}
	for _, s := range []string{"", "x", "../" + one, one + ".png", "{" + one + "}", "urn:uuid:" + one, "AAAAAAAA-1111-4111-8111-111111111111", "11111111-1111-1111-8111-111111111111", "11111111111141118111111111111111"} {
		if IsID(s) {
			t.Errorf("%q is taken for an id", s)
		}
	}
}
