package process

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Open opens an engine, and describes its device. The context ends when the server is gone.
type Open func(ctx context.Context) (engine.Engine, kernels.Info, error)

// program is the side that computes.
type program struct {
	link *link

	running sync.WaitGroup
	usage   atomic.Pointer[engine.Usage] // nil until known
	mu      sync.Mutex                   // guards what follows
	cancels map[uint64]context.CancelFunc
	stops   map[uint64]func() // of the same calls
	engine  engine.Engine     // nil until it is open
}

// Serve opens an engine and answers the calls of the Engine whose Start runs this program, until that is gone or closed;
// then it cancels what is being computed and closes the engine. An error is that of closing it, or of a peer that speaks
// otherwise: one of opening goes to Start. The pipes of the two are this program's until it ends.
func Serve(open Open) error {
	calls, answers, err := pipes()
	if err != nil {
		return fmt.Errorf("process: %w", err)
	}
	return serve(calls, answers, open)
}

func serve(in io.Reader, out io.Writer, open Open) (err error) {
	p := &program{link: newLink(in, out), cancels: map[uint64]context.CancelFunc{}, stops: map[uint64]func(){}}
	var first call
	switch err := p.link.read(&first); {
	case err == io.EOF:
		return nil
	case err != nil:
		return fmt.Errorf("process: reading the first call: %w", err)
	case first.Do != hello || first.Beat <= 0:
		return fmt.Errorf("process: the first call is %q with a beat of %v: must be %q and above 0", first.Do, first.Beat, hello)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.running.Go(func() { p.live(ctx, first.Beat) })
	read := make(chan error, 1)
	go func() { // ends with the input, which is waited for below
		read <- p.read(ctx)
		cancel()
	}()
	e, device, err := open(ctx)
	if err != nil {
		// Nobody reads the answer where the server is gone.
		_ = p.link.write(answer{ID: first.ID, News: done, Failed: fail(err)})
		err = <-read
		p.running.Wait()
		return err
	}
	p.mu.Lock()
	p.engine = e
	p.mu.Unlock()
	if r, reports := e.(engine.Reporter); reports {
		p.running.Go(func() { p.report(ctx, r, first.Beat) })
	}
	_ = p.link.write(answer{ID: first.ID, News: done, Opened: &opened{e.Costs(), device}, Kept: keeps(e, true)})
	err = <-read
	p.running.Wait()
	return errors.Join(err, e.Close())
}

// live gives a sign of life at every beat. One that can't be given has nobody who waits for it.
func (p *program) live(ctx context.Context, beat time.Duration) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		_ = p.link.write(answer{News: alive, Usage: p.usage.Load()})
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// reportBeats is how many beats lie between two looks at what the engine has taken.
const reportBeats = 5

// report keeps up to date what live reports of the engine's device. It is apart from that: a device that hangs, or
// whose programs are being compiled, may not answer for a while, and the program lives all the same.
func (p *program) report(ctx context.Context, r engine.Reporter, beat time.Duration) {
	t := time.NewTicker(reportBeats * beat)
	defer t.Stop()
	for {
		if u, known := r.Usage(); known {
			p.usage.Store(&u)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// read takes calls until the input ends.
func (p *program) read(ctx context.Context) error {
	for {
		var c call
		err := p.link.read(&c)
		if err == io.EOF {
			return nil
		}
		var j engine.Job
		if err == nil && c.Job != nil {
			j, err = c.Job.unpack(p.link)
		}
		var jobs []engine.Job
		if err == nil {
			jobs, err = c.unpackJobs(p.link)
		}
		if err != nil {
			return fmt.Errorf("process: reading a call: %w", err)
		}
		if c.Do == together {
			p.takeTogether(ctx, c, jobs)
		} else {
			p.take(ctx, c, j)
		}
	}
}

// take begins a call, or ends another.
func (p *program) take(ctx context.Context, c call, j engine.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c.Do {
	case cancelCall:
		if cancel := p.cancels[c.ID]; cancel != nil { // else it was answered meanwhile
			cancel()
		}
		return
	case stopCall:
		if stop := p.stops[c.ID]; stop != nil {
			stop()
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p.cancels[c.ID] = cancel
	p.makeStop(c.ID, &j)
	p.running.Go(func() {
		a, raw := p.do(ctx, c, j)
		p.end(a, raw)
		cancel()
	})
}

// makeStop gives a job's request a Stop of its own. The caller holds mu.
func (p *program) makeStop(id uint64, j *engine.Job) {
	stop := make(chan struct{})
	j.Request.Stop = stop
	p.stops[id] = sync.OnceFunc(func() { close(stop) })
}

// end answers a call.
func (p *program) end(a answer, raw [][]byte) {
	p.mu.Lock()
	delete(p.cancels, a.ID)
	delete(p.stops, a.ID)
	p.mu.Unlock()
	// An answer that can't be given has nobody who waits for it: the server is gone, which ends the input too.
	if err := p.link.write(a, raw...); errors.Is(err, errHeader) {
		_ = p.link.write(answer{ID: a.ID, News: done, Failed: fail(err)})
	}
}

// do makes a call; raw are the raw data of its result.
func (p *program) do(ctx context.Context, c call, j engine.Job) (a answer, raw [][]byte) {
	p.mu.Lock()
	e := p.engine
	p.mu.Unlock()
	var result *sdxl.Result
	var err error
	switch {
	case e == nil:
		err = errNotOpen
	case c.Do != generate || c.Job == nil:
		err = fmt.Errorf("process: call %q: must be %q, with a job", c.Do, generate)
	default:
		p.listen(c.ID, e, c.Job.Request.PreviewEvery, &j)
		result, err = e.Generate(ctx, j)
	}
	return outcome(c.ID, e, result, err)
}

// listen has the server hear of a job's computation.
func (p *program) listen(id uint64, e engine.Engine, previewEvery int, j *engine.Job) {
	j.Request.Progress = func(at sdxl.Progress) { _ = p.link.write(answer{ID: id, News: stepped, Step: &at}) }
	if previewEvery > 0 {
		j.Request.Preview = &sdxl.Preview{Every: previewEvery, Func: func(step int, images []*image.NRGBA) {
			if packed, raw, err := packPreview(step, images); err == nil { // of *image.NRGBA, which can be packed
				_ = p.link.write(answer{ID: id, News: previewed, Preview: packed}, raw...)
			}
		}}
	}
	j.Request.OnComputed = func() { _ = p.link.write(answer{ID: id, News: computed}) }
	j.OnLoading = func(percent float64) {
		_ = p.link.write(answer{ID: id, News: loading, Percent: percent, Kept: keeps(e, false)})
	}
}

// outcome is the answer to a call; raw are the raw data of its result. The engine is nil where it is not open yet.
func outcome(id uint64, e engine.Engine, result *sdxl.Result, err error) (a answer, raw [][]byte) {
	a = answer{ID: id, News: done}
	if err == nil {
		a.Result, raw, err = packResult(result)
	}
	if err != nil {
		a.Failed = fail(err)
	}
	if e != nil {
		a.Kept = keeps(e, true)
		if lost := e.Lost(); lost != nil {
			a.Lost = lost.Error()
		}
	}
	return a, raw
}

// keeps describes the models of an engine, nil if it is no engine.Keeper.
func keeps(e engine.Engine, costs bool) *keeping {
	keeper, ok := e.(engine.Keeper)
	if !ok {
		return nil
	}
	k := &keeping{Models: keeper.Models()}
	if costs {
		k.Costs = new(keeper.Costs())
	}
	return k
}
