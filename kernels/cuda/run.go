package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// segment is the most launches in one graph: between graphs a run can be cancelled.
const segment = 256

// recording is a program's launches at the addresses that arena and weights have now.
type recording struct {
	arena, weights uint64              // generations
	launches       [][]*driver.Launch  // by node
	graphs         []*driver.GraphExec // of the nodes that run each time, in order
}

func (r *recording) close() error {
	var failed []error
	for _, g := range r.graphs {
		failed = append(failed, g.Close())
	}
	*r = recording{}
	return errors.Join(failed...)
}

// Run implements kernels.Program. It returns when the work is queued; at most two runs are.
func (p *program) Run(ctx context.Context) error {
	if p.closed {
		return errProgramClosed
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
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	hoisted := p.dirty
	clear(p.saved)
	for _, v := range p.states { // the graph copies them
		p.saved[v] = true
	}
	err := p.queue(ctx, hoisted)
	if err == nil {
		p.dirty = false
	}
	// A run that ended early still has work queued, which the next one must wait for as for any other.
	p.runs++
	return errors.Join(err, d.stream.Record(p.done[(p.runs-1)%2]))
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
	for _, g := range p.recorded.graphs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.Launch(stream); err != nil {
			return err
		}
	}
	return nil
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

// prepare makes weights and arena ready, and records the launches if they have moved; the device's turn must be held.
func (p *program) prepare(ctx context.Context) error {
	d := p.device
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return errClosed
	}
	if len(p.states) > 0 {
		if err := p.room(); err != nil {
			return err
		}
	}
	var generation uint64
	if p.weights != nil {
		if err := p.weights.resident(ctx); err != nil {
			return err
		}
		generation = p.weights.generation
	}
	if err := d.arena.resize(&d.memory, d.need(), d.stream.Synchronize); err != nil {
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

// bind gives a launch its addresses.
func (p *program) bind(l launch) (*driver.Launch, error) {
	f, err := p.device.libraries[p.precision].function(l.kernel)
	if err != nil {
		return nil, err
	}
	config := driver.Config{Grid: l.grid, Block: driver.Dim{X: l.block, Y: 1, Z: 1}, DynamicShared: l.shared}
	return f.Prepare(config, l.params(p.address))
}

// address resolves a ref.
func (p *program) address(r ref) ptr {
	switch r.kind {
	case atValue:
		return p.value(kernels.Value(r.index)) + ptr(r.offset)
	case atScratch:
		return p.device.arena.at + ptr(p.scratch[r.index]+r.offset)
	case atWeight:
		return r.weight.at + ptr(r.offset)
	case atConstant:
		return p.memory + ptr(p.constantsAt+r.offset)
	}
	return 0
}

func (p *program) value(v kernels.Value) ptr {
	if p.place[v].own {
		return p.memory + ptr(p.place[v].at)
	}
	return p.device.arena.at + ptr(p.place[v].at)
}

// record captures what every run does: clear the flag, keep the states, compute, look at what leaves the program.
func (p *program) record() error {
	stream := p.device.recorder
	var work []func() error
	work = append(work, func() error { return stream.Fill32(p.memory, 0, 1) })
	for _, v := range p.states {
		at := ptr(p.place[v].at)
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
	for len(work) > 0 {
		part := work[:min(segment, len(work))]
		work = work[len(part):]
		graph, err := stream.Capture(func() error {
			for _, do := range part {
				if err := do(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		exec, err := graph.Instantiate()
		if err := errors.Join(err, graph.Close()); err != nil {
			return err
		}
		p.recorded.graphs = append(p.recorded.graphs, exec)
	}
	return nil
}

// check refuses ids and rows outside of their tables. Integers come from the caller alone, so the host knows them.
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
