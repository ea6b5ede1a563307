package clip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// EncodeMasked gives the hidden states of EncodeSequences for sequences in which no token attends to those that are
// masked, transformers' attention_mask. The first token must not be. It is for the few prompts that ask for it: a
// program for each layer runs on the device, and the attention between them, 77 by 77 for each head, on the host.
func (e *Encoder) EncodeMasked(ctx context.Context, batch []Sequence, masked [][]bool, skip int) (hidden []float32, err error) {
	if len(batch) == 0 || len(masked) != len(batch) {
		return nil, errors.New("text encoder: no sequences, or another number of masks")
	}
	tokens := len(batch[0].IDs)
	for i, m := range masked {
		if len(m) != tokens || len(batch[i].IDs) != tokens || tokens == 0 || tokens > e.Config.MaxPositions || m[0] {
			return nil, fmt.Errorf("text encoder: sequence %d has %d tokens and a mask of %d: must be of one length up to %d, the first not masked", i, len(batch[i].IDs), len(m), e.Config.MaxPositions)
		}
	}
	layers := e.Config.Layers - 1 - skip
	if skip < 0 || layers < 0 {
		return nil, fmt.Errorf("text encoder: clip_skip is %d: must be 0 to %d", skip, e.Config.Layers-1)
	}
	if hidden, err = e.embed(batch); err != nil {
		return nil, err
	}
	size := len(hidden)
	q, k, v := make([]float32, size), make([]float32, size), make([]float32, size)
	attended := make([]float32, size)
	for layer := range layers + 1 {
		err := e.Evaluate(ctx, fmt.Sprintf("clip %d×%d layer %d of %d", len(batch), tokens, layer, layers), e.layerGraph(len(batch), tokens, layer, layers), func(p *nn.Program) error {
			if layer > 0 {
				if err := p.SetFloats("attention", attended...); err != nil {
					return err
				}
			}
			return p.SetFloats("x", hidden...)
		}, func(p *nn.Program) ([]float32, error) {
			var all []error
			next := make([]float32, size)
			if layer > 0 {
				all = append(all, p.Floats(ctx, "y", next))
			}
			if layer < layers {
				all = append(all, p.Floats(ctx, "q", q), p.Floats(ctx, "k", k), p.Floats(ctx, "v", v))
			}
			if err := errors.Join(all...); err != nil {
				return nil, err
			}
			if layer > 0 {
				hidden = next
			}
			return hidden, nil
		})
		if err != nil {
			return nil, err
		}
		if layer < layers {
			maskedAttention(attended, q, k, v, masked, e.Config.Heads, e.Config.HiddenSize)
		}
	}
	return hidden, nil
}

// layerGraph states what comes between two attentions: the rest of the layer before, of which "attention" is the result
// and "x" the residual, and the projections of the next one. Inputs and outputs are [batch, tokens, HiddenSize].
func (e *Encoder) layerGraph(batch, tokens, layer, layers int) func(*nn.Builder) {
	return func(b *nn.Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, batch, tokens, e.Config.HiddenSize)
		if layer > 0 {
			l := e.model.Layers[layer-1]
			y := b.Input("attention", kernels.Step, kernels.F32, batch, tokens, e.Config.HiddenSize)
			x = l.SelfAttn.OutProj.Fused(b, y, nn.Epilogue{Residual: x})
			x = l.MLP.Forward(b, l.LayerNorm2.Forward(b, x), x)
			b.Output("y", x)
		}
		if layer < layers {
			l := e.model.Layers[layer]
			n := l.LayerNorm1.Forward(b, x)
			b.Output("q", l.SelfAttn.QProj.Forward(b, n))
			b.Output("k", l.SelfAttn.KProj.Forward(b, n))
			b.Output("v", l.SelfAttn.VProj.Forward(b, n))
		}
	}
}

// maskedAttention is causal attention to the tokens that are not masked, of [B, T, C]. Sums are in float64.
func maskedAttention(out, q, k, v []float32, masked [][]bool, heads, c int) {
	tokens, d := len(masked[0]), c/heads
	scale := 1 / math.Sqrt(float64(d))
	one := func(part int) {
		b, head := part/heads, part%heads
		row := func(x []float32, t int) []float32 { return x[(b*tokens+t)*c+head*d:][:d] }
		scores, sums := make([]float64, tokens), make([]float64, d)
		for t := range tokens {
			largest, total := math.Inf(-1), 0.0
			for j := range t + 1 {
				if masked[b][j] {
					continue
				}
				dot := 0.0
				for i, x := range row(q, t) {
					dot += float64(x) * float64(row(k, j)[i])
				}
				scores[j] = dot * scale
				largest = max(largest, scores[j])
			}
			clear(sums)
			for j := range t + 1 {
				if masked[b][j] {
					continue
				}
				p := math.Exp(scores[j] - largest)
				total += p
				for i, x := range row(v, j) {
					sums[i] += p * float64(x)
				}
			}
			for i, x := range sums {
				row(out, t)[i] = float32(x / total)
			}
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				part := int(next.Add(1)) - 1
				if part >= len(masked)*heads {
					return
				}
				one(part)
			}
		})
	}
	workers.Wait()
}
