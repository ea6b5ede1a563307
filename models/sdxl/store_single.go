package sdxl

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// openSingle opens a checkpoint in one file.
func openSingle(file string, log *slog.Logger) (*store, error) {
	c, err := singlefile.Open(file)
	if err != nil {
		return nil, err
	}
	for _, note := range c.Notes {
		log.Info(note, "model", file)
	}
	if len(c.Unclaimed) > 0 {
		log.Warn("tensors that no part of the model has are not used", "file", file, "count", len(c.Unclaimed), "tensors", nn.Shorten(c.Unclaimed))
	}
	s := &store{path: file, fsys: c.Files(), closer: c, single: c, join: joinSingle}
	s.weights = func(component string, _ weights.Variant, _ func() map[string][]int) (kernels.Source, io.Closer, error) {
		src := c.Component(component)
		if src == nil {
			return nil, nil, fmt.Errorf("%s has no %s", file, component)
		}
		return src, nil, nil // the store closes it
	}
	if err := s.readIndex(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// joinSingle names a configuration that is in no file of its own.
func joinSingle(elem ...string) string { return elem[0] + ": " + path.Join(elem[1:]...) }
