package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// Compile implements kernels.Device. Weights are uploaded and packed when a program that uses them first runs.
func (d *Device) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	return d.compile(plan, w, o, d.target())
}

// target is the card that a program is compiled for.
type target struct {
	sms   int // multiprocessors
	tiles []tile
}

func (d *Device) target() target { return target{d.sms, d.tiles} }

// hasTMA reports whether some of the tiles are loaded by TMA.
func (t target) hasTMA() bool {
	return slices.ContainsFunc(t.tiles, func(t tile) bool { return t.tma })
}

func (d *Device) compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options, on target) (kernels.Program, error) {
	precision, err := d.engine.Precision(o)
	if err != nil {
		return nil, err
	}
	source, own := w.(*weights)
	if err := d.engine.CheckPlan(plan, w, own && source.device == d); err != nil {
		return nil, err
	}
	p, err := d.newProgram(plan, source, precision, on)
	if err != nil {
		return nil, err
	}
	if err := p.allocate(); err != nil {
		return nil, err
	}
	if err := d.engine.AddProgram(p, p.need); err != nil {
		return nil, errors.Join(err, p.free())
	}
	d.warnGeneral(p)
	return p, nil
}

// newProgram lowers a plan to a program that has no memory yet.
func (d *Device) newProgram(plan *kernels.Plan, source *weights, precision kernels.DType, on target) (*program, error) {
	state := engine.NewProgram(d.engine, plan)
	if !d.unfused {
		plan = fuse(plan)
		if on.hasTMA() {
			plan = fuseGroups(fuseNorms(plan))
		}
	}
	p := &program{Program: state, device: d, plan: plan, weights: source, precision: precision, target: on, saved: make([]bool, len(plan.Tensors)), ids: map[kernels.Value][]int32{}}
	p.chooseStorage()
	if err := p.lowerAll(); err != nil {
		return nil, err
	}
	p.layout()
	return p, nil
}

// chooseStorage chooses the storage type of each value.
func (p *program) chooseStorage() {
	p.storage = make([]storage, len(p.plan.Tensors))
	read, outside := make([]bool, len(p.plan.Tensors)), make([]bool, len(p.plan.Tensors)) // by any node; by one that does not make a state of it
	for _, n := range p.plan.Nodes {
		for _, v := range n.In {
			read[v] = true
			switch n.Spec.(type) {
			case kernels.Guidance, kernels.Solver:
			case kernels.AddMasked: // with which inpainting puts latents back, bit for bit
				outside[v] = outside[v] || p.plan.Tensors[n.Out[0]].Role != kernels.State
			default:
				outside[v] = true
			}
		}
	}
	for v, t := range p.plan.Tensors {
		if t.Role == kernels.Temp && t.DType == kernels.F32 && (outside[v] || !read[v]) {
			p.storage[v] = half
		}
		if t.DType == kernels.U8 {
			p.storage[v] = u8
		}
	}
	for _, n := range p.plan.Nodes {
		switch n.Spec.(type) {
		case withRowMoments, withChannelStats:
			p.storage[n.Out[1]] = fp32
		}
	}
	if p.precision == kernels.BF16 && !p.target.hasTMA() {
		p.storeResidualStream()
	}
}

// storeResidualStream stores the residual stream in float32, the operands of residual additions as well as their sums:
// a model adds to it dozens of times, and the error of each rounding to bfloat16's 8 bits would stay in it. On an H100
// this brings the embedded model's images 1.6 dB nearer to float32's, and SDXL's step takes 2 % longer. With TMA tiles
// it is not done: the fused epilogues need 16-bit operands, and a step without fusion would take 17 % longer.
func (p *program) storeResidualStream() {
	for _, n := range p.plan.Nodes {
		added := addends(n)
		if len(added) == 0 {
			continue
		}
		for _, v := range append(slices.Clone(added), n.Out[0]) {
			if p.storage[v] == half {
				p.storage[v] = fp32
			}
		}
	}
}

