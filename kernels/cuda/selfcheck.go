package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
	oracle "github.com/goxl/goxl/kernels/ref"
)

// SelfCheck is a known-answer self-test: it computes a few operations in the device's default precision, compares the
// results with the reference's, and returns an error if one is wrong. So a card, a driver or its JIT compiler that
// computes wrongly gives an error and not images of noise. It takes some tens of milliseconds beside the loading of the
// kernels, which programs need anyway, and keeps no memory but the arena of its temporaries, 1.1 MB, which later
// programs share.
func (d *Device) SelfCheck(ctx context.Context) error {
	devices := []kernels.Device{d, limitedSMs{d, false}}
	if d.target().hasTMA() {
		devices = append(devices, limitedSMs{d, true})
	}
	for _, device := range devices {
		if err := selfCheck(ctx, device); err != nil {
			i := d.Info()
			return fmt.Errorf("%s (%s) failed its self-check: %w; -device cpu computes on the CPU", i.Name, i.Detail, err)
		}
	}
	return nil
}

// limitedSMs is a device that compiles for a card of two multiprocessors, so that persistent blocks work through
// several of the few tiles of a test, as they do in a model. large: it has only the largest TMA tiles, those of large
// images.
type limitedSMs struct {
	*Device
	large bool
}

func (d limitedSMs) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	on := d.target()
	on.sms = 2
	if d.large {
		on.tiles = slices.DeleteFunc(slices.Clone(d.tiles), func(t tile) bool { return t.tma && (t.pingpong || t.m*t.n < 128*160) })
	}
	return d.compile(plan, w, o, on)
}

// selfCheck runs the known-answer tests on any device. The error names the first test whose result is wrong.
func selfCheck(ctx context.Context, d kernels.Device) (err error) {
	q := newKnownAnswers()
	w, err := d.NewWeights(q)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	p, err := d.Compile(&q.plan, w, kernels.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for v, t := range q.plan.Tensors {
		if t.Role == kernels.Step {
			if err := p.Write(kernels.Value(v), encoded(q.values[v].F)); err != nil {
				return err
			}
		}
	}
	if err := p.Run(ctx); err != nil {
		return err
	}
	// One rounding to 16 bits adds an error of at most half a unit in the last place, and the roundings of many terms
	// add up to no more, since their signs are random. No operation has more than four roundings between exact inputs
	// and its result: a GEMM with a folded LayerNorm has three, of the norm, of the folded weights and of the result.
	// Sums in float32 add next to nothing. The error is relative to the norm of the output, since single elements may
	// cancel.
	limit := 4 * 0x1p-11
	if d.Info().Precisions[0] == kernels.BF16 {
		limit = 4 * 0x1p-8
	}
	for _, a := range q.tests {
		if err := q.compare(ctx, p, a, limit); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// compare compares a result with the reference's, computed from the operands that the device had. It looks for NaN and
// Inf in the whole output first. The norm of the error is over about two thousand elements: few enough for a single
// wrong one to count and for the reference to take milliseconds.
func (q *knownAnswers) compare(ctx context.Context, p kernels.Program, a knownAnswer, limit float64) error {
	in := make([]oracle.Tensor, len(a.in))
	for k, v := range a.in {
		in[k] = q.values[v]
	}
	if a.result == 0 {
		out, err := oracle.Run(a.spec, in)
		if err == nil {
			q.values[a.out] = out[0]
		}
		return err
	}
	data := make([]byte, q.plan.Tensors[a.result].Bytes())
	if err := p.Read(ctx, a.result, data); err != nil {
		return err
	}
	got := make([]float32, len(data)/4)
	for i := range got {
		got[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if f := float64(got[i]); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("element %d of the result is %v", i, f)
		}
	}
	q.values[a.out].F = got
	stride := len(got)/2000 | 1
	var sampled []int
	for i := (len(got) - 1) % stride; i < len(got); i += stride {
		sampled = append(sampled, i)
	}
	want, err := oracle.Eval(a.spec, in, 0, sampled)
	if err != nil {
		return err
	}
	var wrong, norm float64
	for k, i := range sampled {
		wrong += (float64(got[i]) - want[k]) * (float64(got[i]) - want[k])
		norm += want[k] * want[k]
	}
	if e := math.Sqrt(wrong / norm); !(e <= limit) {
		return fmt.Errorf("the result is wrong by %.2g of its norm, at most %.2g is rounding", e, limit)
	}
	return nil
}
