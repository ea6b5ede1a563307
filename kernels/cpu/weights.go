package cpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// checkpoint is a source whose tensors are used where they lie; only 16-bit vectors (biases, norms) are copied, widened
// to float32, and tensors that an update adds products to are made.
type checkpoint struct {
	device *Device

	mu      sync.Mutex
	origins *engine.Origins
	bound   map[string]*boundTensor // programs of every size share them, also those that the source would make anew when it is asked again
	kept    int64                   // bytes that the source keeps in memory whether they are used or not
	made    int64                   // bytes of tensors in bound that were made for it, and of copies
	users   int                     // programs
	closed  bool
	// revision counts the updates, from 1: programs whose views are older take new ones before they run.
	revision uint64
}

// boundTensor is a tensor in use.
type boundTensor struct {
	view
	stored kernels.Tensor
	bytes  int64     // counted in made
	merged []float32 // the memory of view where it was made by adding products
	// stale says that view is not what the origins have, or nothing yet.
	stale bool
}

// NewWeights implements kernels.Device. The source stays the caller's, who keeps it open until the weights are closed.
func (d *Device) NewWeights(src kernels.Source) (kernels.Weights, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.New("cpu: weights are little-endian and used where they lie; this machine is big-endian")
	}
	w := &checkpoint{device: d, origins: engine.NewOrigins(src), bound: map[string]*boundTensor{}, revision: 1}
	if src != nil { // else only plans without weights can be compiled
		var err error
		if w.kept, err = kept(src); err != nil {
			return nil, err
		}
	}
	if err := d.take(w.kept); err != nil {
		return nil, fmt.Errorf("cpu: weights: %w", err)
	}
	if err := d.engine.AddWeights(); err != nil {
		d.memory.give(w.kept)
		return nil, err
	}
	return w, nil
}

// kept is how many bytes a source keeps in memory.
func kept(src kernels.Source) (bytes int64, err error) {
	for _, name := range src.Names() {
		if src.Storage(name) != kernels.Kept {
			continue
		}
		dtype, shape, err := src.Describe(name)
		if err != nil {
			return 0, fmt.Errorf("cpu: weight %s can't be found: %w", name, err)
		}
		bytes += int64(kernels.Elements(shape)) * int64(dtype.Size())
	}
	return bytes, nil
}

// SetResident implements kernels.Weights: pages of mapped files go back to the system and come again as they are read.
// Other tensors stay.
func (w *checkpoint) SetResident(ctx context.Context, on bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if on {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.origins.Release()
}

// Bytes implements kernels.Weights: what the source keeps in memory, what was made for programs, and the copies of
// vectors. Pages of mapped files do not count.
func (w *checkpoint) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept + w.made
}

// Close implements kernels.Weights. Programs that use the weights must be closed before.
func (w *checkpoint) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.device.memory.give(w.kept + w.made)
	w.closed, w.bound, w.kept, w.made = true, nil, 0, 0
	w.device.engine.RemoveWeights()
	return nil
}

// leave is called for each bind that succeeded, when its program has closed. With the last one goes what was made for
// them.
func (w *checkpoint) leave() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users--; w.users > 0 || w.closed {
		return nil
	}
	w.device.memory.give(w.made)
	w.bound, w.made = map[string]*boundTensor{}, 0
	return w.origins.Release()
}

