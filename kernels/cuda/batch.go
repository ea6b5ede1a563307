package cuda

import "github.com/goxl/goxl/kernels/engine"

// A load goes through slots of pinned memory, of slotBytes each or of what a weight needs at once where that is larger.
// Of slotCount slots, slotsFilling are being filled, by a goroutine each, while the others are on the bus or being
// packed: one CPU core copies at a fraction of the speed of the bus.
const (
	slotBytes    = 4 << 20 // these three are the best of HARDWARE.md's "Adapter sets and four steps"
	slotCount    = 24
	slotsFilling = 16
)

// Larger slots are fewer, so that all have about ringBytes, but minSlots at least.
const (
	ringBytes = 128 << 20
	minSlots  = 4
)

// ring is the slots of a load, side by side in pinned memory and on the card. Offsets in both are the same.
type ring struct {
	count int
	slot  int64 // bytes
}

// ringFor returns the ring for a load. A slot holds a row of any weight and its factors; together the slots hold an
// eighth of a small load.
func ringFor(origins *engine.Origins, list []*packed) ring {
	var least, total int64
	for _, w := range list {
		_, factors := layFactors(origins.LowRank(w.name))
		least = max(least, factors+align(w.sourceBytes(1)))
		total += factors + align(w.sourceBytes(w.rows()))
	}
	slot := max(least, align(min(slotBytes, total/(8*slotCount))))
	return ring{slot: slot, count: int(min(slotCount, max(minSlots, ringBytes/slot)))}
}

func (r ring) bytes() int64 { return int64(r.count) * r.slot }

// at is the offset of a slot.
func (r ring) at(slot int) int64 { return int64(slot) * r.slot }

// filling is how many slots are being filled at a time.
func (r ring) filling() int { return max(r.count*slotsFilling/slotCount, 1) }

// reach is for how many batches, behind the one that brings them, factors stay on the card. To a slot there a batch is
// copied once the last batch that reads it is packed, which leaves as many slots for what is under way.
func (r ring) reach() int { return r.count / 2 }

// reader splits weights, with the factors of what is merged into them, into batches that fit into a slot.
type reader struct {
	origins *engine.Origins
	list    []*packed // left
	ring    ring
	held    map[string]keptTensor // not read
	keep    map[string]keptTensor // to be kept once they are read
	made    int                   // batches

	row      int    // of list[0], next
	data     []byte // of list[0], nil before its first row and if it is kept
	factors  int64  // of list[0], where they lie in the ring
	brought  int    // the batch that they came with
	read     int64  // bytes since the last release
	released chan error
}

// batch is one copy to the card.
type batch struct {
	slot   int
	bytes  int64
	parts  []part // what it consists of
	pieces []piece
	filled chan struct{}
}

// part is bytes and their offset in a slot, or in what lies there.
type part struct {
	at   int64
	data []byte
}

// piece is some rows of a weight, and their offset in the ring unless they are held.
type piece struct {
	weight       *packed
	first, count int
	at           int64
	products     int        // that are added before it is packed
	factors      int64      // offset in the ring of what layFactors returns for them
	held         keptTensor // all rows, as they are kept on the card; zero if they come with the batch
	keep         ptr        // where the rows are to be kept, 0 if nowhere
}

// add appends parts that have n bytes together, and returns their offset in the slot.
func (b *batch) add(n int64, parts ...part) int64 {
	at := b.bytes
	for _, p := range parts {
		b.parts = append(b.parts, part{at + p.at, p.data})
	}
	b.bytes += align(n)
	return at
}

// fill copies a batch to its slot.
func (b *batch) fill(slot []byte) {
	for _, p := range b.parts {
		copy(slot[p.at:], p.data)
	}
	close(b.filled)
}

func (r *reader) done() bool { return len(r.list) == 0 }

// next returns a batch of at least one row. It brings the factors of a weight whose rows begin with it, or were begun
// too long ago for it to reach those that came then. All rows of a weight that is kept are one piece.
func (r *reader) next() (*batch, error) {
	b := &batch{slot: r.made % r.ring.count, filled: make(chan struct{})}
	start := r.ring.at(b.slot)
	for len(r.list) > 0 {
		w := r.list[0]
		products := r.origins.LowRank(w.name)
		var factors []part
		var bytes int64
		if r.row == 0 || r.made-r.brought > r.ring.reach() {
			factors, bytes = layFactors(products)
		}
		room, held := r.ring.slot-b.bytes-bytes, r.kept(w)
		count := min(w.rows()-r.row, int(room/w.sourceBytes(1)))
		if held.at != 0 && room >= 0 {
			count = w.rows()
		}
		if count <= 0 {
			break
		}
		if len(factors) > 0 {
			r.factors, r.brought = start+b.add(bytes, factors...), r.made
		}
		p := piece{weight: w, first: r.row, count: count, products: len(products), factors: r.factors, held: held}
		if held.at == 0 {
			data, err := r.rows(w, r.row, count)
			if err != nil {
				return nil, err
			}
			p.at = start + b.add(int64(len(data)), part{data: data})
			if keep := r.keep[w.name]; keep.at != 0 {
				p.keep = keep.at + ptr(w.sourceBytes(r.row))
			}
		}
		b.pieces = append(b.pieces, p)
		if r.row += count; r.row == w.rows() {
			r.list, r.row, r.data = r.list[1:], 0, nil
		}
	}
	r.made++
	return b, nil
}

// kept returns what is kept of a weight, unless an update has something in its place.
func (r *reader) kept(w *packed) keptTensor {
	if !r.origins.Own(w.name) {
		return keptTensor{}
	}
	return r.held[w.name]
}

// rows reads rows of list[0].
func (r *reader) rows(w *packed, first, count int) ([]byte, error) {
	if r.data == nil {
		if err := r.release(); err != nil {
			return nil, err
		}
		var err error
		if r.data, err = r.origins.Read(w.tensor()); err != nil {
			return nil, err
		}
	}
	from, n := w.sourceBytes(first), w.sourceBytes(count)
	r.read += n
	return r.data[from : from+n], nil
}

// release lets the source release what was read so far; data that was returned stays valid. To give back a gigabyte of
// pages takes the system some 15 ms, in which the load goes on.
func (r *reader) release() error {
	if r.read < releaseBytes {
		return nil
	}
	r.read = 0
	if err := r.wait(); err != nil {
		return err
	}
	r.released = make(chan error, 1)
	go func(done chan<- error) { done <- r.origins.Release() }(r.released)
	return nil
}

// wait waits for a release under way.
func (r *reader) wait() error {
	if r.released == nil {
		return nil
	}
	err := <-r.released
	r.released = nil
	return err
}

// releaseBytes is how much of a source is read between releases: mapped pages and computed tensors do not pile up
// beyond it. A load ends with a release that nothing runs beside, so little is left for it.
const releaseBytes = 256 << 20
