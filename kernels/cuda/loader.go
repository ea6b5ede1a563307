package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/engine"
)

// A load goes through slots of pinned memory, of slotBytes each or of a weight's row where that is larger. Half of them
// are being filled, by a goroutine each, while the other half is on the bus or being packed: one CPU core copies at a
// fraction of the speed of the bus.
const (
	slotBytes = 4 << 20
	slotCount = 16
)

// releaseBytes is how much of a source is read between releases: mapped pages and computed tensors do not pile up
// beyond it.
const releaseBytes = 1 << 30

// loader uploads weights. It has memory on the card only while it works.
type loader struct {
	stream         *driver.Stream
	host           *driver.HostMemory // slots; nil until the first load
	slot           int64              // bytes
	copied, packed [slotCount]*driver.Event
	products       products
}

func newLoader(c *driver.Context) (l *loader, err error) {
	l = &loader{}
	if l.stream, err = c.NewStream(0); err != nil {
		return nil, err
	}
	for i := range slotCount {
		for _, e := range []**driver.Event{&l.copied[i], &l.packed[i]} {
			if *e, err = c.NewEvent(false); err != nil {
				return nil, err
			}
		}
	}
	for i := range 2 {
		for _, e := range []**driver.Event{&l.products.filled[i], &l.products.read[i]} {
			if *e, err = c.NewEvent(false); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

func (l *loader) close() error {
	failed := []error{l.stream.Close()}
	for i := range slotCount {
		failed = append(failed, l.copied[i].Close(), l.packed[i].Close())
	}
	if l.host != nil {
		failed = append(failed, l.host.Close())
	}
	failed = append(failed, l.products.close())
	return errors.Join(failed...)
}

// room makes sure of pinned slots of n bytes.
func (l *loader) room(c *driver.Context, n int64) (err error) {
	if l.host != nil && n <= l.slot {
		return nil
	}
	if l.host != nil {
		if err := l.host.Close(); err != nil {
			return err
		}
		l.host = nil
	}
	l.slot = n
	l.host, err = c.AllocHost(n*slotCount, false)
	return err
}

// piece is some rows of a weight and their offset in a slot.
type piece struct {
	weight       *packed
	first, count int
	data         []byte
	at           int64
	products     []kernels.LowRank // that are added before it is packed
}

// batch is one copy to the card.
type batch struct {
	pieces []piece
	bytes  int64
	slot   int
	filled chan struct{}
}

// slotFor is the size of the slots for a load: together they hold an eighth of a small load.
func slotFor(list []*packed) int64 {
	var row, total int64
	for _, w := range list {
		row = max(row, align(w.sourceBytes(1)))
		total += align(w.sourceBytes(w.rows()))
	}
	return max(row, align(min(slotBytes, total/(8*slotCount))))
}

// load reads, copies and packs weights that have an address, and merges products into them. The engine's mutex must be
// held. The work is done when it returns, failed or not.
func (d *Device) load(ctx context.Context, from *engine.Origins, list []*packed) (err error) {
	slot := slotFor(list)
	l := d.loader
	if err := l.room(d.context, slot); err != nil {
		return fmt.Errorf("pinned host memory for uploads: %w", err)
	}
	raw := d.arena.at
	if d.arena.size < slotCount*slot {
		if raw, err = d.memory.alloc(slotCount * slot); err != nil {
			return fmt.Errorf("room to pack weights: %w", err)
		}
		defer func() { err = errors.Join(err, d.memory.free(raw)) }()
	}
	factors, err := l.products.reserve(d, from, list)
	if err != nil {
		return fmt.Errorf("room for the factors of low-rank products: %w", err)
	}
	defer func() { err = errors.Join(err, d.memory.free(factors)) }()
	for i := range slotCount { // what runs in the arena comes first
		if err := d.stream.Record(l.packed[i]); err != nil {
			return err
		}
	}
	var queue []*batch // being filled
	r := reader{origins: from, list: list, slot: slot}
	defer func() {
		for _, b := range queue {
			<-b.filled
		}
		err = errors.Join(err, r.wait(), l.stream.Synchronize(), d.stream.Synchronize())
	}()
	for n := 0; len(queue) > 0 || !r.done(); {
		if len(queue) == slotCount/2 || r.done() {
			b := queue[0]
			<-b.filled
			queue = queue[1:]
			if err := d.pack(b, raw+driver.Ptr(int64(b.slot)*slot)); err != nil {
				return err
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.next()
		if err != nil {
			return err
		}
		b.slot = n % slotCount
		if n >= slotCount {
			if err := l.copied[b.slot].Synchronize(); err != nil {
				return err
			}
		}
		queue = append(queue, b)
		go b.fill(l.host.Bytes()[int64(b.slot)*l.slot:])
		n++
	}
	return nil
}

// fill copies a batch to its slot.
func (b *batch) fill(slot []byte) {
	for _, p := range b.pieces {
		copy(slot[p.at:], p.data)
	}
	close(b.filled)
}

// pack copies a filled batch to raw and packs what it holds, once raw is free.
func (d *Device) pack(b *batch, raw driver.Ptr) error {
	l := d.loader
	if err := l.stream.Wait(l.packed[b.slot]); err != nil {
		return err
	}
	if err := l.stream.CopyToDevice(raw, l.host, int64(b.slot)*l.slot, b.bytes); err != nil {
		return err
	}
	if err := l.stream.Record(l.copied[b.slot]); err != nil {
		return err
	}
	if err := d.stream.Wait(l.copied[b.slot]); err != nil {
		return err
	}
	for _, p := range b.pieces {
		at := raw + driver.Ptr(p.at)
		if err := d.mergePiece(p, at); err != nil {
			return fmt.Errorf("weight %s: merging: %w", p.weight.name, err)
		}
		if err := d.packPiece(p, at); err != nil {
			return fmt.Errorf("weight %s: %w", p.weight.name, err)
		}
	}
	return d.stream.Record(l.packed[b.slot])
}

func (d *Device) packPiece(p piece, raw driver.Ptr) error {
	f, err := d.libraries[p.weight.library()].function("pack")
	if err != nil {
		return err
	}
	if p.first == 0 && p.weight.packing.half%8 != 0 { // rows of the last eight that nothing fills
		if err := d.stream.Fill(p.weight.at, 0, p.weight.bytes()); err != nil {
			return err
		}
	}
	params := p.weight.params(raw, p.first, p.count)
	blocks := uint32(min((params.N+255)/256, int64(32*d.sms)))
	launch, err := f.Prepare(driver.Config{Grid: driver.Dim{X: blocks, Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}}, params)
	if err != nil {
		return err
	}
	return d.stream.Launch(launch)
}

// reader splits weights into batches that fit into a slot.
type reader struct {
	origins *engine.Origins
	list    []*packed // left
	slot    int64

	row      int    // of list[0], next
	data     []byte // of list[0], nil before its first row
	read     int64  // bytes since the last release
	released chan error
}

func (r *reader) done() bool { return len(r.list) == 0 }

// next returns a batch of at least one row.
func (r *reader) next() (*batch, error) {
	b := &batch{filled: make(chan struct{})}
	for len(r.list) > 0 {
		w := r.list[0]
		count := min(w.rows()-r.row, int((r.slot-b.bytes)/w.sourceBytes(1)))
		if count == 0 {
			break
		}
		if r.data == nil {
			if err := r.release(); err != nil {
				return nil, err
			}
			var err error
			if r.data, err = r.origins.Read(w.tensor()); err != nil {
				return nil, err
			}
		}
		from, n := w.sourceBytes(r.row), w.sourceBytes(count)
		b.pieces = append(b.pieces, piece{weight: w, first: r.row, count: count, data: r.data[from : from+n], at: b.bytes, products: r.origins.LowRank(w.name)})
		b.bytes += align(n)
		r.read += n
		if r.row += count; r.row == w.rows() {
			r.list, r.row, r.data = r.list[1:], 0, nil
		}
	}
	return b, nil
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
