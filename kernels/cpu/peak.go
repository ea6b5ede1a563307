package cpu

import (
	"context"
	"time"
)

// peakTask runs the variant's multiply-adds in registers, the same number in each part.
type peakTask struct {
	v          *variant
	iterations int
}

func (t *peakTask) do(_, _ int) { t.v.gemm.fmaPeak(t.iterations) }

// PeakFLOPS implements kernels.Device: float32 multiply-adds of all workers together. It takes about a quarter of a
// second.
func (d *Device) PeakFLOPS(ctx context.Context) (float64, error) {
	return d.engine.Peak(ctx, func() (float64, error) { return d.measurePeak(ctx) })
}

func (d *Device) measurePeak(ctx context.Context) (peak float64, err error) {
	const (
		rounds = 5
		want   = 40 * time.Millisecond
	)
	t := &peakTask{v: d.variant, iterations: 1 << 12}
	n := d.workers.count()
	for round := 0; round < rounds; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		d.workers.run(n, t)
		took := time.Since(start)
		if took < want {
			t.iterations *= 2
			continue
		}
		round++
		flops := float64(n) * float64(t.iterations) * float64(d.variant.gemm.fmaFLOPs)
		peak = max(peak, flops/took.Seconds())
	}
	return peak, d.workers.failure()
}
