package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// recording is a program's launches, bound to the current addresses of arena and weights.
type recording struct {
	arena, weights uint64             // generations
	launches       [][]*driver.Launch // by node
	graph          *driver.GraphExec  // of the nodes that run each time; nil until it is recorded
}

func (r *recording) close() error {
	graph := r.graph
	*r = recording{}
	if graph == nil {
		return nil
	}
	return graph.Close()
}

// Run implements kernels.Program. It returns when the work is queued; at most two runs are.
func (p *program) Run(ctx context.Context) error {
	if err := p.Open(); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if p.runs >= 2 {
		if err := await(ctx, p.done[p.runs%2]); err != nil {
			return err
		}
	}
	d := p.device
	if err := d.engine.LockContext(ctx); err != nil {
		return err
	}
	defer d.engine.Unlock()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	clear(p.saved)
	var revision uint64
	if p.weights != nil {
		revision = p.weights.revision
	}
	err := p.queue(ctx, p.Hoist(revision))
	if err == nil {
		p.Hoisted(revision)
		for _, v := range p.states { // the graph copies them
			p.saved[v] = true
		}
	}
	// A run that ended early still has work queued, which the next one must wait for as for any other.
	p.runs++
	return errors.Join(err, p.copyFlags(), d.stream.Record(p.done[(p.runs-1)%2]))
}

// queue puts a run on the stream.
func (p *program) queue(ctx context.Context, hoisted bool) error {
	stream := p.device.stream
	if hoisted {
		for i, n := range p.nodes {
			if !n.hoisted {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.launch(i); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.device.memory.orReclaim(func() error { return full(p.recorded.graph.Launch(stream)) })
}

// launch puts one node on the stream.
func (p *program) launch(i int) error {
	for _, l := range p.recorded.launches[i] {
		if err := p.device.stream.Launch(l); err != nil {
			return fmt.Errorf("%s: %w", p.plan.Nodes[i].Path, err)
		}
	}
	return nil
}

// prepare makes weights and arena ready, and records the launches if they have moved; the engine's mutex must be held.
func (p *program) prepare(ctx context.Context) error {
	return p.device.memory.orReclaim(func() error { return p.makeReady(ctx) })
}

func (p *program) makeReady(ctx context.Context) error {
	d := p.device
	if err := d.engine.Open(); err != nil {
		return err
	}
	if len(p.states) > 0 {
		if err := p.room(); err != nil {
			return err
		}
	}
	generation, err := p.takeMemory(ctx)
	if err != nil {
		return err
	}
	r := &p.recorded
	if r.launches != nil && r.arena == d.arena.generation && r.weights == generation {
		return nil
	}
	if err := d.stream.Synchronize(); err != nil { // graphs under way must not be taken away
		return err
	}
	if err := r.close(); err != nil {
		return err
	}
	r.arena, r.weights = d.arena.generation, generation
	launches := make([][]*driver.Launch, len(p.nodes))
	for i, n := range p.nodes {
		for _, l := range n.launches {
			made, err := p.bind(l)
			if err != nil {
				return fmt.Errorf("%s: %w", p.plan.Nodes[i].Path, err)
			}
			launches[i] = append(launches[i], made)
		}
	}
	r.launches = launches
	if err := p.record(); err != nil {
		return errors.Join(err, r.close())
	}
	return nil
}

// takeMemory makes arena and weights resident and returns the weights' generation. If an arena that other programs left
// too large keeps the weights out, it shrinks.
func (p *program) takeMemory(ctx context.Context) (uint64, error) {
	d, need := p.device, p.need
	if list, _ := pending(p.uses); len(list) > 0 {
		need = max(need, p.weights.room(list)) // where weights are packed
	}
	if err := d.arena.reserve(&d.memory, need, d.engine.Arena(), d.stream.Synchronize); err != nil {
		return 0, err
	}
	if p.weights == nil {
		return 0, nil
	}
	err := p.weights.resident(ctx, p.uses)
	if errors.Is(err, kernels.ErrMemory) && d.arena.size > need {
		if err := d.arena.resize(&d.memory, need, d.stream.Synchronize); err != nil {
			return 0, err
		}
		err = p.weights.resident(ctx, p.uses)
	}
	return p.weights.generation, err
}

// bind resolves a launch's addresses.
func (p *program) bind(l launch) (*driver.Launch, error) {
	f, err := p.device.libraries[p.precision].function(l.kernel)
	if err != nil {
		return nil, err
	}
	config := driver.Config{Grid: l.grid, Block: driver.Dim{X: l.block, Y: 1, Z: 1}, DynamicShared: l.shared}
	params := l.params(p.address)
	if m, ok := params.(mapped); ok {
		if params, err = m.encode(p.device.context); err != nil {
			return nil, err
		}
	}
	return f.Prepare(config, params)
}

// mapped are parameters with tensor maps, which only the driver can encode. encode returns them as the kernel takes
// them.
type mapped interface {
	encode(encoder) (any, error)
}

// encoder is the part of *driver.Context that encodes tensor maps.
type encoder interface {
	EncodeTiled(driver.Tiled) (driver.TensorMap, error)
	EncodeIm2col(driver.Im2col) (driver.TensorMap, error)
}

// address is the program's resolver.
func (p *program) address(s symbol) ptr {
	switch s.kind {
	case atValue:
		return p.value(kernels.Value(s.index)) + ptr(s.offset)
	case atScratch:
		return p.device.arena.at + ptr(p.scratch[s.index]+s.offset)
	case atWeight:
		return s.weight.at + ptr(s.offset)
	case atConstant:
		return p.memory + ptr(p.constantsAt+s.offset)
	}
	return 0
}

func (p *program) value(v kernels.Value) ptr {
	if p.place[v].Arena {
		return p.device.arena.at + ptr(p.place[v].Offset)
	}
	return p.memory + ptr(p.place[v].Offset)
}

// record captures what every run does as a graph: clear the flag, save the states, compute, check what leaves the
// program for NaN and Inf.
func (p *program) record() error {
	stream := p.device.recorder
	var work []func() error
	work = append(work, func() error { return stream.Fill32(p.memory+runFlag, 0, 1) })
	for _, v := range p.states {
		at := ptr(p.place[v].Offset)
		work = append(work, func() error { return stream.CopyDevice(p.before+at, p.memory+at, p.size(v)) })
	}
	for i, n := range p.nodes {
		checks, err := p.checks(i)
		if err != nil {
			return err
		}
		if !n.hoisted {
			for _, l := range p.recorded.launches[i] {
				work = append(work, func() error { return stream.Launch(l) })
			}
		}
		for _, l := range checks {
			work = append(work, func() error { return stream.Launch(l) })
		}
	}
	graph, err := stream.Capture(func() error {
		for _, do := range work {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.recorded.graph, err = graph.Instantiate()
	return errors.Join(full(err), graph.Close())
}

// check refuses ids and rows outside of their tables. Only callers write integers, so the host knows them.
func (p *program) check() error {
	for _, n := range p.plan.Nodes {
		var what string
		var ids kernels.Value
		rows := 0
		switch n.Spec.(type) {
		case kernels.Embedding:
			what, ids, rows = "id", n.In[0], p.plan.Tensors[n.In[1]].Shape[0]
		case kernels.Gather:
			what, ids, rows = "row", n.In[1], p.plan.Tensors[n.In[0]].Shape[1]
		default:
			continue
		}
		for i, id := range p.ids[ids] {
			if id < 0 || int(id) >= rows {
				return fmt.Errorf("%s: %s %d is %d, want 0 to %d", n.Path, what, i, id, rows-1)
			}
		}
	}
	return nil
}
