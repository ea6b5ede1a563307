package process

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// Model is what the program computes with: server.Engine, which this package must not import.
type Model interface {
	Info() sdxl.Info
	Check(r sdxl.Request) error
	Generate(ctx context.Context, r sdxl.Request) (*sdxl.Result, error)
	Lost() error
	Cost() sdxl.Cost
	Close() error
}

// Opener opens models.
type Opener struct {
	Open        func() (Model, kernels.Info, error)
	OpenRefiner func(base Model) (Model, error)
}

// program is the side that computes.
type program struct {
	opener Opener

	send sync.Mutex // guards out
	out  *gob.Encoder

	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	cancels map[uint64]context.CancelFunc
	model   Model
	refiner Model // nil until asked for
}

// Serve opens the model and answers the calls that come from an Engine by in, until in ends; then it cancels what is being computed and closes
// the models. An error is that of opening or closing them, or of a peer that speaks otherwise.
func Serve(in io.Reader, out io.Writer, o Opener) (err error) {
	p := &program{opener: o, out: gob.NewEncoder(out), cancels: map[uint64]context.CancelFunc{}}
	model, device, err := o.Open()
	if err != nil {
		return errors.Join(err, p.answer(answer{Failed: fail(err)}))
	}
	p.model = model
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		p.running.Wait()
		if p.refiner != nil {
			err = errors.Join(err, p.refiner.Close())
		}
		err = errors.Join(err, model.Close())
	}()
	if err := p.answer(answer{Info: model.Info(), Cost: model.Cost(), Device: device}); err != nil {
		return err
	}
	calls := gob.NewDecoder(in)
	for {
		var c call
		if err := calls.Decode(&c); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("process: reading a call: %w", err)
		}
		p.take(ctx, c)
	}
}

// take begins a call, or ends another.
func (p *program) take(ctx context.Context, c call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Do == cancelCall {
		if cancel := p.cancels[c.ID]; cancel != nil { // else it was answered meanwhile
			cancel()
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p.cancels[c.ID] = cancel
	p.running.Go(func() {
		a := p.do(ctx, c)
		a.ID = c.ID
		p.mu.Lock()
		delete(p.cancels, c.ID)
		p.mu.Unlock()
		cancel()
		// An answer that can't be given has nobody who waits for it: the server is gone, which ends the input too.
		_ = p.answer(a)
	})
}

func (p *program) answer(a answer) error {
	p.send.Lock()
	defer p.send.Unlock()
	return p.out.Encode(a)
}

func (p *program) do(ctx context.Context, c call) (a answer) {
	p.mu.Lock()
	model := p.model
	if c.Refiner {
		model = p.refiner
	}
	p.mu.Unlock()
	var err error
	switch {
	case c.Do == openRefiner:
		a.Info, a.Cost, err = p.openRefiner()
	case model == nil || c.Request == nil:
		err = fmt.Errorf("process: call %d lacks a model or a request", c.Do)
	case c.Do == check:
		err = model.Check(c.Request.unpack())
	case c.Do == generate:
		a.Result, err = model.Generate(ctx, c.Request.unpack())
	default:
		err = fmt.Errorf("process: no call %d", c.Do)
	}
	if err != nil {
		a.Failed = fail(err)
	}
	if lost := p.model.Lost(); lost != nil {
		a.Lost = lost.Error()
	}
	return a
}

// openRefiner is called once at a time, by an Engine whose user promises it.
func (p *program) openRefiner() (sdxl.Info, sdxl.Cost, error) {
	if p.opener.OpenRefiner == nil {
		return sdxl.Info{}, sdxl.Cost{}, errors.New("process: there is no refiner")
	}
	refiner, err := p.opener.OpenRefiner(p.model)
	if err != nil {
		return sdxl.Info{}, sdxl.Cost{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refiner = refiner
	return refiner.Info(), refiner.Cost(), nil
}
