package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

const plain = `{"prompt":"a"}`

// The file of an image is there before the image is, with room for it and under another name, and becomes the image.
func TestImageIsWrittenAside(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	b := loadedBench(t, nil)
	var before fs.FileInfo
	b.base.run = func(_ context.Context, r sdxl.Request) error {
		entries, err := os.ReadDir(b.images)
		if err != nil || len(entries) != 1 || !strings.Contains(entries[0].Name(), ".png.tmp-") {
			t.Errorf("%v, %v: want one temporary file", entries, err)
			return err
		}
		before, err = entries[0].Info()
		return err
	}
	made := id(t, b.do("POST", "/generate", plain))
	after, err := os.Lstat(b.path(made))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || before.Size() < 3*64*32 || after.Size() >= before.Size() {
		t.Errorf("the file before had %d bytes, the image has %d; the same: %v", before.Size(), after.Size(), os.SameFile(before, after))
	}
	folder, err := os.Stat(b.images)
	if err != nil || after.Mode() != 0o640 || folder.Mode() != 0o750|fs.ModeDir {
		t.Errorf("file %v, folder %v, %v: want 0640 and 0750", after.Mode(), folder.Mode(), err)
	}
}

// A folder that was removed, or replaced, while the server is idle or computes costs no image.
func TestFolderIsMadeAgain(t *testing.T) {
	remove := func(t *testing.T, b *bench) {
		if err := os.RemoveAll(b.images); err != nil {
			t.Error(err)
		}
	}
	replace := func(t *testing.T, b *bench) {
		moved := b.images + "-moved"
		if err := errors.Join(os.RemoveAll(moved), os.Rename(b.images, moved), os.Mkdir(b.images, 0o700)); err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(*testing.T, *bench){"removed": remove, "replaced": replace} {
		t.Run(name, func(t *testing.T) {
			b := loadedBench(t, nil)
			old := id(t, b.do("POST", "/generate", plain))
			change(t, b)
			if w := b.do("GET", "/download/"+old, ""); w.Code != 404 || w.Body.String() != `{"detail":"Image not found"}` {
				t.Errorf("an image that went with the folder: %d %s", w.Code, w.Body)
			}
			if w := b.do("GET", "/readyz", ""); w.Code != 200 {
				t.Errorf("/readyz: %d %s", w.Code, w.Body)
			}
			change(t, b)
			idle := id(t, b.do("POST", "/generate", plain))
			if w := b.do("GET", "/download/"+idle, ""); w.Code != 200 {
				t.Errorf("an image after it: %d %s", w.Code, w.Body)
			}
			b.base.run = func(context.Context, sdxl.Request) error {
				change(t, b)
				return nil
			}
			computing := id(t, b.do("POST", "/generate", plain))
			if w := b.do("GET", "/download/"+computing, ""); w.Code != 200 {
				t.Errorf("an image that was computed meanwhile: %d %s", w.Code, w.Body)
			}
			if n := b.imageCount(t); n != 1 {
				t.Errorf("%d files, want 1", n)
			}
		})
	}
	b := loadedBench(t, nil)
	remove(t, b)
	if err := os.WriteFile(b.images, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if w := b.do("POST", "/generate", plain); w.Code != 503 || w.Body.String() != `{"detail":"The folder of images can't be used: not a directory"}` || b.base.calls.Load() > 0 {
		t.Errorf("a file in the folder's place: %d %s, %d computed", w.Code, w.Body, b.base.calls.Load())
	}
}

// A folder in which nothing can be written is an error at the start. In /proc not even root can.
func TestStartsWithWritableFolder(t *testing.T) {
	load := func(int) (engine.Engine, error) { return nil, errors.New("unused") }
	if runtime.GOOS == "linux" {
		if _, err := New(Config{Specs: engine.Specs{Base: fakeBase(t)}, Load: load, Images: "/proc/self", Journal: "unused"}); err == nil || !strings.HasPrefix(err.Error(), "server: folder of images /proc/self: ") {
			t.Errorf("/proc/self: %v", err)
		}
	}
	folder := filepath.Join(t.TempDir(), "images")
	if err := os.Mkdir(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if _, err := New(Config{Specs: engine.Specs{Base: fakeBase(t)}, Load: load, Images: folder}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a folder without write permission: %v", err)
		}
	}
}

// What a killed server left is removed at the start, and nothing else is.
func TestSweep(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", plain))
	for _, name := range []string{".22222222-2222-4222-8222-222222222222.png.tmp-ABCDEFGHI7", ".probe.tmp-ABCDEFGHI7"} {
		if err := os.WriteFile(filepath.Join(b.images, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	later := newBench(t, func(c *Config) { c.Images = b.images })
	if log := later.log.String(); b.imageCount(t) != 1 || !strings.Contains(log, "files=2") {
		t.Errorf("%d files, log:\n%s", b.imageCount(t), log)
	}
	if w := later.do("GET", "/download/"+made, ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Only a regular file is an image, whatever its name.
func TestOnlyRegularFiles(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", plain))
	outside := filepath.Join(t.TempDir(), "outside.png")
	data, err := os.ReadFile(b.path(made))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]func(path string) error{
		"folder":                  func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":                    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link to another image":   func(path string) error { return os.Symlink(made+".png", path) },
		"link out of the folder":  func(path string) error { return os.Symlink(outside, path) },
		"link that leads nowhere": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		fresh, err := blob.NewID()
		if err != nil {
			t.Fatal(err)
		}
		if err := place(b.path(fresh)); err != nil {
			t.Fatal(err)
		}
		for _, w := range []struct{ method, path, body string }{
			{"GET", "/download/" + fresh, ""}, {"HEAD", "/download/" + fresh, ""}, {"POST", "/refine", `{"id":"` + fresh + `","prompt":"a"}`},
		} {
			if got := b.do(w.method, w.path, w.body); got.Code != 404 || got.Body.String() != `{"detail":"Image not found"}` {
				t.Errorf("a %s: %s %s: %d %s", what, w.method, w.path, got.Code, got.Body)
			}
		}
		if err := os.Remove(b.path(fresh)); err != nil {
			t.Error(err)
		}
	}
}

// An image that vanishes while its request waits for a device is not found.
func TestSourceVanishes(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", plain))
	open := gate(b.base)
	first := b.start(t.Context(), "/generate", plain)
	for b.base.inside.Load() == 0 {
		runtime.Gosched()
	}
	second := b.start(t.Context(), "/refine", `{"id":"`+made+`","prompt":"a"}`)
	for b.queue.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	if err := os.Remove(b.path(made)); err != nil {
		t.Fatal(err)
	}
	open()
	id(t, <-first)
	if w := <-second; w.Code != 404 || w.Body.String() != `{"detail":"Image not found"}` || b.refiner.calls.Load() > 0 {
		t.Errorf("%d %s, %d computed", w.Code, w.Body, b.refiner.calls.Load())
	}
}
