package cuda

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// checks are the launches that look for NaN and Inf during a run: at results, at the states that nodes write, and at
// what a solver reads, whose clamp could hide an infinity. Anything that goes wrong before shows there.
func (p *program) checks(node int) ([]*driver.Launch, error) {
	n := p.plan.Nodes[node]
	var values []kernels.Value
	if _, ok := n.Spec.(kernels.Solver); ok && p.plan.Tensors[n.In[1]].Role == kernels.Temp {
		values = append(values, n.In[1])
	}
	for _, v := range n.Out {
		if r := p.plan.Tensors[v].Role; r == kernels.Result || r == kernels.State {
			values = append(values, v)
		}
	}
	return p.lookAt(values)
}

func (p *program) lookAt(values []kernels.Value) ([]*driver.Launch, error) {
	var all []*driver.Launch
	for _, v := range values {
		if p.plan.Tensors[v].DType != kernels.F32 {
			continue // what bytes were made of was looked at
		}
		l := &lowering{target: p.target}
		n := int64(p.plan.Tensors[v].Len())
		l.each("finite", n, 4, func(at resolver) any {
			return finiteParams{X: p.value(v), Flags: p.memory, N: n, Type: p.storage[v]}
		})
		made, err := p.bind(l.launches[0])
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	return all, nil
}

// In front of a program's memory lie two flags that finite sets: of the run, cleared as each begins, and of all runs
// since Sync. They are copied to the host behind each run.
const (
	runFlag  = 0
	allFlag  = 4
	allFlags = 8 // bytes
)

// flag is one of the flags as the last run whose end the host has seen, or a later one, left it.
func (p *program) flag(at int) bool {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&p.flags.Bytes()[at]))) != 0
}

// AsyncFinite implements kernels.Program.
func (p *program) AsyncFinite() bool { return true }

// NonFinite implements kernels.Program.
func (p *program) NonFinite() bool { return p.Open() == nil && p.flag(allFlag) }

// Sync implements kernels.Program.
func (p *program) Sync(ctx context.Context) (bool, error) {
	if err := p.Open(); err != nil || p.runs == 0 {
		return false, err
	}
	if err := await(ctx, p.done[(p.runs-1)%2]); err != nil {
		return false, err
	}
	if !p.flag(allFlag) {
		return false, nil
	}
	stream := p.device.stream
	return true, errors.Join(stream.Fill32(p.memory+allFlag, 0, 1), p.copyFlags(), stream.Synchronize())
}

// copyFlags queues what the host sees of the flags.
func (p *program) copyFlags() error {
	return p.device.stream.CopyToHost(p.flags, 0, p.memory, allFlags)
}

// flagged waits for the stream and tells whether the run found anything.
func (p *program) flagged() (bool, error) {
	if err := errors.Join(p.copyFlags(), p.device.stream.Synchronize()); err != nil {
		return false, err
	}
	return p.flag(runFlag), nil
}

// Finite implements kernels.Program. It costs nothing while all is well; otherwise it computes the last run again from
// the inputs that run began with, looking at every output; states, results and what callers wrote since stay as they
// are.
func (p *program) Finite(ctx context.Context) (err error) {
	if err := p.Open(); err != nil || p.runs == 0 {
		return err
	}
	if err := await(ctx, p.done[(p.runs-1)%2]); err != nil {
		return err
	}
	if !p.flag(runFlag) {
		return nil
	}
	d := p.device
	if err := d.engine.LockContext(ctx); err != nil {
		return err
	}
	defer d.engine.Unlock()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	now, err := d.memory.alloc(p.bytes)
	if err != nil {
		return fmt.Errorf("keeping the results while looking for what is not finite: %w", err)
	}
	stream := d.stream
	if err := stream.CopyDevice(now, p.memory, p.bytes); err != nil {
		return errors.Join(err, d.memory.free(now))
	}
	defer func() {
		err = errors.Join(err, stream.CopyDevice(p.memory, now, p.bytes), p.copyFlags(), stream.Synchronize(), d.memory.free(now))
	}()
	for v, saved := range p.saved {
		if saved {
			at := ptr(p.place[v].Offset)
			if err := stream.CopyDevice(p.memory+at, p.before+at, p.size(kernels.Value(v))); err != nil {
				return err
			}
		}
	}
	if err := stream.Fill32(p.memory+runFlag, 0, 1); err != nil {
		return err
	}
	for i, n := range p.plan.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.launch(i); err != nil {
			return err
		}
		out := n.Out
		switch n.Spec.(type) {
		case withRowMoments, withChannelStats: // not all of the sums are written
			out = out[:1]
		}
		checks, err := p.lookAt(out)
		if err != nil {
			return err
		}
		for _, l := range checks {
			if err := stream.Launch(l); err != nil {
				return err
			}
		}
		bad, err := p.flagged()
		if err != nil {
			return err
		}
		if bad {
			return kernels.NotFinitef("%s (%T): an element of the output is NaN or infinite in %v", n.Path, operation(n.Spec), p.precision)
		}
	}
	return kernels.NotFinitef("cuda: the run gave a NaN or an infinity that it does not give again")
}
