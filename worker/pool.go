package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/engine"
)

// Config says what a pool does. Source and Resolve are required.
type Config struct {
	Source  Source
	Devices []string // their names, until an engine has another DeviceName; none is one device without a name
	// Load opens the models on a device: on all at once by Pool.Load, and on one again after Lost. With nil the pool has no
	// device.
	Load func(device int) (engine.Engine, error)
	// Loaded is called with each engine that was opened, before it has a job; took is how long that took. It must not
	// call the pool.
	Loaded func(device int, name string, costs engine.Costs, took time.Duration)
	// Opened is called after a job whose engine opened a model for it that was never open before, with the costs of all of
	// them; nil is not.
	Opened func(device int, costs engine.Costs)

	// Kept is called after each attempt that brought its images to the disk, before their job is done, and Lost when the
	// engine of a device has failed or died; nil are not.
	Kept func(Attempt)
	Lost func(device string)

	// Batch is how many jobs that wait, and can share their steps, a device computes together; 0 is 1. The Source must be a
	// [Batcher] for more. Batched is called with their number before each computation; nil is not.
	Batch   int
	Batched func(device string, jobs int)

	Shared Shared
	// Resolve resolves a task anew, of whose images one has another size than when it was submitted. The warning is for
	// the client, "" for none.
	Resolve func(t *Task) (warning string, err error)

	// Elsewhere tells whether takers beside the pool may compute a job that is too large for every device of it: the job is
	// left to them then. It is called while the source is locked: it must be quick, and not use that. nil is nobody.
	Elsewhere func(j *job.Job) bool

	Timeout      time.Duration // for a job to compute, from when it has its device, times the jobs computed with it; 0 is none
	TimeoutWords string        // for the client of one that took longer; "" is TookTooLongWords
	Version      string        // of the program, for the images
	Log          *slog.Logger  // nil discards
}

// Pool computes jobs on a number of devices.
type Pool struct {
	config   Config
	devices  []*device
	encoders encoders

	loops sync.WaitGroup // of the devices, and of their computations

	stopped context.Context // ends when no more jobs are taken
	stop    context.CancelFunc

	mu       sync.Mutex
	closed   bool
	down     map[int]bool        // devices that failed and could not be loaded again yet
	allDown  chan struct{}       // closed while all are down
	running  int                 // jobs that are being computed or kept
	idle     chan struct{}       // closed while none is
	refusals map[string]*refusal // by job
}

// refusal is what the pool remembers of a job that goes from device to device, since it is too large.
type refusal struct {
	by   map[int]bool // devices that have too little memory for it
	last *Error
}

// NewPool returns a pool that has no models yet.
func NewPool(c Config) *Pool {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TimeoutWords == "" {
		c.TimeoutWords = TookTooLongWords
	}
	n := max(1, len(c.Devices))
	if c.Load == nil {
		n = 0
	}
	p := &Pool{
		config: c, encoders: newEncoders(n * max(1, c.Batch)), down: map[int]bool{}, refusals: map[string]*refusal{},
		allDown: make(chan struct{}), idle: make(chan struct{}),
	}
	close(p.idle)
	p.stopped, p.stop = context.WithCancel(context.Background())
	for i := range n {
		d := &device{index: i}
		if len(c.Devices) > 0 {
			d.name = c.Devices[i]
		}
		p.devices = append(p.devices, d)
	}
	return p
}

// Load opens the models on every device, each of which takes jobs from then on.
func (p *Pool) Load() error {
	errs := make([]error, len(p.devices))
	var all sync.WaitGroup
	for i, d := range p.devices {
		all.Go(func() {
			if errs[i] = p.load(d); errs[i] != nil {
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.closed { // else Close waits no more
				p.loops.Go(func() { p.serve(d) })
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// States are those of the devices, by index.
func (p *Pool) States() []State {
	states := make([]State, len(p.devices))
	for i, d := range p.devices {
		states[i] = d.state()
	}
	return states
}

// Health says of each device that has a name what its state is.
func (p *Pool) Health() map[string]State {
	states := map[string]State{}
	for _, d := range p.devices {
		if name := d.deviceName(); name != "" {
			states[name] = d.state()
		}
	}
	return states
}

// Usage is what the engines report that they have taken of their devices, by the devices' names.
func (p *Pool) Usage() map[string]engine.Usage {
	all := map[string]engine.Usage{}
	for _, d := range p.devices {
		if u, known := d.usage(); known {
			all[d.deviceName()] = u
		}
	}
	return all
}

// Check has those devices opened again that were lost while they computed nothing, as when the system killed an engine's
// process. Jobs that were left to others are looked at again: nobody may be left who could compute them.
func (p *Pool) Check() {
	p.forgetEnded()
	p.mu.Lock()
	left := p.config.Elsewhere != nil && len(p.refusals) > 0
	p.mu.Unlock()
	for _, d := range p.devices {
		if left || d.failure() != nil {
			d.wake()
		}
	}
}

// Down is closed while no device is left: all have failed and can't be opened again yet.
func (p *Pool) Down() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.allDown
}

// Wait waits until nothing is computed or kept, or fails with the context's cause.
func (p *Pool) Wait(ctx context.Context) error {
	p.mu.Lock()
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopGrace is what a computation may take to notice that it was stopped, and a model to be loaded.
const stopGrace = 15 * time.Second

// Close waits for the computations to end, and frees the models. The source must be closed, which ends them.
func (p *Pool) Close() error {
	p.stop()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	over := make(chan struct{})
	go func() { // ends with the last computation, or with the process
		defer close(over)
		p.loops.Wait()
	}()
	select {
	case <-over:
	case <-time.After(stopGrace): // the models are in use: leave them to the end of the process
		return fmt.Errorf("a computation did not stop in %v, or a lost device was not opened again", stopGrace)
	}
	var errs []error
	for _, d := range p.devices {
		errs = append(errs, d.close())
	}
	return errors.Join(errs...)
}

// begin counts a job that is being computed.
func (p *Pool) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 {
		p.idle = make(chan struct{})
	}
	p.running++
}

func (p *Pool) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running--; p.running == 0 {
		close(p.idle)
	}
}
