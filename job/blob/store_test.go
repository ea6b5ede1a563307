package blob

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

const (
	one = "11111111-1111-4111-8111-111111111111"
	two = "22222222-2222-4222-8222-222222222222"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s := New(filepath.Join(t.TempDir(), "images"))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put writes an image.
func put(t *testing.T, s *Store, id string, of Type, data string) {
	t.Helper()
	p, err := s.Begin(id, of, int64(len(data)))
	if err == nil {
		err = p.Commit([]byte(data))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// files lists the names in the store's folder.
func files(t *testing.T, s *Store) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// An image has the name of its id and type, and is found by its id.
func TestTypes(t *testing.T) {
	s := newStore(t)
	for of, ending := range map[Type]string{PNG: ".png", JPEG: ".jpg", WebP: ".webp"} {
		id, err := NewID()
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, id, of, "data of "+ending)
		path, found, err := s.Find(id)
		if err != nil || found != of || path != filepath.Join(s.folder, id+ending) {
			t.Errorf("%s: found %s, %s, %v", of, path, found, err)
		}
		if data, read, err := s.Read(id); err != nil || read != of || string(data) != "data of "+ending {
			t.Errorf("%s: read %q, %s, %v", of, data, read, err)
		}
		if err := s.Remove(id, two, "../x"); err != nil {
			t.Error(err)
		}
		if _, _, err := s.Find(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is there after it was removed: %v", of, err)
		}
	}
	if _, err := s.Begin(one, "image/gif", 1); err == nil {
		t.Error("a GIF is taken")
	}
	if _, err := s.Begin("../"+one, PNG, 1); err == nil {
		t.Error("a path is taken for an id")
	}
	if list := files(t, s); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// The file of an image is there before the image is, with room for it and under another name, and becomes the image.
func TestImageIsWrittenAside(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	s := newStore(t)
	p, err := s.Begin(one, PNG, 6000)
	if err != nil {
		t.Fatal(err)
	}
	list := files(t, s)
	if len(list) != 1 || !leftover.MatchString(list[0]) {
		t.Fatalf("%v: want one temporary file", list)
	}
	before, err := os.Lstat(filepath.Join(s.folder, list[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Find(one); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there before it is: %v", err)
	}
	if err := p.Commit([]byte("short")); err != nil {
		t.Fatal(err)
	}
	after, err := os.Lstat(filepath.Join(s.folder, one+".png"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || before.Size() != 6000 || after.Size() != 5 {
		t.Errorf("the file before had %d bytes, the image has %d; the same: %v", before.Size(), after.Size(), os.SameFile(before, after))
	}
	folder, err := os.Stat(s.folder)
	if err != nil || after.Mode() != 0o640 || folder.Mode() != 0o750|fs.ModeDir {
		t.Errorf("file %v, folder %v, %v: want 0640 and 0750", after.Mode(), folder.Mode(), err)
	}
}

// An image is synced before it has its name.
func TestImageIsSynced(t *testing.T) {
	s := newStore(t)
	synced := false
	s.create = func(root *os.Root, name string) (file, error) {
		made, err := createFile(root, name)
		return &watchedFile{made, func() {
			synced = true
			if list := files(t, s); len(list) != 1 || list[0] != name {
				t.Errorf("%v: want %s alone", list, name)
			}
		}}, err
	}
	put(t, s, one, PNG, "data")
	if !synced {
		t.Error("it was never synced")
	}
}

type watchedFile struct {
	file
	sync func()
}

func (f *watchedFile) Sync() error {
	f.sync()
	return f.file.Sync()
}

// A folder that was removed, or replaced, before an image is begun or while it is computed costs no image.
func TestFolderIsMadeAgain(t *testing.T) {
	for name, change := range map[string]func(folder string) error{
		"removed": os.RemoveAll,
		"replaced": func(folder string) error {
			moved := folder + "-moved"
			return errors.Join(os.RemoveAll(moved), os.Rename(folder, moved), os.Mkdir(folder, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			put(t, s, one, PNG, "old")
			if err := change(s.folder); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Read(one); !errors.Is(err, ErrNotFound) {
				t.Errorf("an image that went with the folder: %v", err)
			}
			if err := s.Probe(); err != nil {
				t.Error(err)
			}
			p, err := s.Begin(two, PNG, 10)
			if err != nil {
				t.Fatal(err)
			}
			if err := change(s.folder); err != nil {
				t.Fatal(err)
			}
			if err := p.Commit([]byte("new")); err != nil {
				t.Fatal(err)
			}
			if data, _, err := s.Read(two); err != nil || string(data) != "new" {
				t.Errorf("%q, %v", data, err)
			}
			if list := files(t, s); len(list) != 1 {
				t.Errorf("left: %v", list)
			}
		})
	}
	s := newStore(t)
	if err := os.WriteFile(s.folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var failed *Error
	if _, err := s.Begin(one, PNG, 1); !errors.Is(err, ErrBroken) || !errors.As(err, &failed) || failed.Reason != "not a directory" {
		t.Errorf("a file in the folder's place: %v", err)
	}
	if err := os.Remove(s.folder); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(one); err != nil {
		t.Errorf("removing without a folder: %v", err)
	}
}

// A folder in which nothing can be written is an error. In /proc not even root can.
func TestProbe(t *testing.T) {
	if runtime.GOOS == "linux" {
		if err := New("/proc/self").Probe(); !errors.Is(err, ErrBroken) {
			t.Errorf("/proc/self: %v", err)
		}
	}
	s := newStore(t)
	if err := os.Mkdir(s.folder, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(); os.Geteuid() != 0 && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder without write permission: %v", err)
	}
	if list := files(t, s); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// What a killed process left is removed, and nothing else is.
func TestSweep(t *testing.T) {
	s := newStore(t)
	killed, err := s.Begin(one, JPEG, 100)
	if err != nil {
		t.Fatal(err)
	}
	left := []string{killed.temporary, "." + two + ".png.tmp-ABCDEFGHI7", ".probe.tmp-ABCDEFGHI7"}
	kept := []string{two + ".png", ".hidden", ".notes.png.tmp-ABCDEFGHI7", ".probe.tmp-short", "x.tmp-ABCDEFGHI7"}
	for _, name := range append(left[1:], kept...) {
		if err := os.WriteFile(filepath.Join(s.folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := ".33333333-3333-4333-8333-333333333333.png.tmp-ABCDEFGHI7"
	if err := os.Mkdir(filepath.Join(s.folder, folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if n, err := New(s.folder).Sweep(); n != 3 || err != nil {
		t.Errorf("swept %d, %v: want 3", n, err)
	}
	want := append(kept, folder)
	slices.Sort(want)
	if list := files(t, s); !slices.Equal(list, want) {
		t.Errorf("there are %q, want %q", list, want)
	}
	// The process was not killed after all: its image is written all the same.
	if err := killed.Commit([]byte("jpeg")); err != nil {
		t.Error(err)
	}
	if data, of, err := s.Read(one); err != nil || string(data) != "jpeg" || of != JPEG {
		t.Errorf("%q, %s, %v", data, of, err)
	}
}

// Only a regular file is an image, whatever its name.
func TestOnlyRegularFiles(t *testing.T) {
	s := newStore(t)
	put(t, s, one, PNG, "data")
	outside := filepath.Join(t.TempDir(), "outside.png")
	if err := os.WriteFile(outside, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]func(path string) error{
		"folder":                  func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":                    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link to another image":   func(path string) error { return os.Symlink(one+".png", path) },
		"link out of the folder":  func(path string) error { return os.Symlink(outside, path) },
		"link that leads nowhere": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		path := filepath.Join(s.folder, two+".png")
		if err := place(path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Find(two); !errors.Is(err, ErrNotFound) {
			t.Errorf("a %s: Find: %v", what, err)
		}
		if _, _, err := s.Read(two); !errors.Is(err, ErrNotFound) {
			t.Errorf("a %s: Read: %v", what, err)
		}
		if err := s.Remove(two); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("a %s was removed: %v", what, err)
		}
	}
}
