package cpu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// Update implements kernels.Weights. Tensors in use are made at once. Those that products are added to keep their memory
// for the next update that adds some, so that updates that follow one another leave nothing to the garbage collector.
func (w *checkpoint) Update(ctx context.Context, u *kernels.Update) error {
	if err := w.device.engine.LockContext(ctx); err != nil {
		return err
	}
	defer w.device.engine.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("cpu: the weights are closed")
	}
	origins, err := w.origins.With(w.device.lend(u))
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	before, held := w.origins, w.made
	var list []*boundTensor
	for _, name := range slices.Sorted(maps.Keys(origins.Changed(before))) {
		if b := w.bound[name]; b != nil {
			list = append(list, b)
		}
	}
	w.origins = origins
	if err = w.reserve(list, w.device.takeIdle); err == nil {
		w.revision++
		if err = w.load(ctx, list); err == nil {
			err = errors.Join(before.Release(), origins.Release())
		}
		for _, b := range list {
			b.stale = b.stale || err != nil
		}
	}
	if err != nil {
		w.origins = before
		return fmt.Errorf("cpu: update: %w", err)
	}
	if held-w.made >= largeArena {
		debug.FreeOSMemory() // as the arena does
	}
	return nil
}

// lend is an update whose source computes by the device's arithmetic, if it computes.
func (d *Device) lend(u *kernels.Update) *kernels.Update {
	if u == nil {
		return nil
	}
	source, ok := u.Source.(kernels.Computed)
	if !ok {
		return u
	}
	lent := *u
	lent.Source = source.With(d.arithmetic)
	return &lent
}

// takeIdle is take for who holds the engine's mutex.
func (d *Device) takeIdle(n int64) error {
	err := d.memory.take(n)
	if err != nil {
		d.drop()
		err = d.memory.take(n)
	}
	return err
}

// rebind points a program's weights at what they are since the last update; the engine's mutex must be held.
func (w *checkpoint) rebind(ctx context.Context, p *program) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.revision == w.revision {
		return nil
	}
	var stale []*boundTensor
	for _, v := range p.weights {
		if b := w.bound[p.plan.Tensors[v].Name]; b.stale && !slices.Contains(stale, b) {
			stale = append(stale, b)
		}
	}
	if len(stale) > 0 {
		if err := w.reserve(stale, w.device.takeIdle); err != nil {
			return err
		}
		if err := errors.Join(w.load(ctx, stale), w.origins.Release()); err != nil {
			return err
		}
	}
	for _, v := range p.weights {
		p.values[v] = w.bound[p.plan.Tensors[v].Name].view
	}
	p.revision = w.revision
	return nil
}

// releaseBytes is how much is read of sources between releases: tensors that they make do not pile up beyond it.
const releaseBytes = 1 << 30

// load reads tensors as the origins have them and adds products. Those that it did not come to stay stale. The engine's
// mutex must be held.
func (w *checkpoint) load(ctx context.Context, list []*boundTensor) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as in workers.work
	m := merger{device: w.device}
	var read int64
	for _, b := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.loadOne(&m, b); err != nil {
			return err
		}
		if read += b.stored.Bytes(); read >= releaseBytes {
			read = 0
			if err := w.origins.Release(); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadOne reads a tensor; a fault of a mapped file that was cut off is an error.
func (w *checkpoint) loadOne(m *merger, b *boundTensor) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("weight %s: %v\n%s", b.stored.Name, r, debug.Stack())
		}
	}()
	products := w.origins.LowRank(b.stored.Name)
	if len(products) == 0 {
		return w.read(b)
	}
	data, err := w.origins.Read(b.stored)
	if err != nil {
		return err
	}
	base, err := viewOf(b.stored, data)
	if err != nil {
		return err
	}
	if b.merged == nil {
		b.merged = alignedFloats(divUp(int(b.stored.Bytes()), 4))
	}
	merged, err := viewOf(b.stored, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b.merged))), 4*len(b.merged)))
	if err != nil {
		return err
	}
	if err := m.merge(merged, base, products); err != nil {
		return fmt.Errorf("weight %s: %w", b.stored.Name, err)
	}
	b.use(merged)
	return nil
}
