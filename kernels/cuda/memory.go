package cuda

import (
	"errors"
	"fmt"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// alignment of every value, in bytes: what wide loads need, and a line of the second-level cache.
const alignment = 256

func align(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// allocator counts what is allocated and keeps it below a limit.
type allocator struct {
	context *driver.Context
	limit   int64 // 0: what the card has

	mu         sync.Mutex
	used, peak int64
	blocks     map[driver.Ptr]int64
}

// LimitError is an allocation beyond Options.Memory. Sizes in bytes. errors.Is finds kernels.ErrMemory in it, and
// errors.As a *kernels.MemoryError.
type LimitError struct{ Need, Used, Limit int64 }

func (e *LimitError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("cuda: out of memory: %.1f MiB needed, %.1f MiB free of the %.1f MiB that the device may take: "+
		"choose a smaller size or batch, or raise the limit", float64(e.Need)/mib, float64(e.Limit-e.Used)/mib, float64(e.Limit)/mib)
}

// Unwrap returns the sizes as every device tells them.
func (e *LimitError) Unwrap() error {
	return &kernels.MemoryError{Needed: e.Used + e.Need, Allowed: e.Limit}
}

// fullError is something that the card had no memory for: an allocation, kernels or a graph.
type fullError struct{ error }

func (e fullError) Is(target error) bool { return target == kernels.ErrMemory }
func (e fullError) Unwrap() error        { return e.error }

// full makes a fullError of what the card had no memory for, and returns any other error as it is.
func full(err error) error {
	var memory *driver.OutOfMemoryError
	if errors.As(err, &memory) && !memory.Host {
		return fullError{err}
	}
	return err
}

// alloc returns n bytes, or 0 for none.
func (m *allocator) alloc(n int64) (driver.Ptr, error) {
	if n == 0 {
		return 0, nil
	}
	n = align(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit > 0 && m.used+n > m.limit {
		return 0, &LimitError{Need: n, Used: m.used, Limit: m.limit}
	}
	at, err := m.context.Alloc(n)
	if err != nil {
		return 0, full(err)
	}
	if m.blocks == nil {
		m.blocks = map[driver.Ptr]int64{}
	}
	m.blocks[at] = n
	m.used += n
	m.peak = max(m.peak, m.used)
	return at, nil
}

// free gives a block back; 0 is none.
func (m *allocator) free(at driver.Ptr) error {
	if at == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= m.blocks[at]
	delete(m.blocks, at)
	return m.context.Free(at)
}

// Memory implements kernels.Device. The driver's own memory (context, kernels, graphs) is not in Used.
func (d *Device) Memory() (kernels.Memory, error) {
	d.engine.Lock() // the arena is guarded by it
	defer d.engine.Unlock()
	a := &d.memory
	a.mu.Lock()
	defer a.mu.Unlock()
	m := kernels.Memory{Limit: a.limit, Used: a.used, Peak: a.peak, Arena: align(d.arena.size)}
	free, _, err := d.context.MemInfo()
	if err != nil {
		return m, err
	}
	if free = max(0, free-driverBytes); m.Limit == 0 || m.Limit > m.Used+free {
		m.Limit = m.Used + free
	}
	return m, nil
}

// driverBytes is what the driver may still take for kernels and graphs.
const driverBytes = 128 << 20

// arena is memory for one run: temporaries and scratch of whichever program runs.
type arena struct {
	at   driver.Ptr
	size int64
	// generation counts the times that memory moved, so that programs know when to record their launches again.
	generation uint64
}

// reserve makes the arena hold n bytes at least, and wish bytes, so that it need not move again soon, where there is
// room. Nothing may be running in it when idle has returned.
func (a *arena) reserve(from *allocator, n, wish int64, idle func() error) error {
	if n <= a.size {
		return nil
	}
	if err := a.resize(from, max(n, wish), idle); !errors.Is(err, kernels.ErrMemory) || wish <= n {
		return err
	}
	return a.resize(from, n, idle)
}

// resize makes the arena hold n bytes and no more. After an error it holds none.
func (a *arena) resize(from *allocator, n int64, idle func() error) error {
	if n == a.size {
		return nil
	}
	if a.size > 0 {
		if err := idle(); err != nil {
			return err
		}
		if err := a.free(from); err != nil {
			return err
		}
	}
	at, err := from.alloc(n)
	if err != nil {
		return fmt.Errorf("arena: %w", err)
	}
	a.at, a.size = at, n
	a.generation++
	return nil
}

func (a *arena) free(from *allocator) error {
	at := a.at
	a.at, a.size = 0, 0
	return from.free(at)
}
