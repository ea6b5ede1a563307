package cpu

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// program implements kernels.Program.
type program struct {
	device  *Device
	source  *checkpoint // nil if there are no weights
	plan    *kernels.Plan
	nodes   []node
	values  []view          // by kernels.Value; those in the arena only while the program runs
	owned   []span          // where values that are not weights lie
	temps   []kernels.Value // those in the arena
	in, out []view          // operands of the node that runs

	memory   []float32 // requests, steps, states, results, and temporaries that hoisted nodes keep
	requests int       // float32 of memory that hold requests
	inputs   int       // float32 of memory that hold requests, steps and states
	before   []float32 // the inputs as the last run found them

	weightBytes       int64   // of all weights that it uses
	need              int     // float32 of arena
	shared, perWorker int     // float32 of scratch
	scratch           scratch // in the arena, only while the program runs

	dirty  bool // a request was written since the hoisted nodes last ran
	copied bool // before has the requests too
	ran    bool
	closed bool
}

// node is a node of the plan with its kernel.
type node struct {
	kernel  kernel
	hoisted bool
	flops   int64
}

var errProgramClosed = errors.New("cpu: the program is closed")

// Write implements kernels.Program.
func (p *program) Write(v kernels.Value, data []byte) error {
	dst, err := p.input(v)
	if err != nil {
		return err
	}
	if len(data) != len(dst) {
		return fmt.Errorf("cpu: writing %v: %d bytes, want %d", p.plan.Tensors[v], len(data), len(dst))
	}
	copy(dst, data)
	p.wrote(v)
	return nil
}

// CopyFrom implements kernels.Program.
func (p *program) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	dst, err := p.input(v)
	if err != nil {
		return err
	}
	other, ok := from.(*program)
	if !ok || other.device != p.device {
		return fmt.Errorf("cpu: writing %v from a program of another device", p.plan.Tensors[v])
	}
	data, err := other.output(src)
	if err != nil {
		return err
	}
	to, t := p.plan.Tensors[v], other.plan.Tensors[src]
	if len(data) != len(dst) || t.DType != to.DType {
		return fmt.Errorf("cpu: writing %v from %v: type or size differs", to, t)
	}
	copy(dst, data)
	p.wrote(v)
	return nil
}

func (p *program) wrote(v kernels.Value) {
	if p.plan.Tensors[v].Role == kernels.Request {
		p.dirty, p.copied = true, false
	}
}

// input returns the memory of a value that callers may write.
func (p *program) input(v kernels.Value) ([]byte, error) {
	return p.access(v, "written", kernels.Request, kernels.Step, kernels.State)
}

// output returns the memory of a value that callers may read.
func (p *program) output(v kernels.Value) ([]byte, error) {
	return p.access(v, "read", kernels.State, kernels.Result)
}

func (p *program) access(v kernels.Value, how string, roles ...kernels.Role) ([]byte, error) {
	if p.closed {
		return nil, errProgramClosed
	}
	if v < 0 || int(v) >= len(p.plan.Tensors) {
		return nil, fmt.Errorf("cpu: value %d of a plan that has %d", v, len(p.plan.Tensors))
	}
	t := p.plan.Tensors[v]
	for _, r := range roles {
		if t.Role == r {
			return unsafe.Slice((*byte)(unsafe.Pointer(&p.memory[p.owned[v].at])), t.Bytes()), nil
		}
	}
	return nil, fmt.Errorf("cpu: value %v is a %s and cannot be %s", t, t.Role, how)
}

// Run implements kernels.Program.
func (p *program) Run(ctx context.Context) error {
	if p.closed {
		return errProgramClosed
	}
	if err := p.device.lock(ctx); err != nil {
		return err
	}
	defer p.device.unlock()
	from := p.requests
	if !p.copied {
		from = 0
	}
	copy(p.before[from:], p.memory[from:p.inputs])
	p.ran, p.copied = true, true
	if err := p.bind(); err != nil {
		return err
	}
	defer p.unbind()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as in pool.work
	for i := range p.nodes {
		if p.nodes[i].hoisted && !p.dirty {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.compute(i); err != nil {
			return err
		}
	}
	p.dirty = false
	return nil
}

// compute runs one node; what goes wrong in it, a panic included, is an error that names it.
func (p *program) compute(i int) (err error) {
	n, of := &p.nodes[i], &p.plan.Nodes[i]
	in, out := p.in[:len(of.In)], p.out[:len(of.Out)]
	for k, v := range of.In {
		in[k] = p.values[v]
	}
	for k, v := range of.Out {
		out[k] = p.values[v]
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %v\n%s", of.Path, r, debug.Stack())
		}
		n.kernel.release()
	}()
	var start time.Time
	if p.device.trace != nil {
		start = time.Now()
	}
	err = n.kernel.run(p.device.pool, in, out, p.scratch)
	if failed := p.device.pool.failure(); failed != nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", of.Path, err)
	}
	if p.device.trace != nil {
		p.device.trace(Timing{Node: *of, FLOPs: n.flops, Duration: time.Since(start)})
	}
	return nil
}

// bind points scratch and temporaries at the arena until unbind; the device's turn must be held.
func (p *program) bind() error {
	d := p.device
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return errClosed
	}
	if err := d.reserve(p.need); err != nil {
		return err
	}
	memory := d.arena.memory
	at := func(from, n int) []float32 { return memory[from : from+n : from+n] }
	p.scratch.shared = at(0, p.shared)
	for w := range p.scratch.worker {
		p.scratch.worker[w] = at(p.shared+w*p.perWorker, p.perWorker)
	}
	for _, v := range p.temps {
		p.point(v, memory)
	}
	return nil
}

// unbind lets go of the arena, which may move while the program does not run.
func (p *program) unbind() {
	p.scratch.shared = nil
	clear(p.scratch.worker)
	for _, v := range p.temps {
		p.values[v] = view{}
	}
	clear(p.in)
	clear(p.out)
	p.device.idle.Reset(idleTime)
}

// Read implements kernels.Program.
func (p *program) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	data, err := p.output(v)
	if err != nil {
		return err
	}
	if len(dst) != len(data) {
		return fmt.Errorf("cpu: reading %v into %d bytes, want %d", p.plan.Tensors[v], len(dst), len(data))
	}
	copy(dst, data)
	return nil
}

// Bytes implements kernels.Program.
func (p *program) Bytes() int64 { return 4 * int64(len(p.memory)+len(p.before)) }

// Footprint implements kernels.Program.
func (p *program) Footprint() kernels.Footprint {
	return kernels.Footprint{Weights: p.weightBytes, Arena: 4 * int64(p.need)}
}

// Close implements kernels.Program: the arena shrinks to what the programs still open need, at once if none is running,
// else when the next one does.
func (p *program) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	d := p.device
	d.mu.Lock()
	delete(d.needs, p)
	d.mu.Unlock()
	d.shrink()
	return p.free()
}

// free gives back what the program holds of its own, and its part of the weights.
func (p *program) free() error {
	p.device.memory.give(p.Bytes())
	p.memory, p.before, p.nodes, p.values, p.scratch = nil, nil, nil, nil, scratch{}
	if p.source == nil {
		return nil
	}
	return p.source.leave()
}
