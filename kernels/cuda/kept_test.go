package cuda

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// uploaded is how many bytes some work copies to the card.
func uploaded(t *testing.T, f *drivertest.Fake, work func() error) (bytes int64) {
	t.Helper()
	before := len(f.Calls())
	if err := work(); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Calls()[before:] {
		if c.Name == "cuMemcpyHtoDAsync_v2" {
			bytes += int64(c.Args[2])
		}
	}
	return bytes
}

// mergedBytes are those of the tensors that an update merges products into, of the memory to keep them in, in which the
// largest counts twice, and of the products.
func mergedBytes(src *stored, u *kernels.Update) (rows, kept, factors int64) {
	largest := int64(0)
	for name, products := range u.LowRank {
		_, n := layFactors(products)
		bytes := align(int64(len(src.data[name])))
		rows, factors, largest = rows+bytes, factors+n, max(largest, bytes)
	}
	return rows, rows + largest, factors
}

// TestKept: the first update copies tensors and factors to the card, later ones factors alone, and going back nothing. An
// update of whole tensors copies its own.
// What is kept counts as free, does not grow, and goes with the weights.
func TestKept(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, _ := loads(t, d)
	if err := w.SetResident(ctx, true); err != nil {
		t.Fatal(err)
	}
	u := merging(src)
	rows, whole, factors := mergedBytes(src, u)
	before, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	merge := func() error { return w.Update(ctx, u) }
	if n := uploaded(t, f, merge); n < rows+factors {
		t.Errorf("the first update copies %d bytes, want %d at least", n, rows+factors)
	}
	if d.memory.kept != whole {
		t.Errorf("%d bytes are kept, want %d", d.memory.kept, whole)
	}
	back := int64(0)
	for range 3 {
		if n := uploaded(t, f, merge); n < factors || n > factors+factors/10 {
			t.Fatalf("another update copies %d bytes, want %d and at most a tenth more", n, factors)
		}
		back += uploaded(t, f, func() error { return w.Update(ctx, nil) })
	}
	if back > 0 {
		t.Errorf("going back to the source copies %d bytes", back)
	}
	replaced := &kernels.Update{Source: src, Whole: u.Names()}
	if n := uploaded(t, f, func() error { return w.Update(ctx, replaced) }); n < rows-int64(alignment*len(replaced.Whole)) {
		t.Errorf("an update of whole tensors copies %d bytes, want those of its source, %d", n, rows)
	}
	for name, held := range d.kept.blocks[0].tensors {
		data := make([]byte, len(src.data[name]))
		if err := d.down.download(ctx, d.stream, data, held.at); err != nil || !bytes.Equal(data, src.data[name]) {
			t.Fatalf("tensor %s is kept as something else than its source has: %v", name, err)
		}
	}
	m, err := d.Memory()
	if err != nil || m.Used != before.Used || m.Limit != before.Limit || m.Peak >= before.Used+rows || d.memory.kept != whole {
		t.Errorf("memory is %+v, %v, %d kept, want %+v and %d", m, err, d.memory.kept, before, whole)
	}
	if err := w.SetResident(ctx, false); err != nil || d.memory.kept != 0 {
		t.Errorf("evicted: %v, %d bytes are kept", err, d.memory.kept)
	}
	if err := errors.Join(w.SetResident(ctx, true), w.Update(ctx, u)); err != nil || d.memory.kept != whole {
		t.Errorf("loaded again and updated: %v, %d bytes are kept, want %d", err, d.memory.kept, whole)
	}
	if err := w.Close(); err != nil || d.memory.kept != 0 || len(d.kept.blocks) > 0 {
		t.Errorf("closed: %v, %d bytes are kept", err, d.memory.kept)
	}
}

