package cuda

import (
	"context"
	"errors"
	"time"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// peakKernel is a kernel that does nothing but mma or wgmma on random numbers, in blocks of 256 threads.
type peakKernel struct {
	name           string
	shared         int
	blocks         int // on each multiprocessor
	flops          int // of a block in a round
	roundsPerBlock int32
}

// PeakFLOPS implements kernels.Device: the tensor cores on random data, within some tens of milliseconds.
func (d *Device) PeakFLOPS(ctx context.Context) (float64, error) {
	return d.engine.Peak(ctx, d.measurePeak)
}

func (d *Device) measurePeak() (best float64, err error) {
	info := d.Info()
	k := peakKernel{"peak", 0, 2, 8 * 16 * 2 * 16 * 8 * 16, 4000}
	if info.Variant == "sm_90a" {
		k = peakKernel{"peak_wgmma", (128+256)*128 + 1024, 1, 2 * 4 * 2 * 64 * 256 * 16, 4000}
	}
	blocks := k.blocks * d.sms
	out, err := d.memory.alloc(4 * 256 * int64(blocks))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.stream.Synchronize(), d.memory.free(out)) }()
	f, err := d.libraries[info.Precisions[0]].function(k.name)
	if err != nil {
		return 0, err
	}
	config := driver.Config{Grid: driver.Dim{X: uint32(blocks), Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}, DynamicShared: k.shared}
	l, err := f.Prepare(config, peakParams{Out: out, Rounds: k.roundsPerBlock})
	if err != nil {
		return 0, err
	}
	var marks [2]*driver.Event
	for i := range marks {
		if marks[i], err = d.context.NewEvent(true); err != nil {
			return 0, err
		}
		defer marks[i].Close()
	}
	for range 5 { // the first rounds raise the clocks
		if err := errors.Join(d.stream.Record(marks[0]), d.stream.Launch(l), d.stream.Record(marks[1]), marks[1].Synchronize()); err != nil {
			return 0, err
		}
		took, err := marks[1].Since(marks[0])
		if err != nil {
			return 0, err
		}
		best = max(best, float64(blocks)*float64(k.flops)*float64(k.roundsPerBlock)/max(took, time.Nanosecond).Seconds())
	}
	return best, nil
}
