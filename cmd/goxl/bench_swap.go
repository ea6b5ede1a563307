package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
)

// swapFigures is bench swap as JSON.
type swapFigures struct {
	opened
	Rank    int   `json:"rank"`
	Tensors int   `json:"tensors"`       // that change
	Weights int64 `json:"weights_bytes"` // of them, in the files
	Factors int64 `json:"factors_bytes"`
	// FirstSwap is from no adapters to the first set. Memory is taken, kernels are loaded, and a card keeps what the next
	// swaps read.
	FirstSwap float64   `json:"first_swap_s"`
	Swaps     []float64 `json:"swaps_s"` // from one adapter set to another
	Swap      float64   `json:"swap_s"`  // median of Swaps
	Back      float64   `json:"back_s"`  // to the model without adapters
	Reload    float64   `json:"reload_s"`
}

const (
	defaultSwaps = 5
	defaultRank  = 32
)

// swap times adapter sets that take each other's place: low-rank products of random factors, as a LoRA has them, for
// every linear layer and convolution of the UNet and the text encoders. What is timed ends when the device has done it.
func (b *bench) swap(ctx context.Context) (any, error) {
	f := swapFigures{Rank: b.rank}
	runs := b.runs
	if runs == 0 {
		runs = defaultSwaps
	}
	err := b.with(func(o opened, p *sdxl.Model, _ *counter) error {
		f.opened = o
		before, err := b.oneStep(ctx, p)
		if err != nil {
			return err
		}
		parts := []*nn.Network{p.UNet.Network, p.TextEncoder2.Network}
		if p.TextEncoder != nil {
			parts = append(parts, p.TextEncoder.Network)
		}
		sets, err := f.adapters(parts)
		if err != nil {
			return err
		}
		update := func(set []*kernels.Update) (time.Duration, error) {
			start := time.Now()
			for i, part := range parts {
				if err := part.Update(ctx, set[i]); err != nil {
					return 0, err
				}
			}
			return time.Since(start), nil
		}
		first, err := update(sets[0])
		if err != nil {
			return err
		}
		f.FirstSwap = first.Seconds()
		fmt.Fprintf(b.err, "the first swap took %.3f s\n", f.FirstSwap)
		for i := range runs {
			spent, err := update(sets[1-i%2])
			if err != nil {
				return err
			}
			f.Swaps = append(f.Swaps, spent.Seconds())
			fmt.Fprintf(b.err, "a swap took %.3f s\n", spent.Seconds())
		}
		with, err := b.oneStep(ctx, p)
		if err != nil {
			return err
		}
		spent, err := update(make([]*kernels.Update, len(parts)))
		if err != nil {
			return err
		}
		f.Back = spent.Seconds()
		after, err := b.oneStep(ctx, p)
		if err != nil {
			return err
		}
		if !slices.Equal(before, after) || slices.Equal(before, with) {
			return errors.New("the adapter sets change no latents, or these are others when the sets have gone")
		}
		if f.Reload, err = b.reload(ctx, parts); err != nil {
			return err
		}
		f.Swap = slices.Sorted(slices.Values(f.Swaps))[len(f.Swaps)/2]
		return f.remember(b.on)
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "adapter sets  rank %d, %d tensors of %s, factors of %s\n", f.Rank, f.Tensors, size(f.Weights, "B"), size(f.Factors, "B"))
	fmt.Fprintf(w, "first swap    %.3f s (from no adapters)\n", f.FirstSwap)
	fmt.Fprintf(w, "a swap        %.3f s (median of the %d others)\n", f.Swap, len(f.Swaps))
	fmt.Fprintf(w, "back          %.3f s\n", f.Back)
	if f.Reload > 0 {
		fmt.Fprintf(w, "reloading     %.3f s (all weights of the same components)\n", f.Reload)
	}
	return f, nil
}

// oneStep computes the latents of a run of one step.
func (b *bench) oneStep(ctx context.Context, p *sdxl.Model) ([]float32, error) {
	run, err := b.start(ctx, p, 1, true)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if _, err := b.several(ctx, run, 1); err != nil {
		return nil, err
	}
	x, err := run.Latents(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(x.Data), nil
}

// reload times loading all weights of components again, where a device has memory of its own.
func (b *bench) reload(ctx context.Context, parts []*nn.Network) (float64, error) {
	if !kernels.Queues(b.on) {
		return 0, nil
	}
	for _, part := range parts {
		if err := part.SetResident(ctx, false); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	for _, part := range parts {
		if err := part.SetResident(ctx, true); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds(), nil
}

// adapters are two sets, an update for each component. They share random factors of float16 and differ in their scale.
func (f *swapFigures) adapters(parts []*nn.Network) (sets [2][]*kernels.Update, err error) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, part := range parts {
		u := [2]*kernels.Update{{LowRank: map[string][]kernels.LowRank{}}, {LowRank: map[string][]kernels.LowRank{}}}
		src := part.Source()
		for _, name := range src.Names() {
			dtype, shape, err := src.Describe(name)
			if err != nil {
				return sets, err
			}
			if len(shape) < 2 || strings.Contains(name, "embedding.weight") {
				continue
			}
			rows, columns := kernels.Matrix(shape)
			p := kernels.LowRank{Rank: f.Rank, Up: randomFactor(random, rows*f.Rank), Down: randomFactor(random, f.Rank*columns)}
			for i, scale := range []float32{1, -0.5} {
				p.Scale = scale
				u[i].LowRank[name] = []kernels.LowRank{p}
			}
			f.Tensors++
			f.Weights += int64(rows) * int64(columns) * int64(dtype.Size())
			f.Factors += int64(len(p.Up.Data) + len(p.Down.Data))
		}
		for i := range sets {
			sets[i] = append(sets[i], u[i])
		}
	}
	return sets, nil
}

// randomFactor is n numbers of float16 whose magnitudes are between 2⁻⁷ and 2⁻⁶.
func randomFactor(random *rand.Rand, n int) kernels.Factor {
	data := make([]byte, 0, 2*n+8)
	for len(data) < 2*n {
		data = binary.LittleEndian.AppendUint64(data, random.Uint64()&0x83ff83ff83ff83ff|0x2000200020002000)
	}
	return kernels.Factor{DType: kernels.F16, Data: data[:2*n]}
}
