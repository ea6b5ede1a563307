package cpu

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// program implements kernels.Program.
type program struct {
	engine.Program
	device  *Device
	source  *checkpoint // nil if there are no weights
	plan    *kernels.Plan
	nodes   []node
	values  []view          // by kernels.Value; those in the arena only while the program runs
	owned   []span          // where values that are not weights lie
	temps   []kernels.Value // those in the arena
	weights []kernels.Value
	in, out []view // operands of the node that runs

	memory   []float32 // requests, steps, states, results, and temporaries that hoisted nodes keep
	requests int       // float32 of memory that hold requests
	inputs   int       // float32 of memory that hold requests, steps and states
	before   []float32 // the inputs as the last run found them

	weightBytes       int64   // of all weights that it uses
	revision          uint64  // of the weights that values has
	need              int     // float32 of arena
	shared, perWorker int     // float32 of scratch
	scratch           scratch // in the arena, only while the program runs

	copied bool // before has the requests too
	ran    bool
}

// node is a node of the plan with its kernel.
type node struct {
	kernel  kernel
	hoisted bool
	flops   int64
}

// Write implements kernels.Program.
func (p *program) Write(v kernels.Value, data []byte) error {
	if err := p.CheckWrite(v, len(data)); err != nil {
		return err
	}
	p.put(v, data)
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
	p.put(v, other.bytes(src))
	return nil
}

// put fills a value that callers write.
func (p *program) put(v kernels.Value, data []byte) {
	copy(p.bytes(v), data)
	if p.Wrote(v) {
		p.copied = false
	}
}

// bytes is the memory of a value that callers write or read.
func (p *program) bytes(v kernels.Value) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&p.memory[p.owned[v].at])), p.plan.Tensors[v].Bytes())
}

// Run implements kernels.Program.
func (p *program) Run(ctx context.Context) error {
	if err := p.Open(); err != nil {
		return err
	}
	if err := p.device.engine.LockContext(ctx); err != nil {
		return err
	}
	defer p.device.engine.Unlock()
	from := p.requests
	if !p.copied {
		from = 0
	}
	copy(p.before[from:], p.memory[from:p.inputs])
	p.ran, p.copied = true, true
	if err := p.bind(ctx); err != nil {
		return err
	}
	defer p.unbind()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as in workers.work
	for i := range p.nodes {
		if p.nodes[i].hoisted && !p.Hoist(p.revision) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.compute(i); err != nil {
			return err
		}
	}
	p.Hoisted(p.revision)
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
	err = n.kernel.run(p.device.workers, in, out, p.scratch)
	if failed := p.device.workers.failure(); failed != nil {
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

// bind points scratch and temporaries at the arena until unbind, and weights at what they are since the last update; the
// engine's mutex must be held.
func (p *program) bind(ctx context.Context) error {
	d := p.device
	if err := d.engine.Open(); err != nil {
		return err
	}
	if p.source != nil {
		if err := p.source.rebind(ctx, p); err != nil {
			return fmt.Errorf("cpu: %w", err)
		}
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
	if err := p.CheckRead(v, len(dst)); err != nil {
		return err
	}
	copy(dst, p.bytes(v))
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
	if !p.MarkClosed() {
		return nil
	}
	p.device.engine.RemoveProgram(p)
	p.device.shrink()
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
