package cpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// checkpoint is a source whose tensors are used where they lie; only 16-bit vectors (biases, norms) are copied, widened
// to float32.
type checkpoint struct {
	device *Device
	source kernels.Source

	mu     sync.Mutex
	bound  map[string]boundTensor // programs of every size share them, also those that the source would make anew when it is asked again
	kept   int64                  // bytes that the source keeps in memory whether they are used or not
	made   int64                  // bytes of tensors in bound that it made for it, and of copies
	users  int                    // programs
	closed bool
}

// boundTensor is a tensor in use.
type boundTensor struct {
	view
	stored kernels.DType
}

// NewWeights implements kernels.Device. The source stays the caller's, who keeps it open until the weights are closed.
func (d *Device) NewWeights(src kernels.Source) (kernels.Weights, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.New("cpu: weights are little-endian and used where they lie; this machine is big-endian")
	}
	w := &checkpoint{device: d, source: src, bound: map[string]boundTensor{}}
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
	if on || w.source == nil {
		return nil
	}
	return w.source.Release()
}

// Bytes implements kernels.Weights: what the source keeps in memory or has made for programs, and the copies of
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
	w.bound, w.made = map[string]boundTensor{}, 0
	return w.source.Release()
}

// bind returns the views of a plan's weights, in their order, until leave. It makes none of them before it knows that
// there is memory for all.
func (w *checkpoint) bind(all []kernels.Tensor) ([]view, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("the weights are closed")
	}
	var failed []error
	costs := make([]int64, len(all))
	var sum int64
	for i, t := range all {
		var err error
		if costs[i], err = w.cost(t); err != nil {
			failed = append(failed, err)
		}
		sum += costs[i]
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	if err := w.device.take(sum); err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	views := make([]view, len(all))
	for i, t := range all {
		bound, ok := w.bound[t.Name]
		if !ok {
			v, err := w.read(t)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			bound = boundTensor{v, t.DType}
			w.bound[t.Name] = bound
			w.made += costs[i]
			sum -= costs[i]
		}
		views[i] = bound.view
	}
	w.device.memory.give(sum) // of those that were named twice, or that could not be read
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	w.users++
	return views, nil
}

// cost checks a tensor of a plan against the source, and returns what it will take of the device's memory: nothing if
// it is bound.
func (w *checkpoint) cost(t kernels.Tensor) (int64, error) {
	if bound, ok := w.bound[t.Name]; ok {
		return 0, engine.MatchWeight(t, bound.stored, bound.shape)
	}
	if err := engine.FindWeight(w.source, t); err != nil {
		return 0, err
	}
	var bytes int64
	if w.source.Storage(t.Name) == kernels.Made {
		bytes = t.Bytes()
	}
	if widened(t) {
		bytes += 4 * int64(t.Len())
	}
	return bytes, nil
}

// widened reports whether a tensor is copied: biases and norms of 16 bits are.
func widened(t kernels.Tensor) bool { return len(t.Shape) == 1 && t.DType != kernels.F32 }

// read returns the view of a tensor that cost has checked.
func (w *checkpoint) read(t kernels.Tensor) (view, error) {
	data, err := engine.ReadWeight(w.source, t)
	if err != nil {
		return view{}, err
	}
	first := unsafe.Pointer(unsafe.SliceData(data))
	if at := uintptr(first); at%uintptr(t.DType.Size()) != 0 {
		return view{}, fmt.Errorf("weight %s lies at %#x, want a multiple of %d", t.Name, at, t.DType.Size())
	}
	v := view{shape: t.Shape, dtype: t.DType}
	if t.DType == kernels.F32 {
		v.f32 = unsafe.Slice((*float32)(first), t.Len())
		return v, nil
	}
	v.u16 = unsafe.Slice((*uint16)(first), t.Len())
	if !widened(t) {
		return v, nil
	}
	fp32 := alignedFloats(len(v.u16))
	matrix := v.weights(len(v.u16))
	for i := range fp32 {
		fp32[i] = matrix.at(i)
	}
	return view{shape: t.Shape, dtype: kernels.F32, f32: fp32}, nil
}
