package server

import (
	"errors"
	"fmt"
	"image"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// images are the folder of images, as the server and its workers have it.
type images struct {
	*blob.Store
	begin func(id string, t blob.Type, bytes int64) (worker.Pending, error) // as Store.Begin
	probe func() error                                                      // as Store.Probe
}

// newImages does nothing to the folder yet.
func newImages(folder string) *images {
	s := blob.New(folder)
	return &images{Store: s, probe: s.Probe, begin: func(id string, t blob.Type, bytes int64) (worker.Pending, error) {
		p, err := s.Begin(id, t, bytes)
		if err != nil {
			return nil, err // not a nil *blob.Pending in a non-nil interface
		}
		return p, nil
	}}
}

// Begin makes room for an image before it is computed.
func (s *images) Begin(id string, t blob.Type, bytes int64) (worker.Pending, error) {
	return s.begin(id, t, bytes)
}

// Load decodes an image, as a worker has it: of an animation an [imagefile.FirstFrame]. Its errors are those of Find, and
// of a file that is no image.
func (s *images) Load(id string) (image.Image, error) {
	data, _, err := s.Read(id)
	if err != nil {
		return nil, err
	}
	img, err := imagefile.DecodeFrame(data, sdxl.MaxSide)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", id, err)
	}
	return img, nil
}

// decode is Load that does not tell an animation.
func (s *images) decode(id string) (*image.NRGBA, error) {
	img, err := s.Load(id)
	if err != nil {
		return nil, err
	}
	if first, ok := img.(imagefile.FirstFrame); ok {
		return first.NRGBA, nil
	}
	return img.(*image.NRGBA), nil
}

// size reads the size of an image from its header; its errors are those of Load.
func (s *images) size(id string) (sdxl.Size, error) {
	data, _, err := s.Read(id)
	if err != nil {
		return sdxl.Size{}, err
	}
	width, height, err := imagefile.Size(data)
	if err != nil {
		return sdxl.Size{}, fmt.Errorf("image %s: %w", id, err)
	}
	return sdxl.Size{Height: height, Width: width}, nil
}

// storeFailure is the failure of a request by an error of the folder, nil of any other error.
func storeFailure(err error) *failure {
	var stored *blob.Error
	if !errors.As(err, &stored) {
		return nil
	}
	e := worker.OfStore(stored)
	return &failure{kind: kind(e.Kind), detail: e.Message, err: err}
}
