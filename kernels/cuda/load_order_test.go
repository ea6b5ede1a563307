package cuda

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// TestLoadOrder follows what the two streams of a load know of each other: a slot is copied to once all that reads what
// lay there is done, and read once it is copied. The second load reads rows that the first keeps on the card.
func TestLoadOrder(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	u := merging(src)
	first := follow(t, f, w, list, func() error { return errors.Join(w.Update(t.Context(), u), w.SetResident(t.Context(), true)) })
	if least := 2 * first.ring.count; first.now.copies < least || first.elsewhere == 0 || first.kept < least || first.held > 0 {
		t.Errorf("%d copies to %d slots, %d merges with factors of another slot, %d pieces kept: too few; or %d that were kept before",
			first.now.copies, first.ring.count, first.elsewhere, first.kept, first.held)
	}
	// Most tensors are one piece, and what is merged into them comes with few batches.
	list = slices.DeleteFunc(list, func(p *packed) bool { return len(u.LowRank[p.name]) == 0 })
	second := follow(t, f, w, list, func() error { return w.Update(t.Context(), u) })
	if second.now.copies <= second.ring.count || second.held != len(list) || second.kept > 0 {
		t.Errorf("%d copies to %d slots, want more; %d of %d tensors that were kept; %d pieces kept again",
			second.now.copies, second.ring.count, second.held, len(list), second.kept)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// follow does a load of weights and checks the order of its calls.
func follow(t *testing.T, f *drivertest.Fake, w *weights, list []*packed, load func() error) order {
	t.Helper()
	before, launched := len(f.Calls()), len(f.Launches())
	if err := load(); err != nil {
		t.Fatal(err)
	}
	o := order{t: t, ring: ringFor(w.origins, list), launches: f.Launches()[launched:], events: map[uintptr]progress{}}
	o.written, o.read = make([]int, o.ring.count), make([]int, o.ring.count)
	for _, c := range f.Calls()[before:] {
		switch c.Name {
		case "cuMemcpyHtoDAsync_v2":
			o.copy(c)
		case "cuMemcpyDtoDAsync_v2":
			o.copyDevice(c)
		case "cuEventRecord":
			o.events[c.Args[0]] = o.now
		case "cuStreamWaitEvent":
			if e := o.events[c.Args[1]]; c.Args[0] == o.stream {
				o.known.launches = max(o.known.launches, e.launches)
			} else {
				o.known.copies = max(o.known.copies, e.copies)
			}
		case "cuLaunchKernel":
			o.launch()
		}
	}
	return o
}

// order is where the calls of a load have got to.
type order struct {
	t        *testing.T
	ring     ring
	launches []drivertest.Launch // to come
	stream   uintptr             // of the copies
	raw      uint64              // the ring on the card

	now           progress
	known         progress             // launches that the copies wait for, copies that the launches wait for
	events        map[uintptr]progress // when they were recorded
	written, read []int                // the last copy to a slot and the last launch that reads it, from 1 on
	elsewhere     int                  // merges whose factors lie in another slot than the rows
	kept, held    int                  // copies from the ring to where rows are kept, and of what was kept before
	merged        uint64               // where the last copy of what was kept before lies
}

// progress is how many copies from the host, and how many launches and copies on the card, there were. An event that one stream records says nothing of the other: it
// counts for the stream that waits, which needs no more of its own.
type progress struct{ copies, launches int }

func (o *order) copy(c drivertest.Call) {
	if o.now.copies == 0 { // to the first slot
		o.stream, o.raw = c.Args[3], uint64(c.Args[0])
	}
	o.now.copies++
	slot := o.slot(uint64(c.Args[0]))
	if c.Args[3] != o.stream || o.read[slot] > o.known.launches {
		o.t.Fatalf("copy %d overwrites slot %d, which launch %d reads: it waits for %d", o.now.copies, slot, o.read[slot], o.known.launches)
	}
	o.written[slot] = o.now.copies
}

func (o *order) slot(at uint64) int { return int(int64(at-o.raw) / o.ring.slot) }

func (o *order) inRing(at uint64) bool { return at >= o.raw && at < o.raw+uint64(o.ring.bytes()) }

// copyDevice is a copy on the launches' stream, from the ring or of what was kept before.
func (o *order) copyDevice(c drivertest.Call) {
	if c.Args[3] == o.stream {
		o.t.Fatal("a copy on the card is on the stream of the copies from the host")
	}
	o.now.launches++
	if from := uint64(c.Args[1]); o.inRing(from) {
		o.kept++
		o.use("a row to keep", from)
	} else {
		o.held++
		o.merged = uint64(c.Args[0])
	}
}

func (o *order) launch() {
	l := o.launches[0]
	o.launches = o.launches[1:]
	o.now.launches++
	rows := binary.LittleEndian.Uint64(l.Arguments[0])
	switch l.Kernel {
	case "merge":
		factors := binary.LittleEndian.Uint64(l.Arguments[0][8:])
		if rows != o.merged && o.slot(rows) != o.slot(factors) {
			o.elsewhere++
		}
		o.use(l.Kernel, rows, factors)
	case "pack":
		o.use(l.Kernel, rows)
	default:
		o.t.Fatalf("launch of %s", l.Kernel)
	}
}

// use checks that what lies in slots is there, and notes until when it is needed.
func (o *order) use(what string, at ...uint64) {
	for _, at := range at {
		if at == o.merged && at != 0 {
			continue
		}
		if !o.inRing(at) {
			o.t.Fatalf("launch %d, %s, reads %#x, which is not in the ring", o.now.launches, what, at)
		}
		slot := o.slot(at)
		if o.written[slot] == 0 || o.written[slot] > o.known.copies {
			o.t.Fatalf("launch %d, %s, reads slot %d, written by copy %d: it waits for %d", o.now.launches, what, slot, o.written[slot], o.known.copies)
		}
		o.read[slot] = o.now.launches
	}
}
