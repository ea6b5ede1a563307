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

// SelfCheck computes a few operations whose results are known, in the device's default precision, and returns an error where one is wrong: a card, a driver or
// its compiler that computes wrongly is told so, instead of by pictures of noise. It takes some tens of milliseconds beside the loading of the kernels, which
// programs need anyway, and leaves no memory taken but the arena of its temporaries, 1.1 MB, which later programs share.
func (d *Device) SelfCheck(ctx context.Context) error {
	devices := []kernels.Device{d, crowded{d, false}}
	if d.target().hasTMA() {
		devices = append(devices, crowded{d, true})
	}
	for _, device := range devices {
		if err := selfCheck(ctx, device); err != nil {
			i := d.Info()
			return fmt.Errorf("%s (%s) failed its self-check: %w; -device cpu computes on the processor", i.Name, i.Detail, err)
		}
	}
	return nil
}

// crowded is a device that takes its card for one of two multiprocessors, so that the few tiles of a question are as many for each of them as in a model:
// then their blocks go on from tile to tile. large: of the copied tiles it has the largest alone, which models' large pictures
// are made with.
type crowded struct {
	*Device
	large bool
}

func (d crowded) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	on := d.target()
	on.sms = 2
	if d.large {
		on.tiles = slices.DeleteFunc(slices.Clone(d.tiles), func(t tile) bool { return t.tma && (t.pingpong || t.m*t.n < 128*160) })
	}
	return d.compile(plan, w, o, on)
}

// selfCheck runs the questions on any device and names the first that has a wrong answer.
func selfCheck(ctx context.Context, d kernels.Device) (err error) {
	q := newQuestions()
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
	// One rounding to 16 bits is at most half a unit in the last place, and so is what roundings of many terms add up to, since their signs are random. No operation
	// has more than four of them between exact inputs and its result: a product of a layer norm has three, of the norm, of weights that it was folded into, and of
	// the result. Sums in float32 add next to nothing. The error is relative to the norm of the output, for single elements may cancel.
	limit := 4 * 0x1p-11
	if d.Info().Precisions[0] == kernels.BF16 {
		limit = 4 * 0x1p-8
	}
	for _, a := range q.asked {
		if err := q.judge(ctx, p, a, limit); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// judge compares what the device gave with the answer for what the device gave before it. NaN is looked for first, in the whole of the output; the norm of the
// error is taken over two thousand elements of it, few enough for one that is wrong to count, and to keep the reference to milliseconds.
func (q *questions) judge(ctx context.Context, p kernels.Program, a question, limit float64) error {
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
	var judged []int
	for i := (len(got) - 1) % stride; i < len(got); i += stride {
		judged = append(judged, i)
	}
	want, err := oracle.Eval(a.spec, in, 0, judged)
	if err != nil {
		return err
	}
	var wrong, norm float64
	for k, i := range judged {
		wrong += (float64(got[i]) - want[k]) * (float64(got[i]) - want[k])
		norm += want[k] * want[k]
	}
	if e := math.Sqrt(wrong / norm); !(e <= limit) {
		return fmt.Errorf("the result is wrong by %.2g of its norm, at most %.2g is rounding", e, limit)
	}
	return nil
}
