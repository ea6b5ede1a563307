package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

type ptr = driver.Ptr

// program implements kernels.Program.
type program struct {
	device    *Device
	plan      *kernels.Plan
	weights   *weights // nil if there are none
	uses      []*packed
	precision kernels.DType
	as        view      // the card that its launches are made for
	storage   []storage // by kernels.Value
	nodes     []node
	blocks    []kernels.Lifetime // of scratch
	scratch   []int64            // offsets in the arena
	place     []place            // by kernels.Value
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
	dirty    bool   // a request was written since the hoisted nodes last ran
	closed   bool
}

// node is a node of the plan as launches.
type node struct {
	launches []launch
	hoisted  bool
}

// place is where a value lies: in the program's own memory or in the arena.
type place struct {
	at  int64
	own bool
}

var (
	_                kernels.Program = (*program)(nil)
	errProgramClosed                 = errors.New("cuda: the program is closed")
)

// Write implements kernels.Program.
func (p *program) Write(v kernels.Value, data []byte) error {
	if err := p.access(v, "written", kernels.Request, kernels.Step, kernels.State); err != nil {
		return err
	}
	t := p.plan.Tensors[v]
	if int64(len(data)) != t.Bytes() {
		return fmt.Errorf("cuda: writing %v: %d bytes, want %d", t, len(data), t.Bytes())
	}
	if err := p.save(v); err != nil {
		return err
	}
	if t.DType == kernels.I32 {
		ids := make([]int32, t.Len())
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(ids))), len(data)), data)
		p.ids[v] = ids
	}
	if err := p.device.up.upload(p.device.stream, p.memory+ptr(p.place[v].at), data); err != nil {
		return err
	}
	p.wrote(v)
	return nil
}

// CopyFrom implements kernels.Program.
func (p *program) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	if err := p.access(v, "written", kernels.Request, kernels.Step, kernels.State); err != nil {
		return err
	}
	other, ok := from.(*program)
	if !ok || other.device != p.device {
		return fmt.Errorf("cuda: writing %v from a program of another device", p.plan.Tensors[v])
	}
	if err := other.access(src, "read", kernels.State, kernels.Result); err != nil {
		return err
	}
	to, t := p.plan.Tensors[v], other.plan.Tensors[src]
	if t.Len() != to.Len() || t.DType != to.DType {
		return fmt.Errorf("cuda: writing %v from %v: type or size differs", to, t)
	}
	if err := p.save(v); err != nil {
		return err
	}
	if t.DType == kernels.I32 {
		p.ids[v] = slices.Clone(other.ids[src])
	}
	if err := p.device.stream.CopyDevice(p.memory+ptr(p.place[v].at), other.memory+ptr(other.place[src].at), t.Bytes()); err != nil {
		return err
	}
	p.wrote(v)
	return nil
}

func (p *program) wrote(v kernels.Value) {
	if p.plan.Tensors[v].Role == kernels.Request {
		p.dirty = true
	}
}

// save keeps what the last run began with, before it is overwritten.
func (p *program) save(v kernels.Value) error {
	if p.runs == 0 || p.saved[v] {
		return nil
	}
	if err := p.room(); err != nil {
		return err
	}
	at := ptr(p.place[v].at)
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

// access checks that the program is open, and that v is a value that callers may read or write.
func (p *program) access(v kernels.Value, how string, roles ...kernels.Role) error {
	if p.closed {
		return errProgramClosed
	}
	if v < 0 || int(v) >= len(p.plan.Tensors) {
		return fmt.Errorf("cuda: value %d of a plan that has %d", v, len(p.plan.Tensors))
	}
	if t := p.plan.Tensors[v]; !slices.Contains(roles, t.Role) {
		return fmt.Errorf("cuda: value %v is a %s and cannot be %s", t, t.Role, how)
	}
	return nil
}

// Read implements kernels.Program.
func (p *program) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.access(v, "read", kernels.State, kernels.Result); err != nil {
		return err
	}
	if t := p.plan.Tensors[v]; int64(len(dst)) != t.Bytes() {
		return fmt.Errorf("cuda: reading %v into %d bytes, want %d", t, len(dst), t.Bytes())
	}
	if p.runs > 0 {
		if err := await(ctx, p.done[(p.runs-1)%2]); err != nil {
			return err
		}
	}
	return p.device.down.download(ctx, p.device.stream, dst, p.memory+ptr(p.place[v].at))
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
	p.device.turn <- struct{}{} // addresses are guarded by it
	defer p.device.unlock()
	list, bytes := missing(p.uses)
	if f.Missing = bytes; bytes > 0 {
		f.Arena = max(f.Arena, slotCount*slotFor(list)) // where weights are packed
	}
	return f
}

// Close implements kernels.Program. It waits for work under way.
func (p *program) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	d := p.device
	d.turn <- struct{}{}
	defer d.unlock()
	d.mu.Lock()
	delete(d.needs, p)
	d.mu.Unlock()
	err := p.free()
	if d.Lost() != nil {
		return nil // everything went with the context
	}
	if n := d.need(); n <= d.arena.size/2 {
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
