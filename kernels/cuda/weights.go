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

	mu      sync.Mutex
	origins *engine.Origins
	all     map[weightKey]*packed
	order   []*packed
	blocks  []driver.Ptr // the memory of what is resident
	bytes   int64        // of blocks
	closed  bool
	// generation counts the times that weights moved: programs record their launches again.
	generation uint64
	// revision counts the updates: programs whose hoisted nodes were computed before the last one compute them again.
	revision uint64
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
	return &weights{device: d, origins: engine.NewOrigins(src), all: map[weightKey]*packed{}, generation: 1, revision: 1}, nil
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
	if err := w.origins.Find(t); err != nil {
		return nil, err
	}
	made := &packed{name: t.Name, shape: t.Shape, dtype: t.DType, precision: precision, packing: p}
	w.all[key] = made
	w.order = append(w.order, made)
	return made, nil
}

// resident uploads and packs those of the weights in use that are not on the card yet, or stale. The engine's mutex must
// be held.
func (w *weights) resident(ctx context.Context, uses []*packed) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("cuda: the weights are closed")
	}
	list, bytes := pending(uses)
	if len(list) == 0 {
		return nil
	}
	block, err := w.device.memory.alloc(bytes)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	var fresh []*packed
	at := block
	for _, p := range list {
		if p.at == 0 {
			fresh = append(fresh, p)
			p.at = at
			at += driver.Ptr(align(p.bytes()))
		}
	}
	if err := w.load(ctx, list); err != nil {
		for _, p := range fresh {
			p.at = 0
		}
		return errors.Join(err, w.device.memory.free(block))
	}
	if block != 0 {
		w.blocks = append(w.blocks, block)
		w.bytes += bytes
	}
	return w.origins.Release()
}

// load uploads and packs weights that have an address, and computes what goes with folded norms. After an error those
// that were stale are.
func (w *weights) load(ctx context.Context, list []*packed) error {
	read := slices.DeleteFunc(slices.Clone(list), (*packed).computed)
	err := w.device.load(ctx, w, read)
	for _, p := range read {
		if err == nil && p.folding != nil {
			err = w.device.fold(p)
		}
	}
	if err != nil {
		return errors.Join(err, w.device.stream.Synchronize())
	}
	for _, p := range list {
		p.stale = false
	}
	return nil
}

// Update implements kernels.Weights: what is resident is packed again where it lies, so that the launches of programs
// stay as they are recorded. If there is no memory to do that in, it is done when a program needs it, which makes room.
func (w *weights) Update(ctx context.Context, u *kernels.Update) error {
	d := w.device
	if err := d.engine.LockContext(ctx); err != nil {
		return err
	}
	defer d.engine.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("cuda: the weights are closed")
	}
	origins, err := w.origins.With(u)
	if err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	before := w.origins
	changed := origins.Changed(before)
	var list []*packed
	for _, p := range w.order {
		if p.at != 0 && p.dependsOn(changed) {
			p.stale = true
			list = append(list, p)
		}
	}
	w.origins = origins
	w.revision++
	if len(list) > 0 {
		err = w.load(ctx, list)
	}
	if err == nil || errors.Is(err, kernels.ErrMemory) {
		err = errors.Join(before.Release(), origins.Release())
	}
	if err != nil {
		for _, p := range list {
			p.stale = true
		}
		w.origins = before
		return fmt.Errorf("cuda: update: %w", err)
	}
	return nil
}

// room is the memory on the card that a load of some of the weights works in.
func (w *weights) room(list []*packed) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ringFor(w.origins, list).bytes()
}

// link says what goes with a weight that takes in a norm's factors.
func (w *weights) link(p *packed, f *folding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.folding = f
}

// pending are the weights that are not on the card, and the memory that they need, and those that are stale.
func pending(uses []*packed) (list []*packed, bytes int64) {
	for _, p := range uses {
		if p.at == 0 || p.stale {
			list = append(list, p)
		}
		if p.at == 0 {
			bytes += align(p.bytes())
		}
	}
	// Those that are joined side by side: programs that are compiled at the same time may have wanted others in
	// between.
	slices.SortStableFunc(list, func(a, b *packed) int { return strings.Compare(a.packing.join, b.packing.join) })
	return list, bytes
}

// SetResident implements kernels.Weights. Swapping in copies and packs again, for on all that programs
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
	failed := []error{w.device.stream.Synchronize(), w.device.kept.forget(w)}
	for _, block := range w.blocks {
		failed = append(failed, w.device.memory.free(block))
	}
	for _, p := range w.order {
		p.at, p.stale = 0, false
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
