package cpu

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
)

// holds checks what a device says of its memory.
func holds(t *testing.T, d *Device, what string, used, arena int64) {
	t.Helper()
	m, err := d.Memory()
	if err != nil || m.Used != used || m.Arena != arena || m.Peak < m.Used {
		t.Errorf("%s: %+v, %v, want %d bytes used, %d of them by the arena", what, m, err, used, arena)
	}
}

// refused checks that an error is for want of memory, with its sizes.
func refused(t *testing.T, what string, err error, needed, allowed int64) {
	t.Helper()
	var sizes *kernels.MemoryError
	if !errors.As(err, &sizes) || !errors.Is(err, kernels.ErrMemory) || sizes.Needed != needed || sizes.Allowed != allowed {
		t.Errorf("%s: %v, want one that says %d of %d bytes", what, err, needed, allowed)
	}
}

// grown is a plan whose values hold n float32 each: x, which the caller writes, is kept twice, as is the result once;
// one temporary of the arena is between them.
func grown(t *testing.T, n int) (s planner, x, result kernels.Value) {
	x = s.value(kernels.Step, kernels.F32, "x", 1, n)
	y := s.node(t, "silu", kernels.Activate{Act: kernels.SiLU}, kernels.Temp, x)
	return s, x, s.node(t, "gelu", kernels.Activate{Act: kernels.GELU}, kernels.Result, y[0])[0]
}

// TestBudget opens and runs programs on a device that may take little: what has no room is refused with its sizes, and
// what is open goes on.
func TestBudget(t *testing.T) {
	const n, kib = 16 << 10, 1 << 10 // 64 KiB a value
	const own, arena = 3 * 64 * kib, 64 * kib
	const limit = 5 * 64 * kib
	d := newTestDevice(t, Options{Threads: 1, Memory: limit})
	if m, err := d.Memory(); err != nil || m != (kernels.Memory{Limit: limit}) || d.Info().Memory != limit {
		t.Fatalf("%+v, %v, info says %d", m, err, d.Info().Memory)
	}
	s, x, result := grown(t, n)
	p := s.compile(t, d)
	holds(t, d, "compiled", own, 0)
	if f := p.Footprint(); f != (kernels.Footprint{Arena: arena}) || p.Bytes() != own {
		t.Errorf("footprint %+v and %d bytes of its own, want %d and %d", f, p.Bytes(), int64(arena), int64(own))
	}
	write(t, p, x, filled(n, 1))
	run(t, p)
	holds(t, d, "run", own+arena, arena)
	want := read(t, p, result, n)

	// Another one has no room even without the arena that nobody runs in.
	other, _, _ := grown(t, n)
	_, err := d.Compile(&other.plan, nil, kernels.Options{})
	refused(t, "a second program", err, 2*own+arena, limit)
	holds(t, d, "refused", own, 0)
	run(t, p)
	if got := read(t, p, result, n); !slices.Equal(got, want) {
		t.Error("another result after a program was refused")
	}

	// Of its own it has room where the arena was; then the arena for both is small, and one that needs more does not
	// run.
	var large planner
	values := []kernels.Value{large.value(kernels.Step, kernels.F32, "x", 1, n/4)}
	for range 12 { // temporaries that live until the end
		values = append(values, large.node(t, "silu", kernels.Activate{Act: kernels.SiLU}, kernels.Temp, values[len(values)-1])...)
	}
	sum := values[len(values)-1]
	for _, v := range values[1:12] {
		sum = large.node(t, "add", kernels.Add{}, kernels.Temp, sum, v)[0]
	}
	large.node(t, "out", kernels.Add{}, kernels.Result, sum, sum)
	q := large.compile(t, d)
	const held = own + 3*16*kib
	need := q.Footprint().Arena
	if need < limit-held || need > limit {
		t.Fatalf("the large program needs an arena of %d bytes: the test wants one that alone is too much", need)
	}
	run(t, p)
	holds(t, d, "the small one beside it", held+arena, arena)
	refused(t, "the large one", q.Run(t.Context()), held+need, limit)
	run(t, p)
	if got := read(t, p, result, n); !slices.Equal(got, want) {
		t.Error("another result after a run was refused")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, q)
	holds(t, d, "the large one alone", 3*16*kib+need, need)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, d, "closed", 0, 0)
}

// watchedSource says where tensors lie, and counts the data that is asked for.
type watchedSource struct {
	memorySource
	storage map[string]kernels.Storage
	reads   int
}

func (s *watchedSource) Storage(name string) kernels.Storage { return s.storage[name] }

func (s *watchedSource) Tensor(name string) (kernels.DType, []int, []byte, error) {
	s.reads++
	dtype, shape, data, err := s.memorySource.Tensor(name)
	return dtype, shape, slices.Clone(data), err // as a source that makes them anew
}

