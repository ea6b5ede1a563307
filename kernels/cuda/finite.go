package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// checks are the launches that look for NaN and Inf during a run: at results, at the states that nodes write, and at what a solver
// reads, whose clamp could hide an infinity. Anything that goes wrong before shows there.
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
		l := &lowering{sms: p.device.sms}
		n := int64(p.plan.Tensors[v].Len())
		l.each("finite", n, 4, func(at func(ref) driver.Ptr) any {
			return finiteParams{X: p.value(v), Flag: p.memory, N: n, Type: p.storage[v]}
		})
		made, err := p.bind(l.launches[0])
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	return all, nil
}

// flagged waits for the stream and reads the flag.
func (p *program) flagged(ctx context.Context) (bool, error) {
	var flag [4]byte
	err := p.device.down.download(ctx, p.device.stream, flag[:], p.memory)
	return binary.LittleEndian.Uint32(flag[:]) != 0, err
}

// Finite implements kernels.Program. It costs nothing while all is well; otherwise it computes the last run again from the inputs that run
// began with, looking at every output; states, results and what callers wrote since stay as they are.
func (p *program) Finite(ctx context.Context) (err error) {
	if p.closed {
		return errProgramClosed
	}
	if p.runs == 0 {
		return nil
	}
	if err := await(ctx, p.done[(p.runs-1)%2]); err != nil {
		return err
	}
	if bad, err := p.flagged(ctx); err != nil || !bad {
		return err
	}
	d := p.device
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
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
		err = errors.Join(err, stream.CopyDevice(p.memory, now, p.bytes), stream.Synchronize(), d.memory.free(now))
	}()
	for v, saved := range p.saved {
		if saved {
			at := ptr(p.place[v].at)
			if err := stream.CopyDevice(p.memory+at, p.before+at, p.size(kernels.Value(v))); err != nil {
				return err
			}
		}
	}
	if err := stream.Fill32(p.memory, 0, 1); err != nil {
		return err
	}
	for i, n := range p.plan.Nodes {
		if err := p.launch(i); err != nil {
			return err
		}
		checks, err := p.lookAt(n.Out)
		if err != nil {
			return err
		}
		for _, l := range checks {
			if err := stream.Launch(l); err != nil {
				return err
			}
		}
		bad, err := p.flagged(ctx)
		if err != nil {
			return err
		}
		if bad {
			return fmt.Errorf("%s (%T): an element of the output is NaN or infinite in %v", n.Path, n.Spec, p.precision)
		}
	}
	return errors.New("cuda: the run gave a NaN or an infinity that it does not give again")
}