// TestKeptSwaps: a hundred updates take no more memory than the first.
func TestKeptSwaps(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	prog, w := compileChain(t, d)
	if err := prog.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	for name, columns := range map[string]int{"v": 40, "w": 24} {
		u.LowRank[name] = []kernels.LowRank{{Rank: 1, Scale: 1, Up: kernels.FloatFactor(make([]float32, 40)), Down: kernels.FloatFactor(make([]float32, columns))}}
	}
	var used, kept int64
	var live int
	for i := range 100 {
		if err := errors.Join(w.Update(t.Context(), u), prog.Run(t.Context())); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			used, kept, live = d.memory.used, d.memory.kept, len(f.Live())
		}
	}
	if want := int64(2*4*40*40) + align(4*40*24); kept != want || d.memory.kept != kept || d.memory.used != used || len(f.Live()) != live {
		t.Errorf("%d bytes used, %d kept, %d objects; after the first update %d, %d, %d; want %d kept", d.memory.used, d.memory.kept, len(f.Live()), used, kept, live, want)
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestKeptRoom: no tensor is kept that leaves less free than an eighth, or than the largest program needs. Smaller
// ones are, and an update works without any.
func TestKeptRoom(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		spare, reserve int64 // of the limit, when the update begins
		all, some      bool
	}{{1 << 30, 0, true, true}, {8 << 20, 0, false, true}, {0, 0, false, false}, {1 << 30, 3 << 29, false, false}} {
		d, f := fakeDevice(t, Options{}, 2<<30)
		w, src, list := loads(t, d)
		if err := w.SetResident(ctx, true); err != nil {
			t.Fatal(err)
		}
		u := merging(src)
		updated, err := w.origins.With(u)
		if err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(p *packed) bool { return len(u.LowRank[p.name]) == 0 })
		used := w.Bytes() + ringFor(updated, list).bytes()
		d.memory.limit = (used + c.spare) / 7 * 8
		rows, whole, factors := mergedBytes(src, u)
		fixed := &fixedArena{}
		if err := d.engine.AddProgram(fixed, c.reserve); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			n := uploaded(t, f, func() error { return w.Update(ctx, u) })
			kept := d.memory.kept
			if (kept == whole) != c.all || (kept > 0) != c.some {
				t.Errorf("%+v: %d of %d bytes are kept", c, kept, whole)
			}
			if all := used + kept; all > d.memory.limit*7/8 && kept > 0 || c.reserve > 0 && kept > 0 {
				t.Errorf("%+v: %d bytes are taken of %d", c, all, d.memory.limit)
			}
			if i > 0 && n < rows-min(kept, rows)+factors {
				t.Errorf("%+v: %d bytes are copied, want %d at least", c, n, rows-min(kept, rows)+factors)
			}
		}
		d.engine.RemoveProgram(fixed)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// fixedArena stands for a program in the list of those that share the arena.
type fixedArena struct{ kernels.Program }

// TestKeptOfSeveral: each component's tensors are its own, of whatever names, and go alone.
func TestKeptOfSeveral(t *testing.T) {
	ctx := t.Context()
	d, f := fakeDevice(t, Options{}, 1<<30)
	one, src, _ := loads(t, d)
	two, _, _ := loads(t, d)
	u := merging(src)
	rows, whole, factors := mergedBytes(src, u)
	for _, w := range []*weights{one, two} {
		if n := uploaded(t, f, func() error { return errors.Join(w.SetResident(ctx, true), w.Update(ctx, u)) }); n < rows+factors {
			t.Errorf("%d bytes are copied, want %d at least", n, rows+factors)
		}
	}
	if d.memory.kept != 2*whole {
		t.Errorf("%d bytes are kept, want %d", d.memory.kept, 2*whole)
	}
	if err := one.Close(); err != nil || d.memory.kept != whole {
		t.Errorf("%v, %d bytes are kept, want %d", err, d.memory.kept, whole)
	}
	if n := uploaded(t, f, func() error { return two.Update(ctx, u) }); n > factors+factors/10 {
		t.Errorf("%d bytes are copied, want %d and at most a tenth more", n, factors)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}
