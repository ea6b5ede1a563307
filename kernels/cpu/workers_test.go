package cpu

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, threads := range []int{1, 2, 5} {
			p := newWorkers(threads)
			for round := range 3000 {
				n := round % 23
				c := &countTask{parts: make([]atomic.Int32, n), busy: make([]atomic.Int32, threads), fail: -1}
				if round%500 == 499 {
					synctest.Wait() // until all workers sleep
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
	})
}

// TestWorkersEnd leaves a synctest bubble, which no goroutine may outlive: a worker that is still there is a
// failure, however long it would take to end.
func TestWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, parts := range []int{0, 1, 100} {
			p := newWorkers(8)
			p.run(parts, &countTask{parts: make([]atomic.Int32, parts), busy: make([]atomic.Int32, 8), fail: -1})
			synctest.Wait() // all sleep
			p.close()
		}
	})
}

func BenchmarkWorkers(b *testing.B) {
	p := newWorkers(runtime.GOMAXPROCS(0))
	defer p.close()
	n := p.count()
	c := &countTask{parts: make([]atomic.Int32, n), busy: make([]atomic.Int32, n), fail: -1}
	for b.Loop() {
		p.run(n, c)
	}
}
