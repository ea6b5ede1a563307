package cpu

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countTask counts how often each part is done, and that no worker does two at once.
type countTask struct {
	parts []atomic.Int32
	busy  []atomic.Int32
	fail  int
	wrong atomic.Bool
}

func (c *countTask) do(w, i int) {
	if c.busy[w].Add(1) != 1 {
		c.wrong.Store(true)
	}
	c.parts[i].Add(1)
	c.busy[w].Add(-1)
	if i == c.fail {
		panic("broken part")
	}
}

func TestPool(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := newPool(threads)
		for round := range 3000 {
			n := round % 23
			c := &countTask{parts: make([]atomic.Int32, n), busy: make([]atomic.Int32, threads), fail: -1}
			if round%500 == 499 {
				time.Sleep(2 * time.Millisecond) // long enough for the workers to sleep
			}
			p.run(n, c)
			for i := range c.parts {
				if got := c.parts[i].Load(); got != 1 {
					t.Fatalf("%d threads, round %d: part %d of %d done %d times", threads, round, i, n, got)
				}
			}
			if c.wrong.Load() {
				t.Fatal("one worker did two parts at once")
			}
		}
		if err := p.failure(); err != nil {
			t.Error(err)
		}
		c := &countTask{parts: make([]atomic.Int32, 40), busy: make([]atomic.Int32, threads), fail: 17}
		p.run(40, c)
		if err := p.failure(); err == nil || !strings.Contains(err.Error(), "part 17 of *cpu.countTask: broken part") {
			t.Errorf("a panic in a part gave %v", err)
		}
		if err := p.failure(); err != nil {
			t.Errorf("the failure came twice: %v", err)
		}
		p.close()
	}
}

func TestPoolEndsItsWorkers(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newPool(8)
	p.run(100, &countTask{parts: make([]atomic.Int32, 100), busy: make([]atomic.Int32, 8), fail: -1})
	p.close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after close", before, runtime.NumGoroutine())
}

func BenchmarkPool(b *testing.B) {
	p := newPool(runtime.GOMAXPROCS(0))
	defer p.close()
	n := p.workers()
	c := &countTask{parts: make([]atomic.Int32, n), busy: make([]atomic.Int32, n), fail: -1}
	for b.Loop() {
		p.run(n, c)
	}
}
