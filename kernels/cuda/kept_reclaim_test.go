package cuda

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// TestKeptReclaimed: what finds no memory gets what is kept, and does its work; the next update keeps again.
func TestKeptReclaimed(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, chained := compileChain(t, d)
	if err := prog.Run(ctx); err != nil {
		t.Fatal(err)
	}
	w, src, _ := loads(t, d)
	u := merging(src)
	rows, whole, factors := mergedBytes(src, u)
	if err := errors.Join(w.SetResident(ctx, true), w.Update(ctx, u)); err != nil {
		t.Fatal(err)
	}
	alloc := func(n int64) error {
		at, err := d.memory.alloc(n)
		return errors.Join(err, d.memory.free(at))
	}
	launch := func() error { return prog.Run(ctx) }
	for _, what := range []struct {
		name string
		do   func() error
	}{
		{"an allocation on a full card", func() error {
			f.Fail("cuMemAlloc_v2", 1, driver.OutOfMemory)
			return alloc(1 << 20)
		}},
		{"an allocation up to the limit", func() error {
			d.memory.limit = d.memory.used + 32<<20
			defer func() { d.memory.limit = 0 }()
			return alloc(32 << 20)
		}},
		{"a graph to launch", func() error {
			f.Fail("cuGraphLaunch", 1, driver.OutOfMemory)
			return launch()
		}},
		{"a graph to make", func() error {
			d.arena.generation++ // as if it had moved
			f.Fail("cuGraphInstantiate_v2", 1, driver.OutOfMemory)
			return launch()
		}},
		{"the slots of an update", func() error {
			f.Fail("cuMemAlloc_v2", 1, driver.OutOfMemory)
			return w.Update(ctx, nil)
		}},
	} {
		if d.memory.kept != whole {
			t.Fatalf("%d bytes are kept, want %d", d.memory.kept, whole)
		}
		if err := what.do(); err != nil {
			t.Errorf("%s: %v", what.name, err)
		}
		if d.memory.kept != 0 {
			t.Errorf("%s: %d bytes are kept still", what.name, d.memory.kept)
		}
		if n := uploaded(t, f, func() error { return w.Update(ctx, u) }); n < rows+factors {
			t.Errorf("after %s an update copies %d bytes, want %d at least", what.name, n, rows+factors)
		}
	}
	var limit *LimitError
	d.memory.limit = d.memory.used + 32<<20
	if err := alloc(33 << 20); !errors.As(err, &limit) || limit.Used != d.memory.used || limit.Need != 33<<20 || d.memory.kept != 0 {
		t.Errorf("too much: %v, %+v, %d kept", err, limit, d.memory.kept)
	}
	d.memory.limit = 0
	if err := errors.Join(prog.Close(), chained.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestKeptFails: a load that fails in the middle keeps nothing new, and what was kept before it stays. A card that has no
// block as large as what is to be kept is no error.
func TestKeptFails(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	all := merging(src)
	some := &kernels.Update{LowRank: maps.Clone(all.LowRank)}
	maps.DeleteFunc(some.LowRank, func(name string, _ []kernels.LowRank) bool { return name == list[0].name })
	_, first, _ := mergedBytes(src, some)
	rest := 2 * align(int64(len(src.data[list[0].name])))
	if err := w.SetResident(ctx, true); err != nil {
		t.Fatal(err)
	}
	f.Fail("cuMemAlloc_v2", 2, driver.OutOfMemory) // behind the slots
	if err := w.Update(ctx, some); err != nil || d.memory.kept != 0 {
		t.Errorf("no room to keep: %v, %d bytes are kept", err, d.memory.kept)
	}
	if err := w.Update(ctx, some); err != nil || d.memory.kept != first {
		t.Errorf("%v, %d bytes are kept, want %d", err, d.memory.kept, first)
	}
	for _, call := range []string{"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoDAsync_v2", "cuLaunchKernel"} {
		f.Fail(call, 20, driver.InvalidValue)
		if err := w.Update(ctx, all); !errors.Is(err, driver.InvalidValue) || d.memory.kept != first {
			t.Errorf("%s failed: %v, %d bytes are kept, want %d", call, err, d.memory.kept, first)
		}
	}
	if err := w.Update(ctx, all); err != nil || d.memory.kept != first+rest {
		t.Errorf("%v, %d bytes are kept, want %d", err, d.memory.kept, first+rest)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestKeptConcurrently reclaims all the time while updates run: the fake looks for what is used after it is freed.
func TestKeptConcurrently(t *testing.T) {
	d, _ := fakeDevice(t, Options{}, 1<<30)
	w, src, _ := loads(t, d)
	if err := w.SetResident(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	updates := []*kernels.Update{merging(src), merging(src), nil}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := d.kept.reclaim(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, u := range slices.Concat(updates, updates) {
		if err := w.Update(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
