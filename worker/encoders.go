package worker

import (
	"context"
	"log/slog"
	"time"
)

// ImagesPerDevice is how many images of a device may be computed or on their way to the disk. Two keep the device busy,
// since an image is encoded faster than it is computed; the third is for a disk that is slow for once.
const ImagesPerDevice = 3

// encoders bound the jobs that are being computed and not on disk yet, which have their pixels in memory. Each holds
// one.
type encoders chan struct{}

func newEncoders(devices int) encoders { return make(encoders, ImagesPerDevice*devices) }

// acquire waits until there is room for another image, or fails with ctx's cause when ctx ends first.
func (e encoders) acquire(ctx context.Context) error {
	select {
	case e <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e encoders) release() { <-e }

// Attempt is one at a job that gave images.
type Attempt struct {
	Job, Device    string // the job's id, the device's name
	Images         int
	Computed, Kept time.Time // when the device had computed them, and when they were on the disk
}

// durations are how long the parts of a job took; 0 is not reached.
type durations struct {
	wait    time.Duration // for a device
	compute time.Duration // on the device, with a refiner's loading, reading the image, and opening the files
	encode  time.Duration // from there until the images are on disk
}

// attrs are the durations of what was reached.
func (d durations) attrs() (list []any) {
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"wait", d.wait}, {"compute", d.compute}, {"encode", d.encode}} {
		if part.took > 0 {
			list = append(list, slog.Duration(part.name, part.took))
		}
	}
	return list
}
