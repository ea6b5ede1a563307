package cuda

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/engine"
)

// products are the factors of low-rank products on their way to the card. Those of a weight lie in one of two parts of
// a block on the card, so that one weight's are copied while another's are read.
type products struct {
	staging      *staging // pinned memory of their own; nil until the first load with products
	filled, read [2]*driver.Event

	at   driver.Ptr // of the block
	size int64      // of a part
	now  int        // the part that was filled last
}

func (p *products) close() error {
	var failed []error
	for i := range 2 {
		failed = append(failed, p.filled[i].Close(), p.read[i].Close())
	}
	if p.staging != nil {
		failed = append(failed, p.staging.close())
	}
	return errors.Join(failed...)
}

// reserve takes the block for a load, 0 if nothing is merged, which the caller frees.
func (p *products) reserve(d *Device, from *engine.Origins, list []*packed) (driver.Ptr, error) {
	p.at, p.size = 0, 0
	for _, w := range list {
		if factors := from.LowRank(w.name); len(factors) > 0 {
			_, bytes := layFactors(factors)
			p.size = max(p.size, bytes)
		}
	}
	if p.size == 0 {
		return 0, nil
	}
	if p.staging == nil {
		made, err := newStaging(d.context)
		if err != nil {
			return 0, err
		}
		p.staging = made
	}
	at, err := d.memory.alloc(2 * p.size)
	p.at = at
	return at, err
}

// productBytes is what the table in front of the factors has for a product; see struct Product of src/pack.cu.
const productBytes = 32

// layFactors returns the table of products that lie behind it, and the bytes of all.
func layFactors(products []kernels.LowRank) (table []byte, bytes int64) {
	bytes = align(int64(len(products)) * productBytes)
	place := func(f kernels.Factor) uint64 {
		at := bytes
		bytes += align(int64(len(f.Data)))
		return uint64(at)
	}
	for _, p := range products {
		table = binary.LittleEndian.AppendUint32(table, uint32(p.Rank))
		table = binary.LittleEndian.AppendUint32(table, math.Float32bits(p.Scale))
		table = binary.LittleEndian.AppendUint64(table, place(p.Up))
		table = binary.LittleEndian.AppendUint64(table, place(p.Down))
		table = binary.LittleEndian.AppendUint32(table, uint32(rawType[p.Up.DType]))
		table = binary.LittleEndian.AppendUint32(table, uint32(rawType[p.Down.DType]))
	}
	return table, bytes
}

// mergePiece adds products to rows that lie at raw. The first piece of a weight brings the factors.
func (d *Device) mergePiece(p piece, raw driver.Ptr) error {
	if len(p.products) == 0 {
		return nil
	}
	l := d.loader
	if p.first == 0 {
		if err := l.copyFactors(d, p.products); err != nil {
			return err
		}
	}
	m := &l.products
	params := mergeParams{
		Raw: raw, Factors: m.at + driver.Ptr(int64(m.now)*m.size), Rows: int32(p.count), Columns: int32(p.weight.sourceRow()), First: int32(p.first),
		Products: int32(len(p.products)), From: rawType[p.weight.dtype],
	}
	f, err := d.libraries[p.weight.library()].function("merge")
	if err != nil {
		return err
	}
	threads := int64(ceil(p.count, mergeRows)) * int64(p.weight.sourceRow())
	blocks := uint32(min((threads+255)/256, int64(32*d.sms)))
	launch, err := f.Prepare(driver.Config{Grid: driver.Dim{X: blocks, Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}}, params)
	if err != nil {
		return err
	}
	if err := d.stream.Launch(launch); err != nil {
		return err
	}
	return d.stream.Record(m.read[m.now])
}

// mergeRows is how many rows a thread of kernel merge has.
const mergeRows = 8

// copyFactors brings the factors of products to the part of the block whose factors were read before.
func (l *loader) copyFactors(d *Device, products []kernels.LowRank) error {
	m := &l.products
	m.now = 1 - m.now
	at := m.at + driver.Ptr(int64(m.now)*m.size)
	if err := l.stream.Wait(m.read[m.now]); err != nil {
		return err
	}
	table, _ := layFactors(products)
	if err := m.staging.upload(l.stream, at, table); err != nil {
		return err
	}
	for i, p := range products {
		for k, factor := range []kernels.Factor{p.Up, p.Down} {
			offset := binary.LittleEndian.Uint64(table[i*productBytes+8+8*k:])
			if err := m.staging.upload(l.stream, at+driver.Ptr(offset), factor.Data); err != nil {
				return err
			}
		}
	}
	if err := l.stream.Record(m.filled[m.now]); err != nil {
		return err
	}
	return d.stream.Wait(m.filled[m.now])
}
