package cpu

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// spins is how often a thread with nothing to do looks again before it sleeps: some tens of microseconds, longer than
// the gap between two nodes and far shorter than a node.
const spins = 1 << 12

// workers share the parts of a task, for as long as the device is open; the goroutine that calls run is worker 0. They
// run one task at a time: callers hold the engine's mutex.
type workers struct {
	threads int
	task    task
	// parts packs the number of parts (high half) and the next one to take (low half) in one word, so that a worker
	// that wakes late takes a part of the task that is current when it takes it, or none.
	parts   atomic.Uint64
	done    atomic.Uint32 // parts finished
	waiting atomic.Bool   // the caller sleeps until finished
	// finished wakes the caller.
	finished chan struct{}
	closed   atomic.Bool
	parked   atomic.Int32 // workers asleep, or about to be
	mu       sync.Mutex   // guards cause, and is wake's
	wake     sync.Cond
	cause    error // the first panic of a part since failure was asked
	exited   sync.WaitGroup
}

func newWorkers(threads int) *workers {
	p := &workers{threads: threads, finished: make(chan struct{}, 1)}
	p.wake.L = &p.mu
	for w := 1; w < threads; w++ {
		p.exited.Go(func() { p.work(w) })
	}
	return p
}

// count returns how many workers there are; their numbers are 0 to count()-1.
func (p *workers) count() int { return p.threads }

// run does the n parts of t and returns when all are done. A part that panics counts as done; failure returns it.
func (p *workers) run(n int, t task) {
	if n <= 0 {
		return
	}
	if n == 1 || p.threads == 1 {
		for i := range n {
			p.part(t, 0, i)
		}
		return
	}
	p.task = t
	p.done.Store(0)
	p.parts.Store(uint64(n) << 32)
	if p.parked.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	p.take(0)
	for i := range spins {
		if p.done.Load() == uint32(n) {
			return
		}
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	for p.done.Load() != uint32(n) {
		p.waiting.Store(true)
		if p.done.Load() == uint32(n) && p.waiting.CompareAndSwap(true, false) {
			return
		}
		// The worker that did the last part of the task before may be late to look at waiting, so this may wake too
		// early.
		<-p.finished
	}
}

// take does parts until none is left.
func (p *workers) take(w int) {
	for {
		s := p.parts.Load()
		n, i := uint32(s>>32), uint32(s)
		if i >= n {
			return
		}
		if !p.parts.CompareAndSwap(s, s+1) {
			continue
		}
		// The task cannot change before this part is done.
		p.part(p.task, w, int(i))
		if p.done.Add(1) == n && p.waiting.CompareAndSwap(true, false) {
			p.finished <- struct{}{}
		}
	}
}

// part does one part and keeps what it panics with.
func (p *workers) part(t task, w, i int) {
	defer func() {
		if r := recover(); r != nil {
			p.fail(fmt.Errorf("part %d of %T: %v\n%s", i, t, r, debug.Stack()))
		}
	}()
	t.do(w, i)
}

// fail keeps the first error.
func (p *workers) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.cause = err
	}
}

// failure returns the first panic of a part since it was last asked, as an error, or nil.
func (p *workers) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.cause
	p.cause = nil
	return err
}

func (p *workers) idle() bool {
	s := p.parts.Load()
	return uint32(s) >= uint32(s>>32) && !p.closed.Load()
}

// work is the life of worker w: look for parts a while, then sleep until run or close wakes it.
func (p *workers) work(w int) {
	debug.SetPanicOnFault(true) // a mapped file that was cut off is an error of the run
	for !p.closed.Load() {
		p.take(w)
		for i := 0; i < spins && p.idle(); i++ {
			if i%64 == 63 {
				runtime.Gosched()
			}
		}
		if !p.idle() {
			continue
		}
		p.mu.Lock()
		p.parked.Add(1)
		for p.idle() {
			p.wake.Wait()
		}
		p.parked.Add(-1)
		p.mu.Unlock()
	}
}

// close ends the workers and waits for them; no run may be in progress.
func (p *workers) close() {
	p.closed.Store(true)
	p.mu.Lock()
	p.wake.Broadcast()
	p.mu.Unlock()
	p.exited.Wait()
}
