package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/engine"
)

// weights are the packed tensors of a component.
type weights struct {
	device *Device
	source kernels.Source

	mu     sync.Mutex
	all    map[weightKey]*packed
	order  []*packed
	blocks []driver.Ptr // the memory of what is resident
	bytes  int64        // of blocks
	closed bool
	// generation counts the times that weights moved: programs record their launches again.
	generation uint64
}

// weightKey tells layouts of one tensor apart.
type weightKey struct {
	name      string
	packing   packing
	precision kernels.DType
}

// NewWeights implements kernels.Device. The source stays the caller's, who keeps it open until the weights are closed.
func (d *Device) NewWeights(src kernels.Source) (kernels.Weights, error) {
	if err := d.engine.AddWeights(); err != nil {
		return nil, err
	}
	return &weights{device: d, source: src, all: map[weightKey]*packed{}, generation: 1}, nil
}

// want returns the place of a tensor in a layout; it has memory once resident has been called with it.
func (w *weights) want(t kernels.Tensor, p packing, precision kernels.DType) (*packed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("cuda: the weights are closed")
	}
	if p.kind == packFloat {
		precision = kernels.F32 // whatever the program's, it is the same
	}
	key := weightKey{t.Name, p, precision}
	if made, ok := w.all[key]; ok {
		return made, nil
	}
	if err := engine.FindWeight(w.source, t); err != nil {
		return nil, err
	}
	made := &packed{name: t.Name, shape: t.Shape, dtype: t.DType, precision: precision, packing: p}
	w.all[key] = made
	w.order = append(w.order, made)
	return made, nil
}

// resident uploads and packs those of the weights in use that are not on the card yet. The engine's mutex must be held.
func (w *weights) resident(ctx context.Context, uses []*packed) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("cuda: the weights are closed")
	}
	list, bytes := missing(uses)
	if len(list) == 0 {
		return nil
	}
	block, err := w.device.memory.alloc(bytes)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	at := block
	for _, p := range list {
		p.at = at
		at += driver.Ptr(align(p.bytes()))
	}
	read := slices.DeleteFunc(slices.Clone(list), func(p *packed) bool { return p.packing.kind == packWeightSums || p.packing.kind == packFoldedBias })
	err = w.device.load(ctx, w.source, read)
	for _, p := range read {
		if err == nil && p.folding != nil {
			err = w.device.fold(p)
		}
	}
	if err != nil {
		err = errors.Join(err, w.device.stream.Synchronize())
		for _, p := range list {
			p.at = 0
		}
		return errors.Join(err, w.device.memory.free(block))
	}
	w.blocks = append(w.blocks, block)
	w.bytes += bytes
	return w.source.Release()
}

// link says what goes with a weight that takes in a norm's factors.
func (w *weights) link(p *packed, f *folding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.folding = f
}

// missing are the weights that are not on the card, and the memory that they need.
func missing(uses []*packed) (list []*packed, bytes int64) {
	for _, p := range uses {
		if p.at == 0 {
			list = append(list, p)
			bytes += align(p.bytes())
		}
	}
	// Those that are joined side by side: programs that are compiled at the same time may have wanted others in
	// between.
	slices.SortStableFunc(list, func(a, b *packed) int { return strings.Compare(a.packing.join, b.packing.join) })
	return list, bytes
}

// SetResident implements kernels.Weights. Swapping in copies and packs again from the source, for on all that programs
// of any size have used.
func (w *weights) SetResident(ctx context.Context, on bool) error {
	if err := w.device.engine.LockContext(ctx); err != nil {
		return err
	}
	defer w.device.engine.Unlock()
	if on {
		w.mu.Lock()
		all := slices.Clone(w.order)
		w.mu.Unlock()
		return w.resident(ctx, all)
	}
	return w.drop()
}

// drop frees the memory of all weights; the engine's mutex must be held.
func (w *weights) drop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	failed := []error{w.device.stream.Synchronize()}
	for _, block := range w.blocks {
		failed = append(failed, w.device.memory.free(block))
	}
	for _, p := range w.order {
		p.at = 0
	}
	w.blocks, w.bytes = nil, 0
	w.generation++
	return errors.Join(failed...)
}

// Bytes implements kernels.Weights: what is resident.
func (w *weights) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

// Close implements kernels.Weights. Programs that use the weights must be closed before.
func (w *weights) Close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return nil
	}
	w.device.engine.Lock()
	err := w.drop()
	w.device.engine.Unlock()
	if w.device.Lost() != nil {
		err = nil // everything went with the context
	}
	w.device.engine.RemoveWeights()
	return err
}