// addends are the inputs that a node adds to its result unchanged: both of an addition, the residual of a GEMM, and
// none of any other node.
func addends(n kernels.Node) []kernels.Value {
	at := kernels.Absent
	switch s := operation(n.Spec).(type) {
	case kernels.Add:
		return n.In
	case kernels.Linear:
		at = s.Operands().Residual
	case kernels.Conv2d:
		at = s.Operands().Residual
	}
	if at == kernels.Absent {
		return nil
	}
	return n.In[at : at+1]
}

// lowerAll makes the launches of every node.
func (p *program) lowerAll() error {
	hoisted := p.plan.Hoisted()
	var failed []error
	parts, statsWritten := map[int]int{}, map[int]bool{}
	for i, n := range p.plan.Nodes {
		l := &lowering{
			parts: parts, statsWritten: statsWritten, precision: p.precision, target: p.target, flash: p.device.flash,
			scratch: func(bytes int64) symbol {
				p.blocks = append(p.blocks, kernels.Lifetime{Bytes: bytes, First: i, Last: i})
				return symbol{kind: atScratch, index: len(p.blocks) - 1}
			},
			constant: func(data []float32) symbol {
				at := len(p.constants)
				for _, f := range data {
					p.constants = binary.LittleEndian.AppendUint32(p.constants, math.Float32bits(f))
				}
				p.constants = append(p.constants, make([]byte, align(int64(len(p.constants)))-int64(len(p.constants)))...)
				return symbol{kind: atConstant, offset: int64(at)}
			},
		}
		l.weights = func(v int, pack packing) (symbol, error) {
			w, err := p.weights.want(l.in[v].Tensor, pack, p.precision)
			if err == nil && !slices.Contains(p.uses, w) {
				p.uses = append(p.uses, w)
			}
			return symbol{kind: atWeight, weight: w}, err
		}
		l.link = func(w *packed, f *folding) { p.weights.link(w, f) }
		for _, v := range n.In {
			l.in = append(l.in, p.operand(v))
		}
		for _, v := range n.Out {
			l.out = append(l.out, p.operand(v))
		}
		if err := l.lower(n.Spec); err != nil {
			failed = append(failed, fmt.Errorf("node %d (%s): %w", i, n.Path, err))
		}
		p.nodes = append(p.nodes, node{launches: l.launches, hoisted: hoisted[i]})
	}
	return errors.Join(failed...)
}

func (p *program) operand(v kernels.Value) operand {
	return operand{symbol: symbol{kind: atValue, index: int(v)}, Tensor: p.plan.Tensors[v], storage: p.storage[v]}
}

// size is the bytes of a value in memory.
func (p *program) size(v kernels.Value) int64 {
	return int64(p.plan.Tensors[v].Len()) * bytesOf(p.storage[v])
}

// layout places every value, and in front of the program's own memory the flags that finite sets.
func (p *program) layout() {
	l := engine.Needs{Size: p.size, Align: alignment, FirstOwn: alignment, Scratch: p.blocks}.Place(p.plan)
	p.place, p.scratch, p.need, p.inputs = l.Places, l.Scratch, l.Arena, l.Inputs
	p.constantsAt = l.Own
	p.bytes = l.Own + int64(len(p.constants))
	for _, n := range p.plan.Nodes {
		for _, v := range n.Out {
			if p.plan.Tensors[v].Role == kernels.State {
				p.states = append(p.states, v)
			}
		}
	}
}

// allocate takes the program's own memory.
func (p *program) allocate() (err error) {
	d := p.device
	d.engine.Lock()
	defer d.engine.Unlock()
	defer func() {
		if err != nil {
			err = errors.Join(err, p.free())
		}
	}()
	if p.flags, err = d.context.AllocHost(alignment, false); err != nil {
		return fmt.Errorf("a program's flags: %w", err)
	}
	clear(p.flags.Bytes())
	if p.memory, err = d.memory.alloc(p.bytes); err != nil {
		return fmt.Errorf("a program's values: %w", err)
	}
	if err := d.stream.Fill(p.memory, 0, p.bytes); err != nil {
		return err
	}
	if err := d.up.upload(d.stream, p.memory+ptr(p.constantsAt), p.constants); err != nil {
		return err
	}
	for i := range p.done {
		if p.done[i], err = d.context.NewEvent(false); err != nil {
			return err
		}
	}
	return nil
}