// TestWeightsInMemory: the pages of mapped files take no memory that is counted. What the source keeps in memory does
// from the start, what it makes and widened vectors for as long as programs use them, once for all, also after they
// were told to leave. Those that have no room are not even made.
func TestWeightsInMemory(t *testing.T) {
	const c = 64
	plan := func() (s planner) {
		x := s.value(kernels.Step, kernels.F32, "x", 1, c)
		x = s.node(t, "first", kernels.Linear{Bias: true}, kernels.Temp, x, s.weight("first", make([]float32, c*c), kernels.F16, c, c), s.weight("bias", make([]float32, c), kernels.BF16, c))[0]
		s.node(t, "second", kernels.Linear{}, kernels.Result, x, s.weight("second", make([]float32, c*c), kernels.F32, c, c))
		return s
	}
	const first, bias, wide, second = 2 * c * c, 2 * c, 4 * c, 4 * c * c
	for _, k := range []struct {
		storage    map[string]kernels.Storage
		kept, made int64
	}{
		{nil, 0, first + bias + wide + second},
		{map[string]kernels.Storage{"first": kernels.Mapped, "bias": kernels.Mapped}, 0, wide + second},
		{map[string]kernels.Storage{"first": kernels.Mapped, "bias": kernels.Mapped, "second": kernels.Mapped}, 0, wide},
		{map[string]kernels.Storage{"first": kernels.Kept, "bias": kernels.Kept, "second": kernels.Mapped}, first + bias, wide},
		{map[string]kernels.Storage{"first": kernels.Kept, "bias": kernels.Mapped}, first, wide + second},
	} {
		d := newTestDevice(t, Options{Threads: 1})
		s := plan()
		src := &watchedSource{memorySource: s.source, storage: k.storage}
		w, err := d.NewWeights(src)
		if err != nil {
			t.Fatal(err)
		}
		if w.Bytes() != k.kept {
			t.Errorf("%v: %d bytes before any is used, want %d", k.storage, w.Bytes(), k.kept)
		}
		var open []kernels.Program
		for range 2 {
			p, err := d.Compile(&s.plan, w, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, p)
			if err := w.SetResident(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if w.Bytes() != k.kept+k.made || src.reads != 3 {
				t.Errorf("%v: %d bytes, %d tensors read, want %d and 3", k.storage, w.Bytes(), src.reads, k.kept+k.made)
			}
			if f := p.Footprint(); f.Weights != first+bias+second || f.Missing != 0 {
				t.Errorf("footprint %+v", f)
			}
		}
		holds(t, d, "two programs", k.kept+k.made+2*open[0].Bytes(), 0)
		for i, p := range open {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if want := k.kept + k.made*int64(1-i); w.Bytes() != want || src.released != 2+i {
				t.Errorf("%v, %d programs closed: %d bytes, released %d times, want %d and %d", k.storage, i+1, w.Bytes(), src.released, want, 2+i)
			}
		}
		p, err := d.Compile(&s.plan, w, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if run(t, p); w.Bytes() != k.kept+k.made || src.reads != 6 {
			t.Errorf("%v, compiled again: %d bytes, %d tensors read", k.storage, w.Bytes(), src.reads)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		d.ifIdle(d.drop)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if holds(t, d, "closed", 0, 0); w.Bytes() != 0 {
			t.Errorf("%d bytes are left", w.Bytes())
		}
	}
	d := newTestDevice(t, Options{Threads: 1, Memory: 2 * first})
	s := plan()
	src := &watchedSource{memorySource: s.source}
	w, err := d.NewWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Compile(&s.plan, w, kernels.Options{})
	refused(t, "weights", err, first+bias+wide+second, 2*first)
	if src.reads != 0 {
		t.Errorf("%d tensors were read though there is no room for all", src.reads)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, d, "closed", 0, 0)
	src.storage = map[string]kernels.Storage{"first": kernels.Kept, "second": kernels.Kept}
	_, err = d.NewWeights(src)
	refused(t, "weights that are kept", err, first+second, 2*first)
	holds(t, d, "refused", 0, 0)
}

// TestIdleArena sees that a large arena goes back to the system when no program has run for a while, and comes again; a
// small one stays.
func TestIdleArena(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5 << 20 // 20 MiB a value
		d := newTestDevice(t, Options{Threads: 2})
		s, x, result := grown(t, n)
		p := s.compile(t, d)
		write(t, p, x, filled(n, 1))
		run(t, p)
		want := read(t, p, result, n)
		for range 3 { // images that follow one another
			time.Sleep(idleTime - time.Second)
			synctest.Wait()
			holds(t, d, "a while after a run", 4*4*n, 4*n)
			run(t, p)
		}
		system := func() uint64 { // what the heap has of the system
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapSys - m.HeapReleased
		}
		before := system()
		if err := d.engine.LockContext(t.Context()); err != nil { // as a long run does
			t.Fatal(err)
		}
		time.Sleep(2 * idleTime)
		synctest.Wait()
		holds(t, d, "while a program runs", 4*4*n, 4*n)
		d.engine.Unlock()
		run(t, p)
		time.Sleep(idleTime)
		synctest.Wait()
		holds(t, d, "idle", 3*4*n, 0)
		if after := system(); before-after < 4*n || after > before {
			t.Errorf("the heap had %d bytes, and %d after the arena went: want %d less", before, after, 4*n)
		}
		run(t, p)
		if got := read(t, p, result, n); !slices.Equal(got, want) {
			t.Error("another result after the arena went")
		}

		few, _, _ := grown(t, 1000)
		small := newTestDevice(t, Options{Threads: 1})
		q := few.compile(t, small)
		run(t, q)
		time.Sleep(2 * idleTime)
		synctest.Wait()
		if m, err := small.Memory(); err != nil || m.Arena == 0 {
			t.Errorf("%+v, %v: a small arena went", m, err)
		}
	})
}

func TestSystemMemory(t *testing.T) {
	all := SystemMemory()
	if runtime.GOOS == "linux" && all < 64<<20 || all < 0 {
		t.Errorf("the system allows %d bytes", all)
	}
	if got := DefaultMemory(); got > all*4/5 || got < all*4/5-5 {
		t.Errorf("%d of %d bytes by default, want 80 %%", got, all)
	}
	if m, err := newTestDevice(t, Options{Threads: 1}).Memory(); err != nil || all > 0 && m.Limit != DefaultMemory() {
		t.Errorf("%+v, %v: want the limit %d", m, err, DefaultMemory())
	}
	if _, err := New(Options{Memory: -1}); err == nil {
		t.Error("a device with less than no memory")
	}
}
