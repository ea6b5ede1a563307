package process

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// Engine is a model in another process; it implements server.Engine.
type Engine struct {
	*peer
	refiner bool
	info    sdxl.Info
	cost    sdxl.Cost
	device  kernels.Info
}

// peer is the side that asks.
type peer struct {
	command *exec.Cmd
	in      io.WriteCloser
	grace   time.Duration // how long the program may take to stop computing, or to end, before it is killed

	send sync.Mutex // guards calls
	out  *gob.Encoder

	mu      sync.Mutex // guards what follows
	last    uint64
	pending map[uint64]chan answer // each holds one
	lost    error
	ended   chan struct{} // closed when the program has ended, after lost was set
}

// Start runs a program that calls Serve and waits until its model is open, or returns why that can't be. The command's standard input and output
// are Start's own; its standard error is where the program's log goes.
func Start(command *exec.Cmd) (*Engine, error) {
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &peer{command: command, in: in, grace: 15 * time.Second, out: gob.NewEncoder(in), pending: map[uint64]chan answer{}, ended: make(chan struct{})}
	opened := make(chan answer, 1)
	p.pending[0] = opened
	go p.read(out) // ends with the program, which Close and a failure here wait for
	a, err := p.wait(opened)
	if err == nil {
		err = a.Failed.error()
	}
	if err != nil {
		p.kill(err)
		<-p.ended
		return nil, err
	}
	return &Engine{peer: p, info: a.Info, cost: a.Cost, device: a.Device}, nil
}

// read hands out answers until the program ends.
func (p *peer) read(out io.Reader) {
	answers := gob.NewDecoder(out)
	var broken error
	for {
		var a answer
		if broken = answers.Decode(&a); broken != nil {
			break
		}
		p.mu.Lock()
		if a.Lost != "" && p.lost == nil {
			p.lost = errors.New(a.Lost)
		}
		if to := p.pending[a.ID]; to != nil {
			to <- a
			delete(p.pending, a.ID)
		}
		p.mu.Unlock()
	}
	// A program that is still there speaks otherwise, as when a library printed something. It ends without its input, and is not held up meanwhile.
	_ = p.in.Close()
	defer time.AfterFunc(p.grace, func() { p.kill(fmt.Errorf("the engine's answers can't be read: %w", broken)) }).Stop()
	_, _ = io.Copy(io.Discard, out)
	err := p.command.Wait()
	p.mu.Lock()
	if p.lost == nil {
		p.lost = fmt.Errorf("the engine's process ended: %v", p.command.ProcessState)
		if err != nil && p.command.ProcessState == nil {
			p.lost = fmt.Errorf("the engine's process: %w", err)
		} else if broken != io.EOF && broken != io.ErrUnexpectedEOF {
			p.lost = fmt.Errorf("%w; its answers could not be read: %w", p.lost, broken)
		}
	}
	p.mu.Unlock()
	close(p.ended)
}

// wait returns an answer, or why there will be none.
func (p *peer) wait(to <-chan answer) (answer, error) {
	select {
	case a := <-to:
		return a, nil
	case <-p.ended:
	}
	select {
	case a := <-to: // it came before the end
		return a, nil
	default:
		return answer{}, p.Lost()
	}
}

// ask makes a call. When ctx ends, it is cancelled; a program that goes on all the same is killed.
func (p *peer) ask(ctx context.Context, c call) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	to := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	c.ID = p.last
	p.pending[c.ID] = to
	p.mu.Unlock()
	told, over := make(chan struct{}), make(chan struct{})
	defer close(over)
	stop := context.AfterFunc(ctx, func() {
		// The clock runs before anything is told: a program that hangs may not take its input either.
		late := time.AfterFunc(p.grace, func() { p.kill(fmt.Errorf("the engine did not stop in %v", p.grace)) })
		defer late.Stop()
		select {
		case <-told:
		case <-over:
			return
		}
		if p.tell(call{ID: c.ID, Do: cancelCall}) == nil {
			<-over
		}
	})
	if err := p.tell(c); err != nil {
		stop()
		return answer{}, err
	}
	close(told)
	defer stop()
	a, err := p.wait(to)
	if ctx.Err() != nil {
		return answer{}, ctx.Err()
	}
	if err == nil {
		err = a.Failed.error()
	}
	return a, err
}

func (p *peer) tell(c call) error {
	p.send.Lock()
	err := p.out.Encode(c)
	p.send.Unlock()
	if err == nil {
		return nil
	}
	// The program is gone, or about to be: without its input it ends.
	p.kill(fmt.Errorf("the engine's process can't be reached: %w", err))
	<-p.ended
	return p.Lost()
}

// kill ends the program at once; why is the reason unless there is one.
func (p *peer) kill(why error) {
	p.mu.Lock()
	if p.lost == nil {
		p.lost = why
	}
	p.mu.Unlock()
	_ = p.command.Process.Kill() // an error says that it has ended
}

// end ends the program: a lost one at once, others when they have closed their models.
func (p *peer) end() error {
	if lost := p.Lost(); lost != nil {
		p.kill(lost)
		<-p.ended
		return nil
	}
	err := p.in.Close()
	select {
	case <-p.ended:
	case <-time.After(p.grace):
		p.kill(fmt.Errorf("the engine did not end in %v", p.grace))
		<-p.ended
		return errors.Join(err, p.Lost())
	}
	if !p.command.ProcessState.Success() {
		err = errors.Join(err, p.Lost())
	}
	return err
}

// Lost says why the program computes nothing any more, nil while it does.
func (p *peer) Lost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Info describes the model.
func (e *Engine) Info() sdxl.Info { return e.info }

// Cost is about how long the model takes for an image; zero if it does not tell.
func (e *Engine) Cost() sdxl.Cost { return e.cost }

// Device describes the program's device.
func (e *Engine) Device() kernels.Info { return e.device }

// DeviceName is the name of the program's device.
func (e *Engine) DeviceName() string { return e.device.Name }

// Pid is the program's process id.
func (e *Engine) Pid() int { return e.command.Process.Pid }

// OpenRefiner opens the refiner in the same process. It ends with its base.
func (e *Engine) OpenRefiner() (*Engine, error) {
	a, err := e.ask(context.Background(), call{Do: openRefiner})
	if err != nil {
		return nil, err
	}
	return &Engine{peer: e.peer, refiner: true, info: a.Info, cost: a.Cost, device: e.device}, nil
}

// Check is the model's.
func (e *Engine) Check(r sdxl.Request) error {
	_, err := e.request(context.Background(), check, r)
	return err
}

// Generate is the model's. The request's callbacks must be nil.
func (e *Engine) Generate(ctx context.Context, r sdxl.Request) (*sdxl.Result, error) {
	return e.request(ctx, generate, r)
}

func (e *Engine) request(ctx context.Context, do verb, r sdxl.Request) (*sdxl.Result, error) {
	packed, err := pack(r)
	if err != nil {
		return nil, err
	}
	a, err := e.ask(ctx, call{Do: do, Refiner: e.refiner, Request: packed})
	return a.Result, err
}

// Close ends the program, if e is not a refiner, and waits for that.
func (e *Engine) Close() error {
	if e.refiner {
		return nil
	}
	return e.end()
}
