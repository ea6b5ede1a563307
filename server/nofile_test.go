//go:build unix

package server

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// A refine whose source becomes something else while it waits finds none, and nobody waits for that.
func TestSourceReplaced(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink(path, path) },
	} {
		t.Run(name, func(t *testing.T) {
			b := loadedBench(t, nil)
			made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
			open := gate(b.base)
			first := b.start(t.Context(), "/generate", `{"prompt":"a"}`)
			for b.base.inside.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			second := b.start(t.Context(), "/refine", `{"id":"`+made+`","prompt":"a"}`)
			for b.queue.Stats().Waiting == 0 {
				time.Sleep(time.Millisecond)
			}
			path := b.images + "/" + made + ".png"
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			open()
			id(t, <-first)
			if w := <-second; w.Code != http.StatusNotFound || w.Body.String() != `{"detail":"Image not found"}` {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if n := b.refiner.calls.Load(); n > 0 {
				t.Error("the refiner computed")
			}
		})
	}
}
