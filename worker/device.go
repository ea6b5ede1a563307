package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/goxl/goxl/server/engine"
)

// Pauses between attempts to load what was lost: the first, doubled up to the longest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// device has an engine, and a goroutine of the pool that computes on it.
type device struct {
	index int
	calls sync.WaitGroup // of the engine's Generate: it is closed after them

	// mu guards what follows. The device's goroutine writes it.
	mu     sync.RWMutex
	name   string             // of the device; may be ""
	engine engine.Engine      // nil until loaded, and while lost
	lost   bool               // it was loaded once, and failed
	waits  context.CancelFunc // ends the wait for a job; nil before the first
	warm   map[string]warmth  // what was used last, by job.Job.Model; of the engine
	priced int                // models whose costs are known; of the engine
}

// State of a device.
type State string

// The states of a device.
const (
	Loading State = "loading"
	Ready   State = "ready"
	Lost    State = "lost" // it failed and is opened again
)

func (d *device) state() State {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.engine != nil && d.engine.Lost() == nil:
		return Ready
	case d.engine != nil || d.lost:
		return Lost
	}
	return Loading
}

// failure is why the device's engine is lost while that is not being mended yet, nil if it isn't.
func (d *device) failure() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.engine == nil {
		return nil
	}
	return d.engine.Lost()
}

// deviceName is the name of the device.
func (d *device) deviceName() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.name
}

// attrs names the device, if it has a name, before other attributes.
func (d *device) attrs(more ...any) []any {
	name := d.deviceName()
	if name == "" {
		return more
	}
	return append([]any{slog.String("device", name)}, more...)
}

// usage asks the device's engine what it has taken, if it reports that.
func (d *device) usage() (engine.Usage, bool) {
	d.mu.RLock()
	r, reports := d.engine.(engine.Reporter)
	if reports {
		d.calls.Add(1) // while mu is held: close takes the engine away before it waits
	}
	d.mu.RUnlock()
	if !reports {
		return engine.Usage{}, false
	}
	defer d.calls.Done()
	return r.Usage()
}

// wake ends the device's wait for a job, so that it looks at its engine.
func (d *device) wake() {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.waits != nil {
		d.waits()
	}
}

// close frees the models after what is computed with them. Who asks for facts meanwhile is not held up.
func (d *device) close() error {
	d.mu.Lock()
	e := d.engine
	d.engine, d.warm, d.priced = nil, nil, 0
	d.mu.Unlock()
	if e == nil {
		return nil
	}
	d.calls.Wait()
	return e.Close()
}

// load opens the models on a device.
func (p *Pool) load(d *device) error {
	began := time.Now()
	e, err := p.config.Load(d.index)
	if err != nil {
		if name := d.deviceName(); name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		d.mu.Lock()
		if name := e.DeviceName(); name != "" {
			d.name = name
		}
		d.mu.Unlock()
		if p.config.Loaded != nil {
			p.config.Loaded(d.index, d.deviceName(), e.Costs(), time.Since(began)) // before a request can see the engine
		}
		d.mu.Lock()
		d.engine, d.lost = e, false
		d.mu.Unlock()
	}
	p.mu.Unlock()
	if closed {
		return e.Close()
	}
	p.setDown(d, false)
	return nil
}

// recover closes what a failed device held and loads it again, until that succeeds or the pool ends.
func (p *Pool) recover(d *device, cause error) {
	p.config.Log.Error("device lost", d.attrs(slog.String("error", cause.Error()))...)
	if p.config.Lost != nil {
		p.config.Lost(d.deviceName())
	}
	d.mu.Lock()
	d.lost = true
	d.mu.Unlock()
	if err := d.close(); err != nil {
		p.config.Log.Warn("closing the models of a lost device", d.attrs(slog.String("error", err.Error()))...)
	}
	for pause := firstPause; p.stopped.Err() == nil; pause = min(2*pause, longestPause) {
		err := p.load(d)
		if err == nil {
			return
		}
		p.config.Log.Error("device still lost", d.attrs(slog.String("error", err.Error()), slog.Duration("again_in", pause))...)
		p.setDown(d, true)
		select {
		case <-time.After(pause):
		case <-p.stopped.Done():
		}
	}
}

// setDown notes whether a device can't be loaded again. When all are down, allDown is closed; the devices that
// wait look anew at the jobs that another one was to have.
func (p *Pool) setDown(d *device, down bool) {
	p.mu.Lock()
	changed := p.down[d.index] != down
	all := len(p.down) == len(p.devices)
	if down {
		p.down[d.index] = true
	} else {
		delete(p.down, d.index)
	}
	switch {
	case !all && len(p.down) == len(p.devices):
		close(p.allDown)
	case all && len(p.down) < len(p.devices):
		p.allDown = make(chan struct{})
	}
	p.mu.Unlock()
	if changed {
		for _, other := range p.devices {
			other.wake()
		}
	}
}

// call is the device's engine for one computation, which done ends: close waits for it. It is an error once the pool is
// closed.
func (d *device) call() (e engine.Engine, done func(), err error) {
	d.calls.Add(1)
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.engine == nil {
		err = context.Canceled
	}
	return d.engine, d.calls.Done, err
}
