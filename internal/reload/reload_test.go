package reload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What changes in a file is read, at most once a second, and what can't be read changes nothing.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		var reads int
		var told []error
		bad := errors.New("bad")
		f, err := New(func() (string, error) {
			reads++
			data, err := os.ReadFile(path)
			if strings.HasPrefix(string(data), "bad") {
				err = bad
			}
			return string(data), err
		}, func(err error) { told = append(told, err) }, path)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(value string, wantReads, wantTold int) {
			t.Helper()
			if got := f.Get(); got != value || reads != wantReads || len(told) != wantTold {
				t.Errorf("%q after %d reads, %v; want %q, %d, %d", got, reads, told, value, wantReads, wantTold)
			}
		}
		expect("one", 1, 0)
		write(t, path, "three")
		expect("one", 1, 0) // too early to look
		time.Sleep(every)
		expect("three", 2, 1)
		time.Sleep(every)
		expect("three", 2, 1) // nothing new
		write(t, path, "bad text")
		time.Sleep(every)
		expect("three", 3, 2)
		time.Sleep(every)
		expect("three", 3, 2) // the same error is told once
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		expect("three", 3, 3)
		if !errors.Is(told[1], bad) || !errors.Is(told[2], os.ErrNotExist) {
			t.Error(told)
		}
		write(t, path+".new", "three") // of the size that it had, as a rename brings it
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		expect("three", 4, 4)
		if told[0] != nil || told[3] != nil {
			t.Error(told)
		}
	})
}

// A file that is replaced by one of the same size and time is another file.
func TestReplaced(t *testing.T) {
	folder := t.TempDir()
	path, other := filepath.Join(folder, "file"), filepath.Join(folder, "other")
	write(t, path, "a")
	write(t, other, "b")
	at := time.Unix(1e9, 0)
	for _, p := range []string{path, other} {
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f, err := New(func() (string, error) { data, err := os.ReadFile(path); return string(data), err }, func(error) {}, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		if got := f.Get(); got != "b" {
			t.Errorf("%q, want b", got)
		}
	})
}

func TestNew(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := New(func() (int, error) { return 1, nil }, nil, missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
