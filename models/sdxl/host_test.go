package sdxl

import (
	"io/fs"
	"log/slog"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// hostOf is a host of its own of a device, which logs to log if there is one.
func hostOf(dev kernels.Device, log ...*slog.Logger) *Host {
	h, err := NewHost(dev, append(log, nil)[0])
	if err != nil {
		panic(err)
	}
	return h
}

func refinerOf(t *testing.T, base *Model, path string) (*Model, error) {
	return Open(t.Context(), path, Options{Base: base})
}

func refinerOfFS(t *testing.T, base *Model, fsys fs.FS, name string) (*Model, error) {
	return OpenFS(t.Context(), fsys, name, Options{Base: base})
}
