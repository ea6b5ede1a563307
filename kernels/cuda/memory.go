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
	kept       int64 // by the cache, not in used
	blocks     map[driver.Ptr]int64

	// reclaim frees what the cache has, if not nil, and reports whether that was anything. It is called without mu.
	reclaim func() (freed bool, err error)
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
func (m *allocator) alloc(n int64) (at driver.Ptr, err error) {
	err = m.orReclaim(func() error {
		at, err = m.take(n, &m.used)
		return err
	})
	return at, err
}

// orReclaim does what may find no memory, and again if that is so and the cache had some.
func (m *allocator) orReclaim(do func() error) error {
	for {
		err := do()
		if m.reclaim == nil || !errors.Is(err, kernels.ErrMemory) {
			return err
		}
		if freed, failed := m.reclaim(); !freed || failed != nil {
			return errors.Join(err, failed)
		}
	}
}

// keep returns n bytes for the cache, or 0 for none.
func (m *allocator) keep(n int64) (driver.Ptr, error) { return m.take(n, &m.kept) }

// take returns n bytes, which count says what are for.
func (m *allocator) take(n int64, count *int64) (driver.Ptr, error) {
	if n == 0 {
		return 0, nil
	}
	n = align(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if used := m.used + m.kept; m.limit > 0 && used+n > m.limit {
		return 0, &LimitError{Need: n, Used: used, Limit: m.limit}
	}
	at, err := m.context.Alloc(n)
	if err != nil {
		return 0, full(err)
	}
	if m.blocks == nil {
		m.blocks = map[driver.Ptr]int64{}
	}
	m.blocks[at] = n
	*count += n
	m.peak = max(m.peak, m.used)
	return at, nil
}

// free gives a block of alloc back; 0 is none.
func (m *allocator) free(at driver.Ptr) error { return m.give(at, &m.used) }

// drop gives a block of keep back.
func (m *allocator) drop(at driver.Ptr) error { return m.give(at, &m.kept) }

func (m *allocator) give(at driver.Ptr, count *int64) error {
	if at == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	*count -= m.blocks[at]
	delete(m.blocks, at)
	return m.context.Free(at)
}

// spare is how many bytes the cache may take more: an eighth of what the device may take stays free, and reserve bytes
// at least.
func (m *allocator) spare(reserve int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.report()
	if err != nil {
		return 0
	}
	return all.Limit - all.Used - m.kept - max(all.Limit/8, reserve)
}

// report is Memory without the arena; mu must be held.
func (m *allocator) report() (kernels.Memory, error) {
	all := kernels.Memory{Limit: m.limit, Used: m.used, Peak: m.peak}
	free, _, err := m.context.MemInfo()
	if err != nil {
		return all, err
	}
	if free = max(0, free+m.kept-driverBytes); all.Limit == 0 || all.Limit > all.Used+free {
		all.Limit = all.Used + free
	}
	return all, nil
}

// Memory implements kernels.Device. The driver's own memory (context, kernels, graphs) is not in Used, and neither is the
// cache of what updates are merged into: it counts as free.
func (d *Device) Memory() (kernels.Memory, error) {
	d.engine.Lock() // the arena is guarded by it
	defer d.engine.Unlock()
	d.memory.mu.Lock()
	defer d.memory.mu.Unlock()
	m, err := d.memory.report()
	m.Arena = align(d.arena.size)
	return m, err
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
