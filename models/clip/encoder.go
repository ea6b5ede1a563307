package clip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Encoder is a text encoder on a device. It is used by one goroutine at a time.
type Encoder struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
}

// Open binds a checkpoint, which the configuration fits, and puts it on the device. Names without the prefix
// "text_model.", as transformers from 5.6 on writes CLIPTextModel, are accepted.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Encoder, error) {
	m := New(c)
	if !slices.ContainsFunc(src.Names(), hasPrefix) {
		src = weights.Rename(src, func(name string) string {
			if strings.HasPrefix(name, "text_projection.") {
				return name
			}
			return prefix + name
		})
	}
	ignore := []string{prefix + "embeddings.position_ids"}
	if !c.WithProjection {
		ignore = append(ignore, "text_projection.weight")
	}
	bound, err := nn.Bind(m, src, ignore...)
	if err != nil {
		return nil, err
	}
	n, err := nn.NewNetwork(dev, bound, o)
	if err != nil {
		return nil, err
	}
	return &Encoder{Network: n, Config: c, Unclaimed: bound.Unclaimed, model: m}, nil
}

// The outputs of Graph.
const (
	Hidden = "hidden" // [B, T, HiddenSize]
	Pooled = "pooled" // [B, ProjectionDim]; not there without a projection
)

// Sequence is what the encoder reads of a text.
type Sequence struct {
	IDs     []int32           // tokens; the pooled state's position follows from them, see PooledRow
	Vectors map[int][]float32 // [HiddenSize] each, in place of the tokens' rows of the embedding table, by position
}

// Encode is EncodeSequences of tokens alone.
func (e *Encoder) Encode(ctx context.Context, ids [][]int32, skip int, taps ...nn.Tap) (hidden, pooled []float32, err error) {
	batch := make([]Sequence, len(ids))
	for i := range ids {
		batch[i].IDs = ids[i]
	}
	return e.EncodeSequences(ctx, batch, skip, taps...)
}

// EncodeSequences runs a batch of sequences of one length. hidden is [B, T, HiddenSize], of the layer skip+1 before the
// last; pooled is [B, ProjectionDim], nil without a projection. Where a sequence has vectors, the whole batch's
// embeddings are looked up on the host, exactly.
func (e *Encoder) EncodeSequences(ctx context.Context, batch []Sequence, skip int, taps ...nn.Tap) (hidden, pooled []float32, err error) {
	c := e.Config
	if len(batch) == 0 || len(batch[0].IDs) == 0 {
		return nil, nil, errors.New("text encoder: no tokens: must be a sequence or more")
	}
	tokens := len(batch[0].IDs)
	if tokens > c.MaxPositions {
		return nil, nil, fmt.Errorf("text encoder: %d tokens, at most %d", tokens, c.MaxPositions)
	}
	if skip < 0 || skip > c.Layers-1 {
		return nil, nil, fmt.Errorf("text encoder: clip_skip is %d: must be 0 to %d", skip, c.Layers-1)
	}
	flat := make([]int32, 0, len(batch)*tokens)
	rows := make([]int32, len(batch))
	vectors := false
	for i, seq := range batch {
		if len(seq.IDs) != tokens {
			return nil, nil, fmt.Errorf("text encoder: sequence %d has %d tokens, the first %d", i, len(seq.IDs), tokens)
		}
		flat = append(flat, seq.IDs...)
		rows[i] = int32(PooledRow(seq.IDs, c.EOSTokenID))
		vectors = vectors || len(seq.Vectors) > 0
	}
	build, key := e.Graph(len(batch), tokens, skip), fmt.Sprintf("clip %d×%d skip %d", len(batch), tokens, skip)
	write := func(p *nn.Program) error { return p.SetInts("ids", flat...) }
	if vectors {
		x, err := e.embed(batch)
		if err != nil {
			return nil, nil, err
		}
		build, key = e.graphOf(len(batch), tokens, skip, true), key+" of embeddings"
		write = func(p *nn.Program) error { return p.SetFloats("embeddings", x...) }
	}
	err = e.Evaluate(ctx, key, build, func(p *nn.Program) error {
		if err := write(p); err != nil {
			return err
		}
		return p.SetInts("eos", rows...)
	}, func(p *nn.Program) (_ []float32, err error) {
		if hidden, pooled, err = e.read(ctx, p, len(batch), tokens); err != nil {
			return nil, err
		}
		return slices.Concat(hidden, pooled), nil
	}, taps...)
	if err != nil {
		return nil, nil, err
	}
	return hidden, pooled, nil
}

// Graph states the encoder for so many sequences of so many tokens: inputs "ids" [batch, tokens] and "eos" [batch], the
// position of the pooled state, of int32; outputs Hidden and Pooled.
func (e *Encoder) Graph(batch, tokens, skip int) func(*nn.Builder) {
	return e.graphOf(batch, tokens, skip, false)
}

// graphOf is Graph, with the input "embeddings" [batch, tokens, HiddenSize] in place of "ids" if embedded.
func (e *Encoder) graphOf(batch, tokens, skip int, embedded bool) func(*nn.Builder) {
	return func(b *nn.Builder) {
		var x *nn.Value
		if embedded {
			x = b.Tap(e.model.Embeddings, b.Input("embeddings", kernels.Step, kernels.F32, batch, tokens, e.Config.HiddenSize))
		} else {
			x = e.model.Embeddings.Forward(b, b.Input("ids", kernels.Step, kernels.I32, batch, tokens))
		}
		hidden, pooled := e.model.Encode(b, x, b.Input("eos", kernels.Step, kernels.I32, batch), skip)
		b.Output(Hidden, hidden)
		if pooled != nil {
			b.Output(Pooled, pooled)
		}
	}
}

// read brings a program's results to the host.
func (e *Encoder) read(ctx context.Context, p *nn.Program, batch, tokens int) (hidden, pooled []float32, err error) {
	hidden = make([]float32, batch*tokens*e.Config.HiddenSize)
	if err := p.Floats(ctx, Hidden, hidden); err != nil || !e.Config.WithProjection {
		return hidden, nil, err
	}
	pooled = make([]float32, batch*e.Config.ProjectionDim)
	return hidden, pooled, p.Floats(ctx, Pooled, pooled)
}

// PooledRow is the position whose last state is pooled: where the configuration has the eos id 2, which every published
// SDXL encoder has and no tokenizer gives, the first of the largest id; else the first eos, 0 if there is none.
func PooledRow(ids []int32, eos int32) int {
	if eos == 2 {
		return slices.Index(ids, slices.Max(ids))
	}
	return max(0, slices.Index(ids, eos))
}
