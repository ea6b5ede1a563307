package server

import (
	"errors"
	"image"

	"github.com/goxl/goxl/worker"
)

// blobs are the folder of images, as a pool of workers has it.
type blobs struct{ *store }

func (b blobs) Begin(id, _ string, bytes int64) (worker.Pending, error) {
	p, err := b.begin(id, bytes)
	if err != nil {
		return nil, workerError(err)
	}
	return imageFile{p}, nil
}

func (b blobs) Load(id string) (image.Image, error) {
	img, err := b.load(id)
	return img, workerError(err)
}

// imageFile is a file that waits for its image.
type imageFile struct{ *pending }

func (f imageFile) Commit(data []byte) error { return workerError(f.commit(data)) }

func (f imageFile) Discard() { f.discard() }

// workerError is a failure as a job ends with it.
func workerError(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	return &worker.Error{Kind: string(f.kind), Message: f.words(), Err: f.err}
}
