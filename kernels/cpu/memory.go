package cpu

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/goxl/goxl/kernels"
)

// DefaultMemory is what a device may take unless Options.Memory says otherwise: 80 % of SystemMemory. The rest is for
// images, for the process's other memory, and for garbage that is not collected yet.
func DefaultMemory() int64 { return SystemMemory() / 5 * 4 }

// SystemMemory is what the system allows the process, in bytes: the machine's memory, or the limit of the control group
// (version 1 or 2) that the process is in, or of one around that, where it is less; 0 if the system reports neither.
func SystemMemory() int64 {
	total := int64(math.MaxInt64)
	for _, limit := range []memlimit.Provider{memlimit.FromSystem, memlimit.FromCgroup} {
		if n, err := limit(); err == nil && n > 0 { // an error says that there is none, or that it is unknown
			total = int64(min(uint64(total), n))
		}
	}
	if total == math.MaxInt64 {
		return 0
	}
	return total
}

// budget counts what a device has taken of the process's memory and keeps it below a limit. Sizes are in bytes.
type budget struct {
	limit int64

	mu    sync.Mutex
	held  int64 // by programs of their own, and by weights
	arena int64
	peak  int64
}

// newBudget has a limit, 0 is none.
func newBudget(limit int64) budget {
	if limit == 0 {
		limit = math.MaxInt64
	}
	return budget{limit: limit}
}

// take counts n bytes more that are held.
func (b *budget) take(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set(b.held+n, b.arena)
}

// give counts n bytes less.
func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
}

// resize counts an arena of n bytes in place of the one that there was.
func (b *budget) resize(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set(b.held, n)
}

// set changes both if that keeps the limit; less than before always does.
func (b *budget) set(held, arena int64) error {
	if held+arena > b.limit && held+arena > b.held+b.arena {
		return &kernels.MemoryError{Needed: held + arena, Allowed: b.limit}
	}
	b.held, b.arena = held, arena
	b.peak = max(b.peak, held+arena)
	return nil
}

// Memory implements kernels.Device.
func (d *Device) Memory() (kernels.Memory, error) {
	b := &d.memory
	b.mu.Lock()
	defer b.mu.Unlock()
	return kernels.Memory{Limit: b.limit, Used: b.held + b.arena, Peak: b.peak, Arena: b.arena}, nil
}

// take counts n bytes more that are held; an arena that nobody runs in makes room for them.
func (d *Device) take(n int64) error {
	err := d.memory.take(n)
	if err != nil && d.ifIdle(d.drop) {
		err = d.memory.take(n)
	}
	return err
}

// idleTime is how long the arena stays after a run. Taking it anew costs as much as reading and writing all of it once
// or twice, which images that follow one another are not to pay.
const idleTime = 10 * time.Second

// rest gives a large arena back to the system; the next run takes it again.
func (d *Device) rest() {
	d.ifIdle(func() {
		if d.arena.bytes() >= largeArena {
			d.drop()
		}
	})
}

// shrink drops the arena if the open programs need less than half of it, and none of them is running.
func (d *Device) shrink() {
	d.ifIdle(func() {
		if d.need() <= len(d.arena.memory)/2 {
			d.drop()
		}
	})
}

// ifIdle does something with the engine's mutex held, unless a program is running, and reports whether it did.
func (d *Device) ifIdle(do func()) bool {
	if !d.engine.TryLock() {
		return false
	}
	defer d.engine.Unlock()
	do()
	return true
}

// drop lets go of the arena; the engine's mutex must be held.
func (d *Device) drop() {
	_ = d.memory.resize(0) // less is never refused
	d.arena.move(0)
}

// move gives the arena another size, which the budget may refuse; the engine's mutex must be held.
func (d *Device) move(n int) error {
	if err := d.memory.resize(4 * int64(n)); err != nil {
		return err
	}
	d.arena.move(n)
	return nil
}

// reserve makes the arena hold n float32 and, so that it need not move again soon, as many as any open program needs
// where there is room for that. The engine's mutex must be held.
func (d *Device) reserve(n int) error {
	a := &d.arena
	if most := max(n, d.need()); a.suits(most) || most > n && d.move(most) == nil {
		return nil
	}
	if a.suits(n) {
		return nil
	}
	if err := d.move(n); err != nil {
		return fmt.Errorf("cpu: values of a run: %w", err)
	}
	return nil
}
