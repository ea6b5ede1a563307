package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// loader uploads weights. It has memory on the card only while it works.
type loader struct {
	stream         *driver.Stream
	host           *driver.HostMemory // the ring; nil until the first load
	copied, packed [slotCount]*driver.Event
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
	return errors.Join(failed...)
}

// room makes sure of n bytes of pinned memory.
func (l *loader) room(c *driver.Context, n int64) (err error) {
	if l.host != nil {
		if n <= int64(len(l.host.Bytes())) {
			return nil
		}
		if err := l.host.Close(); err != nil {
			return err
		}
		l.host = nil
	}
	l.host, err = c.AllocHost(n, false)
	return err
}

// load reads, copies and packs weights that have an address, and merges products into them. The engine's mutex and the
// weights' must be held. The work is done when it returns, failed or not.
func (d *Device) load(ctx context.Context, w *weights, list []*packed) (err error) {
	r := reader{origins: w.origins, list: list, ring: ringFor(w.origins, list)}
	l := d.loader
	if err := l.room(d.context, r.ring.bytes()); err != nil {
		return fmt.Errorf("pinned host memory for uploads: %w", err)
	}
	raw := d.arena.at
	if d.arena.size < r.ring.bytes() {
		if raw, err = d.memory.alloc(r.ring.bytes()); err != nil {
			return fmt.Errorf("room to pack weights: %w", err)
		}
		defer func() { err = errors.Join(err, d.memory.free(raw)) }()
	}
	kept := d.kept.begin(w, list, d.engine.Arena()-d.arena.size)
	defer func() { err = errors.Join(err, d.kept.end(kept, err == nil)) }()
	r.held, r.keep = kept.held, kept.fresh.tensors
	for i := range r.ring.count { // what runs in the arena comes first
		if err := d.stream.Record(l.packed[i]); err != nil {
			return err
		}
	}
	var queue []*batch // being filled
	defer func() {
		for _, b := range queue {
			<-b.filled
		}
		err = errors.Join(err, r.wait(), l.stream.Synchronize(), d.stream.Synchronize())
	}()
	for len(queue) > 0 || !r.done() {
		if len(queue) == r.ring.filling() || r.done() {
			b := queue[0]
			<-b.filled
			queue = queue[1:]
			if err := d.pack(b, r.ring, raw); err != nil {
				return err
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		again := r.made >= r.ring.count
		b, err := r.next()
		if err != nil {
			return err
		}
		if again {
			if err := l.copied[b.slot].Synchronize(); err != nil {
				return err
			}
		}
		queue = append(queue, b)
		go b.fill(l.host.Bytes()[r.ring.at(b.slot):])
	}
	return nil
}

// pack copies a filled batch to its slot of a ring at raw, once no batch reads what lies there, and packs what it holds.
func (d *Device) pack(b *batch, r ring, raw driver.Ptr) error {
	l, at := d.loader, r.at(b.slot)
	if err := l.stream.Wait(l.packed[(b.slot+r.reach())%r.count]); err != nil {
		return err
	}
	if err := l.stream.CopyToDevice(raw+driver.Ptr(at), l.host, at, b.bytes); err != nil {
		return err
	}
	if err := l.stream.Record(l.copied[b.slot]); err != nil {
		return err
	}
	if err := d.stream.Wait(l.copied[b.slot]); err != nil {
		return err
	}
	for _, p := range b.pieces {
		rows, err := d.stage(p, raw)
		if err != nil {
			return fmt.Errorf("weight %s: keeping its source: %w", p.weight.name, err)
		}
		if err := d.mergePiece(p, rows, raw); err != nil {
			return fmt.Errorf("weight %s: merging: %w", p.weight.name, err)
		}
		if err := d.packPiece(p, rows); err != nil {
			return fmt.Errorf("weight %s: %w", p.weight.name, err)
		}
	}
	return d.stream.Record(l.packed[b.slot])
}

// stage returns where the rows of a piece are merged and packed: in the ring at raw, in a copy of what is kept, or, if
// nothing is merged, where it is kept. It copies rows that are to be kept.
func (d *Device) stage(p piece, raw driver.Ptr) (driver.Ptr, error) {
	at, n := raw+driver.Ptr(p.at), p.weight.sourceBytes(p.count)
	switch {
	case p.held.at != 0 && p.products == 0:
		return p.held.at, nil
	case p.held.at != 0:
		return p.held.scratch, d.stream.CopyDevice(p.held.scratch, p.held.at, n)
	case p.keep != 0:
		return at, d.stream.CopyDevice(p.keep, at, n)
	}
	return at, nil
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
