package cpu

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

// newKernel returns the kernel of a spec. in and out describe the operands as they are stored here: 16-bit vectors are
// already widened.
func newKernel(s kernels.Spec, in, out []kernels.Tensor, v *variant) (kernel, error) {
	switch s := s.(type) {
	case kernels.Linear:
		return newLinear(s, in, out, v), nil
	case kernels.Conv2d:
		return newConv2d(s, in, out, v), nil
	case kernels.Attention:
		return newAttention(s, in, out, v), nil
	case kernels.GroupNorm:
		return newGroupNorm(s, in, v), nil
	case kernels.LayerNorm:
		return newLayerNorm(s, in, v), nil
	case kernels.Activate:
		return newActivate(s, in, v), nil
	case kernels.PReLU:
		return newPReLU(in, v), nil
	case kernels.Add:
		return newAdd(s, in, v), nil
	case kernels.AddMasked:
		return newAddMasked(in), nil
	case kernels.Concat:
		return newConcat(s, in), nil
	case kernels.Resize:
		return newResize(in, out), nil
	case kernels.Embedding:
		return newEmbedding(in), nil
	case kernels.Gather:
		return newGather(in), nil
	case kernels.Sinusoid:
		return newSinusoid(s, in), nil
	case kernels.ToPixels:
		return newToPixels(in), nil
	case kernels.FromPixels:
		return newFromPixels(in), nil
	case kernels.ScaleRepeat:
		return newScaleRepeat(s, in, v), nil
	case kernels.Guidance:
		return newGuidance(s, out), nil
	case kernels.Solver:
		return newSolver(s, out), nil
	}
	return nil, fmt.Errorf("cpu: no kernel for %T", s)
}

// Compile implements kernels.Device. Float values are kept in float32 whatever the weights are.
func (d *Device) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	if _, err := d.engine.Precision(o); err != nil {
		return nil, err
	}
	source, own := w.(*checkpoint)
	if err := d.engine.CheckPlan(plan, w, own && source.device == d); err != nil {
		return nil, err
	}
	p := &program{Program: engine.NewProgram(d.engine, plan), device: d, source: source, plan: plan, values: make([]view, len(plan.Tensors)), owned: make([]span, len(plan.Tensors))}
	stored, err := p.bindWeights(source)
	if err != nil {
		return nil, err
	}
	if err = p.makeNodes(stored); err == nil {
		err = p.layout()
	}
	if err == nil {
		err = d.engine.AddProgram(p, 4*int64(p.need))
	}
	if err != nil {
		return nil, errors.Join(err, p.free())
	}
	return p, nil
}

// bindWeights fills the views of all weights and returns the tensors as they are stored.
func (p *program) bindWeights(source *checkpoint) ([]kernels.Tensor, error) {
	stored := append([]kernels.Tensor(nil), p.plan.Tensors...)
	var wanted []kernels.Tensor
	for v, t := range stored {
		if t.Role != kernels.Weight {
			continue
		}
		wanted, p.weights = append(wanted, t), append(p.weights, kernels.Value(v))
		p.weightBytes += t.Bytes()
	}
	if len(wanted) == 0 {
		p.source = nil
		return stored, nil
	}
	bound, revision, err := source.bind(wanted)
	if err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	p.revision = revision
	for i, v := range p.weights {
		p.values[v] = bound[i]
		stored[v].DType = bound[i].dtype
	}
	return stored, nil
}

// makeNodes chooses the kernels.
func (p *program) makeNodes(stored []kernels.Tensor) error {
	hoisted := p.plan.Hoisted()
	for i, n := range p.plan.Nodes {
		in, out := make([]kernels.Tensor, len(n.In)), make([]kernels.Tensor, len(n.Out))
		for k, v := range n.In {
			in[k] = stored[v]
		}
		for k, v := range n.Out {
			out[k] = stored[v]
		}
		made, err := newKernel(n.Spec, in, out, p.device.variant)
		if err != nil {
			return fmt.Errorf("node %d (%s): %w", i, n.Path, err)
		}
		shared, perWorker := made.scratch()
		p.shared, p.perWorker = max(p.shared, roundUp(shared, alignFloats)), max(p.perWorker, roundUp(perWorker, alignFloats))
		p.nodes = append(p.nodes, node{kernel: made, hoisted: hoisted[i], flops: n.Spec.FLOPs(p.plan.Inputs(n))})
		p.in, p.out = make([]view, max(len(p.in), len(in))), make([]view, max(len(p.out), len(out)))
	}
	return nil
}

// span is where a value lies in the program's own memory, or in the arena: n float32, or what takes as many bytes or up
// to three fewer, from at; n is 0 for a weight.
type span struct {
	at, n int
	arena bool
}

// layout places every value. An arena begins with scratch. An error is one for want of memory.
func (p *program) layout() error {
	p.scratch.worker = make([][]float32, p.device.workers.count())
	l := engine.Needs{
		Size:       func(v kernels.Value) int64 { return (p.plan.Tensors[v].Bytes() + 3) / 4 * 4 },
		Align:      alignBytes,
		FirstArena: 4 * int64(p.shared+p.perWorker*len(p.scratch.worker)),
	}.Place(p.plan)
	p.need, p.requests, p.inputs = int(l.Arena/4), int(l.Requests/4), int(l.Inputs/4)
	for v, place := range l.Places {
		p.owned[v] = span{at: int(place.Offset / 4), n: int(place.Bytes / 4), arena: place.Arena}
		if place.Arena {
			p.temps = append(p.temps, kernels.Value(v))
		}
	}
	at := int(l.Own / 4)
	if err := p.device.take(4 * int64(at+p.inputs)); err != nil {
		var sizes *kernels.MemoryError
		if errors.As(err, &sizes) {
			sizes.Needed += 4 * int64(p.need) // or running it would be refused next
		}
		return fmt.Errorf("cpu: values of a program: %w", err)
	}
	p.memory = alignedFloats(at)
	p.before = alignedFloats(p.inputs)
	for v, s := range p.owned {
		if s.n > 0 && !s.arena {
			p.point(kernels.Value(v), p.memory)
		}
	}
	return nil
}

// point sets the view of a value that lies in memory.
func (p *program) point(v kernels.Value, memory []float32) {
	s, t := p.owned[v], p.plan.Tensors[v]
	data := memory[s.at : s.at+s.n : s.at+s.n]
	p.values[v] = view{shape: t.Shape, dtype: t.DType}
	switch first := unsafe.Pointer(unsafe.SliceData(data)); t.DType {
	case kernels.I32:
		p.values[v].i32 = unsafe.Slice((*int32)(first), s.n)
	case kernels.U8:
		p.values[v].u8 = unsafe.Slice((*uint8)(first), t.Len())
	default:
		p.values[v].f32 = data
	}
}
