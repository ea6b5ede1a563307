package cuda

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// TestLoadOrder follows what the two streams of a load know of each other: a slot is copied to once all that reads what
// lay there is done, and read once it is copied.
func TestLoadOrder(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	before, launched := len(f.Calls()), len(f.Launches())
	if err := errors.Join(w.Update(t.Context(), merging(src)), w.SetResident(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	o := order{t: t, ring: ringFor(w.origins, list), launches: f.Launches()[launched:], events: map[uintptr]progress{}}
	o.written, o.read = make([]int, o.ring.count), make([]int, o.ring.count)
	for _, c := range f.Calls()[before:] {
		switch c.Name {
		case "cuMemcpyHtoDAsync_v2":
			o.copy(c)
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
	if o.now.copies < 2*o.ring.count || o.elsewhere == 0 {
		t.Errorf("%d copies to %d slots, %d merges with factors of another slot: too few", o.now.copies, o.ring.count, o.elsewhere)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
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
}

// progress is how many copies and launches there were. An event that one stream records says nothing of the other: it
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

func (o *order) launch() {
	l := o.launches[0]
	o.launches = o.launches[1:]
	o.now.launches++
	var slots []int
	switch at := l.Arguments[0]; l.Kernel {
	case "merge":
		slots = []int{o.slot(binary.LittleEndian.Uint64(at)), o.slot(binary.LittleEndian.Uint64(at[8:]))}
		if slots[0] != slots[1] {
			o.elsewhere++
		}
	case "pack":
		slots = []int{o.slot(binary.LittleEndian.Uint64(at))}
	default:
		o.t.Fatalf("launch of %s", l.Kernel)
	}
	for _, slot := range slots {
		if o.written[slot] == 0 || o.written[slot] > o.known.copies {
			o.t.Fatalf("launch %d, %s, reads slot %d, written by copy %d: it waits for %d", o.now.launches, l.Kernel, slot, o.written[slot], o.known.copies)
		}
		o.read[slot] = o.now.launches
	}
}