// bind returns the views of a plan's weights, in their order, until leave, and their revision. It makes none of them
// before it knows that there is memory for all. Views of tensors that products are added to have no data: that is
// computed when a program runs, and the revision is 0, older than any.
func (w *checkpoint) bind(all []kernels.Tensor) (views []view, revision uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, 0, errors.New("the weights are closed")
	}
	var failed []error
	var fresh []*boundTensor
	added := map[string]*boundTensor{}
	for _, t := range all {
		if err := w.check(t); err != nil {
			failed = append(failed, err)
		} else if w.bound[t.Name] == nil && added[t.Name] == nil {
			b := &boundTensor{view: view{shape: t.Shape, dtype: storedType(t)}, stored: t}
			added[t.Name] = b
			fresh = append(fresh, b)
		}
	}
	if len(failed) > 0 {
		return nil, 0, errors.Join(failed...)
	}
	if err := w.reserve(fresh, w.device.take); err != nil {
		return nil, 0, err
	}
	for _, b := range fresh {
		if len(w.origins.LowRank(b.stored.Name)) == 0 {
			failed = append(failed, w.read(b))
		}
	}
	if err := errors.Join(failed...); err != nil {
		for _, b := range fresh {
			w.made -= b.bytes
			w.device.memory.give(b.bytes)
		}
		return nil, 0, err
	}
	maps.Copy(w.bound, added)
	w.users++
	views, revision = make([]view, len(all)), w.revision
	for i, t := range all {
		b := w.bound[t.Name]
		if views[i] = b.view; b.stale {
			revision = 0
		}
	}
	return views, revision, nil
}

// check checks a tensor of a plan against the source.
func (w *checkpoint) check(t kernels.Tensor) error {
	if b := w.bound[t.Name]; b != nil {
		return engine.MatchWeight(t, b.stored.DType, b.stored.Shape)
	}
	return w.origins.Find(t)
}

// reserve counts what tensors take of the device's memory, in place of what was counted for them before, and makes them
// stale. An error changes nothing.
func (w *checkpoint) reserve(list []*boundTensor, take func(int64) error) error {
	var more int64
	for _, b := range list {
		more += w.cost(b.stored) - b.bytes
	}
	if err := take(more); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	w.made += more
	for _, b := range list {
		b.bytes, b.stale = w.cost(b.stored), true
	}
	return nil
}

// cost is what a tensor takes of the device's memory.
func (w *checkpoint) cost(t kernels.Tensor) (bytes int64) {
	if w.origins.Storage(t.Name) == kernels.Made || len(w.origins.LowRank(t.Name)) > 0 {
		bytes = t.Bytes()
	}
	if widened(t) {
		bytes += 4 * int64(t.Len())
	}
	return bytes
}

// widened reports whether a tensor is copied: biases and norms of 16 bits are.
func widened(t kernels.Tensor) bool { return len(t.Shape) == 1 && t.DType != kernels.F32 }

// storedType is the type of a tensor's view.
func storedType(t kernels.Tensor) kernels.DType {
	if widened(t) {
		return kernels.F32
	}
	return t.DType
}

// read makes the view of a tensor that check has checked, to which no products are added.
func (w *checkpoint) read(b *boundTensor) error {
	data, err := w.origins.Read(b.stored)
	if err != nil {
		return err
	}
	v, err := viewOf(b.stored, data)
	if err != nil {
		return err
	}
	b.use(v)
	b.merged = nil
	return nil
}

// viewOf is a tensor's data as it lies.
func viewOf(t kernels.Tensor, data []byte) (view, error) {
	first := unsafe.Pointer(unsafe.SliceData(data))
	if at := uintptr(first); at%uintptr(t.DType.Size()) != 0 {
		return view{}, fmt.Errorf("weight %s lies at %#x, want a multiple of %d", t.Name, at, t.DType.Size())
	}
	v := view{shape: t.Shape, dtype: t.DType}
	if t.DType == kernels.F32 {
		v.f32 = unsafe.Slice((*float32)(first), t.Len())
	} else {
		v.u16 = unsafe.Slice((*uint16)(first), t.Len())
	}
	return v, nil
}

// use makes a view the tensor's, or its widened copy.
func (b *boundTensor) use(v view) {
	b.stale = false
	if !widened(b.stored) {
		b.view = v
		return
	}
	fp32 := alignedFloats(len(v.u16))
	vector := v.weights(len(v.u16))
	for i := range fp32 {
		fp32[i] = vector.at(i)
	}
	b.view = view{shape: v.shape, dtype: kernels.F32, f32: fp32}
}
