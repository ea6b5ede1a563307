package cuda

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// rawBytes is how much of a weight is packed at a time.
const rawBytes = 32 << 20

// weights are the packed tensors of a component.
type weights struct {
	device *Device
	source kernels.Source

	mu     sync.Mutex
	all    map[weightKey]*packed
	order  []*packed
	bytes  int64 // resident
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.weights++
	return &weights{device: d, source: src, all: map[weightKey]*packed{}, generation: 1}, nil
}

// want returns the place of a tensor in a layout; it has memory once resident has been called.
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
	made := &packed{name: t.Name, shape: t.Shape, dtype: t.DType, precision: precision, packing: p}
	if _, err := made.read(w.source); err != nil {
		return nil, err
	}
	w.all[key] = made
	w.order = append(w.order, made)
	return made, nil
}

// resident uploads and packs what is not on the card yet. The device's turn must be held.
func (w *weights) resident(ctx context.Context) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errors.New("cuda: the weights are closed")
	}
	var raw driver.Ptr
	var size int64
	defer func() {
		if raw != 0 {
			err = errors.Join(err, w.device.stream.Synchronize(), w.device.memory.free(raw))
		}
	}()
	for _, p := range w.order {
		if p.at != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if need := max(rawBytes, int64(p.sourceRow())*int64(p.dtype.Size())); need > size {
			if raw != 0 {
				if err := errors.Join(w.device.stream.Synchronize(), w.device.memory.free(raw)); err != nil {
					raw = 0
					return err
				}
			}
			if raw, err = w.device.memory.alloc(need); err != nil {
				return fmt.Errorf("room to pack weights: %w", err)
			}
			size = need
		}
		if err := w.upload(p, raw, size); err != nil {
			return fmt.Errorf("weight %s: %w", p.name, err)
		}
	}
	return nil
}

// upload packs one weight by way of raw memory. Work is in stream order, so that raw is free again when the next copy into it begins.
func (w *weights) upload(p *packed, raw driver.Ptr, size int64) (err error) {
	data, err := p.read(w.source)
	if err != nil {
		return err
	}
	precision := p.precision
	if precision == kernels.F32 {
		precision = kernels.F16 // either library widens
	}
	pack, err := w.device.libraries[precision].function("pack")
	if err != nil {
		return err
	}
	if p.at, err = w.device.memory.alloc(p.bytes()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.device.stream.Synchronize(), w.device.memory.free(p.at))
			p.at = 0
		}
	}()
	stream := w.device.stream
	if p.packing.half%8 != 0 { // rows of the last eight that nothing fills
		if err := stream.Fill(p.at, 0, p.bytes()); err != nil {
			return err
		}
	}
	rowBytes := int64(p.sourceRow()) * int64(p.dtype.Size())
	step := int(size / rowBytes)
	for first := 0; first < p.rows(); first += step {
		count := min(step, p.rows()-first)
		if err := w.device.up.upload(stream, raw, data[int64(first)*rowBytes:int64(first+count)*rowBytes]); err != nil {
			return err
		}
		params := p.params(raw, first, count)
		blocks := uint32(min((params.N+255)/256, int64(32*w.device.sms)))
		l, err := pack.Prepare(driver.Config{Grid: driver.Dim{X: blocks, Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}}, params)
		if err != nil {
			return err
		}
		if err := stream.Launch(l); err != nil {
			return err
		}
	}
	w.bytes += p.bytes()
	return nil
}

// SetResident implements kernels.Weights. Swapping in copies and packs again from the source.
func (w *weights) SetResident(ctx context.Context, on bool) error {
	if err := w.device.lock(ctx); err != nil {
		return err
	}
	defer w.device.unlock()
	if on {
		return w.resident(ctx)
	}
	if err := w.drop(); err != nil {
		return err
	}
	if r, ok := w.source.(kernels.Releaser); ok {
		return r.Release()
	}
	return nil
}

// drop frees the memory of all weights; the device's turn must be held.
func (w *weights) drop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	failed := []error{w.device.stream.Synchronize()}
	for _, p := range w.order {
		failed = append(failed, w.device.memory.free(p.at))
		p.at = 0
	}
	w.bytes = 0
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
	w.device.turn <- struct{}{}
	err := w.drop()
	w.device.unlock()
	if w.device.Lost() != nil {
		err = nil // everything went with the context
	}
	w.device.mu.Lock()
	defer w.device.mu.Unlock()
	w.device.weights--
	return err
}
