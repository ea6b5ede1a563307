package sdxl

import (
	"context"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// pocket is a device with a memory of its own of so many bytes. It computes on the CPU.
type pocket struct {
	kernels.Device
	limit int64 // 0 is none

	mu    sync.Mutex
	held  map[*pocketWeights]bool // true where they are resident
	arena int64
	peak  int64
}

func (d *pocket) Info() kernels.Info {
	info := d.Device.Info()
	info.HostMemory = false
	return info
}

func (d *pocket) used() (n int64) {
	for w, resident := range d.held {
		if resident {
			n += w.size
		}
	}
	return n + d.arena
}

func (d *pocket) Memory() (kernels.Memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := d.limit
	if limit == 0 {
		limit = 1 << 40
	}
	return kernels.Memory{Limit: limit, Used: d.used(), Peak: d.peak, Arena: d.arena}, nil
}

func (d *pocket) NewWeights(src kernels.Source) (kernels.Weights, error) {
	inner, err := d.Device.NewWeights(src)
	if err != nil {
		return nil, err
	}
	w := &pocketWeights{Weights: inner, device: d}
	for _, name := range src.Names() {
		dtype, shape, err := src.Describe(name)
		if err != nil {
			return nil, err
		}
		w.size += int64(kernels.Elements(shape) * dtype.Size())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held[w] = false
	return w, nil
}

func (d *pocket) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	weights, _ := w.(*pocketWeights)
	var inner kernels.Weights
	if weights != nil {
		inner = weights.Weights
	}
	p, err := d.Device.Compile(plan, inner, o)
	return &pocketProgram{p, d, weights}, err
}

type pocketWeights struct {
	kernels.Weights
	device *pocket
	size   int64
	loads  int
}

func (w *pocketWeights) Bytes() int64 {
	w.device.mu.Lock()
	defer w.device.mu.Unlock()
	if w.device.held[w] {
		return w.size
	}
	return 0
}

func (w *pocketWeights) SetResident(_ context.Context, on bool) error {
	w.device.mu.Lock()
	defer w.device.mu.Unlock()
	w.device.held[w] = on
	return nil
}

func (w *pocketWeights) Close() error {
	w.device.mu.Lock()
	defer w.device.mu.Unlock()
	delete(w.device.held, w)
	return w.Weights.Close()
}

type pocketProgram struct {
	kernels.Program
	device  *pocket
	weights *pocketWeights
}

func (p *pocketProgram) Run(ctx context.Context) error {
	if err := p.load(); err != nil {
		return err
	}
	return p.Program.Run(ctx)
}

// load takes the memory that the program needs.
func (p *pocketProgram) load() error {
	d := p.device
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arena = p.Program.Footprint().Arena
	if p.weights != nil && !d.held[p.weights] {
		d.held[p.weights] = true
		p.weights.loads++
	}
	d.peak = max(d.peak, d.used())
	if d.limit > 0 && d.used() > d.limit {
		return &kernels.MemoryError{Needed: d.used(), Allowed: d.limit}
	}
	return nil
}

func (p *pocketProgram) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	return p.Program.CopyFrom(v, from.(*pocketProgram).Program, src)
}

func (p *pocketProgram) Footprint() kernels.Footprint {
	f := kernels.Footprint{Arena: p.Program.Footprint().Arena}
	if p.weights != nil {
		f.Weights = p.weights.size
		f.Missing = p.weights.size - p.weights.Bytes()
	}
	return f
}
