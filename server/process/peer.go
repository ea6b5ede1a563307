package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/goxl/goxl/server/engine"
)

// peer is the side that asks.
type peer struct {
	command *exec.Cmd
	link    *link
	calls   io.Closer
	grace   time.Duration // how long the program may take to stop computing, or to end, before it is killed
	beat    time.Duration // between the program's signs of life

	mu      sync.Mutex // guards what follows
	last    uint64
	pending map[uint64]*pending
	lives   bool                 // the program gave a sign of life once
	ending  bool                 // it was asked to end, or closed its answers: grace limits that
	quiet   time.Duration        // since the last sign of life, or the start
	models  []engine.ModelStatus // as the program last reported; nil if its engine is no engine.Keeper
	costs   engine.Costs
	usage   *engine.Usage // nil until the program reported it
	lost    error
	ended   chan struct{} // closed when the program has ended, after lost was set
}

// start runs the program and begins to read what it says.
func start(command *exec.Cmd, beat time.Duration) (*peer, error) {
	calls, answers, started, err := connect(command)
	if err != nil {
		return nil, err
	}
	err = command.Start()
	started()
	if err != nil {
		return nil, errors.Join(err, calls.Close(), answers.Close())
	}
	p := &peer{
		command: command, link: newLink(answers, calls), calls: calls, grace: 15 * time.Second, beat: beat,
		pending: map[uint64]*pending{}, ended: make(chan struct{}),
	}
	go p.read(answers) // ends with the program, which Close and a failure of Start wait for
	go p.watch()       // likewise
	return p, nil
}

// read hands out answers until the program ends.
func (p *peer) read(answers io.ReadCloser) {
	var broken error
	for broken == nil {
		var a answer
		if broken = p.link.read(&a); broken == nil && a.Result != nil {
			broken = a.Result.unpack(p.link)
		} else if broken == nil && a.Preview != nil {
			broken = a.Preview.unpack(p.link)
		}
		if broken == nil {
			p.take(a)
		}
	}
	if broken != io.EOF && broken != io.ErrUnexpectedEOF { // lost at once: nothing more can be asked of it
		p.kill(fmt.Errorf("the engine's answers can't be read: %w", broken))
	}
	// A program that closed its answers and is still there ends without its input, and is not held up meanwhile.
	p.setEnding()
	_ = p.calls.Close()
	defer time.AfterFunc(p.grace, func() { p.kill(errors.New("the engine closed its answers and did not end")) }).Stop()
	_, _ = io.Copy(io.Discard, answers)
	_ = answers.Close()
	err := p.command.Wait()
	p.mu.Lock()
	if p.lost == nil {
		p.lost = fmt.Errorf("the engine's process ended: %v", p.command.ProcessState)
		if err != nil && p.command.ProcessState == nil {
			p.lost = fmt.Errorf("the engine's process: %w", err)
		}
	}
	p.mu.Unlock()
	close(p.ended)
}

// take notes what an answer says and gives it to who waits for it.
func (p *peer) take(a answer) {
	var callback func()
	defer func() {
		if callback != nil { // with p.mu unlocked: it may ask whether the program is lost
			callback()
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives, p.quiet = true, 0
	if a.Lost != "" && p.lost == nil {
		p.lost = errors.New(a.Lost)
	}
	if a.News == alive {
		if a.Usage != nil {
			p.usage = a.Usage
		}
		return
	}
	if k := a.Kept; k != nil {
		p.models = k.Models
		if k.Costs != nil {
			p.costs = *k.Costs
		}
	}
	c := p.pending[a.ID]
	switch {
	case c == nil: // no call of that id waits
	case a.News == stepped:
		c.heard(true)
		if step := c.on.step; step != nil && a.Step != nil {
			callback = func() { step(*a.Step) }
		}
	case a.News == loading:
		c.heard(false)
		if tell := c.on.loading; tell != nil {
			callback = func() { tell(a.Percent) }
		}
	case a.News == previewed:
		if c.heard(false); c.on.preview != nil && a.Preview != nil {
			callback = func() { c.on.preview(a.Preview.Step, a.Preview.images) }
		}
	case a.News == computed:
		c.heard(false)
		callback, c.on.computed = c.on.computed, nil
	default:
		c.heard(false)
		c.answer <- a
		delete(p.pending, a.ID)
	}
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

// asked is a call that waits for its answer.
type asked struct {
	*pending
	ctx        context.Context
	id         uint64
	sent, over chan struct{} // closed
	stop       func() bool
}

// expect begins to wait for the answer to a call, which is to be sent then. When ctx ends, it is cancelled; a program
// that goes on all the same is killed.
func (p *peer) expect(ctx context.Context, limit patience, on callbacks) *asked {
	a := &asked{pending: &pending{answer: make(chan answer, 1), limit: limit, on: on}, ctx: ctx, sent: make(chan struct{}), over: make(chan struct{})}
	p.mu.Lock()
	p.last++
	a.id = p.last
	p.pending[a.id] = a.pending
	p.mu.Unlock()
	a.stop = context.AfterFunc(ctx, func() {
		// The clock runs before anything is sent: a program that hangs may not take its input either.
		late := time.AfterFunc(p.grace, func() { p.kill(fmt.Errorf("the engine did not stop in %v", p.grace)) })
		defer late.Stop()
		select {
		case <-a.sent:
		case <-a.over:
			return
		}
		if p.send(call{ID: a.id, Do: cancelCall}) == nil {
			<-a.over
		}
	})
	return a
}

// unsent ends the wait for the answer to a call that could not be sent.
func (p *peer) unsent(a *asked) {
	a.stop()
	close(a.over)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, a.id)
}

// await waits for the answer to a call that was sent.
func (p *peer) await(a *asked) (answer, error) {
	close(a.sent)
	defer close(a.over)
	defer a.stop()
	if enough := a.on.stop; enough != nil {
		go func() { // ends with the call
			select {
			case <-enough:
				_ = p.send(call{ID: a.id, Do: stopCall}) // where that fails, wait says why
			case <-a.over:
			}
		}()
	}
	got, err := p.wait(a.answer)
	if a.ctx.Err() != nil {
		return answer{}, a.ctx.Err()
	}
	if err == nil {
		err = got.Failed.error()
	}
	return got, err
}

// ask makes a call, whose raw data follow it. When ctx ends, it is cancelled; a program that goes on all the same is
// killed, as one that makes no step within the limit.
func (p *peer) ask(ctx context.Context, limit patience, c call, on callbacks, raw ...[]byte) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	a := p.expect(ctx, limit, on)
	c.ID = a.id
	if err := p.send(c, raw...); err != nil {
		p.unsent(a)
		return answer{}, err
	}
	return p.await(a)
}

func (p *peer) send(c call, raw ...[]byte) error {
	err := p.link.write(c, raw...)
	if err == nil || errors.Is(err, errHeader) {
		return err
	}
	// The program is gone, or about to be: without its input it ends.
	_ = p.calls.Close()
	defer time.AfterFunc(p.grace, func() { p.kill(fmt.Errorf("the engine's process can't be reached: %w", err)) }).Stop()
	<-p.ended
	return p.Lost()
}

func (p *peer) setEnding() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
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
	p.setEnding()
	err := p.calls.Close()
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
