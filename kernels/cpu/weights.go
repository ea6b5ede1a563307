package cpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// checkpoint is a source whose tensors are used where they lie; only 16-bit vectors (biases, norms) are copied, widened to float32.
type checkpoint struct {
	device *Device
	source kernels.Source

	mu     sync.Mutex
	wide   map[string][]float32
	bytes  int64 // of every tensor in use, copies included
	seen   map[string]bool
	closed bool
}

// NewWeights implements kernels.Device. The source stays the caller's, who keeps it open until the weights are closed.
func (d *Device) NewWeights(src kernels.Source) (kernels.Weights, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.New("cpu: weights are little-endian and used where they lie; this machine is big-endian")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.weights++
	return &checkpoint{device: d, source: src, wide: map[string][]float32{}, seen: map[string]bool{}}, nil
}

// SetResident implements kernels.Weights: the memory is the source's, which is asked to release its pages; they come back as
// they are read.
func (w *checkpoint) SetResident(ctx context.Context, on bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r, ok := w.source.(kernels.Releaser); ok && !on {
		return r.Release()
	}
	return nil
}

// Bytes implements kernels.Weights: the tensors that programs have bound so far.
func (w *checkpoint) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

// Close implements kernels.Weights. Programs that use the weights must be closed before.
func (w *checkpoint) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed, w.wide = true, nil
	w.device.mu.Lock()
	defer w.device.mu.Unlock()
	w.device.weights--
	return nil
}

// bind returns the view of a tensor of a plan.
func (w *checkpoint) bind(t kernels.Tensor) (view, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return view{}, errors.New("cpu: the weights are closed")
	}
	dtype, shape, data, err := w.source.Tensor(t.Name)
	switch {
	case err != nil:
		return view{}, fmt.Errorf("weight %s: %w", t.Name, err)
	case !slices.Equal(shape, t.Shape):
		return view{}, fmt.Errorf("weight %s has shape %v, the plan wants %v", t.Name, shape, t.Shape)
	case dtype != t.DType:
		return view{}, fmt.Errorf("weight %s is %v, the plan wants %v", t.Name, dtype, t.DType)
	case int64(len(data)) != t.Bytes():
		return view{}, fmt.Errorf("weight %s has %d bytes, want %d", t.Name, len(data), t.Bytes())
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(data))); at%uintptr(dtype.Size()) != 0 {
		return view{}, fmt.Errorf("weight %s lies at %#x, want a multiple of %d", t.Name, at, dtype.Size())
	}
	if !w.seen[t.Name] {
		w.seen[t.Name] = true
		w.bytes += t.Bytes()
	}
	v := view{shape: t.Shape, dtype: dtype}
	switch dtype {
	case kernels.F32:
		v.f32 = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), t.Len())
	case kernels.F16, kernels.BF16:
		v.u16 = unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(data))), t.Len())
	default:
		return view{}, fmt.Errorf("weight %s is %v: must be fp32, fp16 or bf16", t.Name, dtype)
	}
	if len(t.Shape) == 1 && v.u16 != nil {
		wide, ok := w.wide[t.Name]
		if !ok {
			wide = alignedFloats(len(v.u16))
			matrix := v.weights(len(v.u16))
			for i := range wide {
				wide[i] = matrix.at(i)
			}
			w.wide[t.Name] = wide
			w.bytes += 4 * int64(len(wide))
		}
		v.dtype, v.u16, v.f32 = kernels.F32, nil, wide
	}
	return v, nil
}
