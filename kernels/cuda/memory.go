package cuda

import (
	"fmt"
	"sync"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// alignment of every value, in bytes: what wide loads need, and a line of the second-level cache.
const alignment = 256

func align(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// pool counts what is allocated and keeps it below a limit.
type pool struct {
	context *driver.Context
	limit   int64 // 0: what the card has

	mu     sync.Mutex
	used   int64
	blocks map[driver.Ptr]int64
}

// LimitError is an allocation beyond Options.Memory. Sizes in bytes.
type LimitError struct{ Need, Used, Limit int64 }

func (e *LimitError) Error() string {
	return fmt.Sprintf("cuda: %d MiB needed, %d MiB of the %d MiB that the device may take are in use: raise the limit, or choose a smaller size or batch",
		e.Need>>20, e.Used>>20, e.Limit>>20)
}

// alloc returns n bytes, or 0 for none.
func (p *pool) alloc(n int64) (driver.Ptr, error) {
	if n == 0 {
		return 0, nil
	}
	n = align(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit > 0 && p.used+n > p.limit {
		return 0, &LimitError{Need: n, Used: p.used, Limit: p.limit}
	}
	at, err := p.context.Alloc(n)
	if err != nil {
		return 0, err
	}
	if p.blocks == nil {
		p.blocks = map[driver.Ptr]int64{}
	}
	p.blocks[at] = n
	p.used += n
	return at, nil
}

// free gives a block back; 0 is none.
func (p *pool) free(at driver.Ptr) error {
	if at == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= p.blocks[at]
	delete(p.blocks, at)
	return p.context.Free(at)
}

// arena is memory for one run: temporaries and scratch of whichever program runs.
type arena struct {
	at   driver.Ptr
	size int64
	// generation counts the times that memory moved, so that programs know when to record their launches again.
	generation uint64
}

// resize makes the arena hold n bytes; it moves if it has to grow, or if less than half of it is needed. Nothing may be running in it.
func (a *arena) resize(p *pool, n int64, idle func() error) error {
	if n <= a.size && n > a.size/2 || n == a.size {
		return nil
	}
	if a.size > 0 {
		if err := idle(); err != nil {
			return err
		}
		if err := a.free(p); err != nil {
			return err
		}
	}
	at, err := p.alloc(n)
	if err != nil {
		return fmt.Errorf("arena: %w", err)
	}
	a.at, a.size = at, n
	a.generation++
	return nil
}

func (a *arena) free(p *pool) error {
	at := a.at
	a.at, a.size = 0, 0
	return p.free(at)
}
