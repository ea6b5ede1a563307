package cuda

import (
	"context"
	"errors"
	"slices"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/engine"
)

type ptr = driver.Ptr

// program implements kernels.Program.
type program struct {
	engine.Program
	device    *Device
	plan      *kernels.Plan
	weights   *weights // nil if there are none
	uses      []*packed
	precision kernels.DType
	target    target    // the card that its launches are made for
	storage   []storage // by kernels.Value
	nodes     []node
	blocks    []kernels.Lifetime // of scratch
	scratch   []int64            // offsets in the arena
	place     []engine.Place     // by kernels.Value
	constants []byte

	flags       *driver.HostMemory // a copy of the flags in front of memory
	memory      ptr                // flags, requests, steps, states, results, temporaries that hoisted nodes keep, constants
	before      ptr                // what inputs held when the last run began, where saved says so; 0 until it is needed
	inputs      int64              // bytes of memory up to the last input
	constantsAt int64
	bytes       int64           // of memory
	need        int64           // bytes of arena
	states      []kernels.Value // that nodes write

	ids map[kernels.Value][]int32 // integer values as last written, for checks

	recorded recording
	done     [2]*driver.Event // after each of the last two runs
	runs     int
	saved    []bool // before holds the value that the last run began with
}

// node is a node of the plan as launches.
type node struct {
	launches []launch
	hoisted  bool
}

var _ kernels.Program = (*program)(nil)

// Write implements kernels.Program.
func (p *program) Write(v kernels.Value, data []byte) error {
	if err := p.CheckWrite(v, len(data)); err != nil {
		return err
	}
	t := p.plan.Tensors[v]
	if err := p.save(v); err != nil {
		return err
	}
	if t.DType == kernels.I32 {
		ids := make([]int32, t.Len())
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(ids))), len(data)), data)
		p.ids[v] = ids
	}
	if err := p.device.up.upload(p.device.stream, p.memory+ptr(p.place[v].Offset), data); err != nil {
		return err
	}
	p.Wrote(v)
	return nil
}

// CopyFrom implements kernels.Program.
func (p *program) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	other, own := from.(*program)
	var source *engine.Program
	if own {
		source = &other.Program
	}
	if err := p.CheckCopy(v, source, src); err != nil {
		return err
	}
	t := p.plan.Tensors[v]
	if err := p.save(v); err != nil {
		return err
	}
	if t.DType == kernels.I32 {
		p.ids[v] = slices.Clone(other.ids[src])
	}
	if err := p.device.stream.CopyDevice(p.memory+ptr(p.place[v].Offset), other.memory+ptr(other.place[src].Offset), t.Bytes()); err != nil {
		return err
	}
	p.Wrote(v)
	return nil
}

// save keeps what the last run began with, before it is overwritten.
func (p *program) save(v kernels.Value) error {
	if p.runs == 0 || p.saved[v] {
		return nil
	}
	if err := p.room(); err != nil {
		return err
	}
	at := ptr(p.place[v].Offset)
	if err := p.device.stream.CopyDevice(p.before+at, p.memory+at, p.size(v)); err != nil {
		return err
	}
	p.saved[v] = true
	return nil
}

// room makes sure that before is there.
func (p *program) room() (err error) {
	if p.before == 0 {
		p.before, err = p.device.memory.alloc(p.inputs)
	}
	return err
}

// Read implements kernels.Program.
func (p *program) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.CheckRead(v, len(dst)); err != nil {
		return err
	}
	if p.runs > 0 {
		if err := await(ctx, p.done[(p.runs-1)%2]); err != nil {
			return err
		}
	}
	return p.device.down.download(ctx, p.device.stream, dst, p.memory+ptr(p.place[v].Offset))
}

// Bytes implements kernels.Program.
func (p *program) Bytes() int64 {
	n := p.bytes
	if p.before != 0 {
		n += p.inputs
	}
	return n
}

// Footprint implements kernels.Program.
func (p *program) Footprint() kernels.Footprint {
	f := kernels.Footprint{Arena: align(p.need)}
	for _, w := range p.uses {
		f.Weights += align(w.bytes())
	}
	p.device.engine.Lock() // addresses are guarded by it
	defer p.device.engine.Unlock()
	list, bytes := pending(p.uses)
	if f.Missing = bytes; len(list) > 0 {
		f.Arena = max(f.Arena, p.weights.room(list)) // where weights are packed
	}
	return f
}

// Close implements kernels.Program. It waits for work under way.
func (p *program) Close() error {
	if !p.MarkClosed() {
		return nil
	}
	d := p.device
	d.engine.Lock()
	defer d.engine.Unlock()
	d.engine.RemoveProgram(p)
	err := p.free()
	if d.Lost() != nil {
		return nil // everything went with the context
	}
	if n := d.engine.Arena(); n <= d.arena.size/2 {
		err = errors.Join(err, d.arena.resize(&d.memory, n, d.stream.Synchronize))
	}
	return err
}

// free gives everything back, once it is not in use.
func (p *program) free() error {
	d := p.device
	failed := []error{d.stream.Synchronize(), p.recorded.close(), d.memory.free(p.memory), d.memory.free(p.before)}
	for _, e := range p.done {
		if e != nil {
			failed = append(failed, e.Close())
		}
	}
	if p.flags != nil {
		failed = append(failed, p.flags.Close())
	}
	p.memory, p.before = 0, 0
	return errors.Join(failed...)
}
