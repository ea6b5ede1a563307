package cuda

import (
	"encoding/binary"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// productBytes is what the table in front of the factors has for a product; see struct Product of src/pack.cu.
const productBytes = 32

// layFactors returns what kernel merge reads of a weight's products, the table of them and the factors, and the bytes
// of all. Nothing is copied. Without products there is nothing.
func layFactors(products []kernels.LowRank) (parts []part, bytes int64) {
	if len(products) == 0 {
		return nil, 0
	}
	table := make([]byte, 0, len(products)*productBytes)
	bytes = align(int64(cap(table)))
	parts = make([]part, 1, 1+2*len(products))
	place := func(f kernels.Factor) uint64 {
		at := bytes
		parts = append(parts, part{at: at, data: f.Data})
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
	parts[0].data = table
	return parts, bytes
}

// mergePiece adds products, whose factors lie in the ring at raw, to the rows of a piece.
func (d *Device) mergePiece(p piece, rows, raw driver.Ptr) error {
	if p.products == 0 {
		return nil
	}
	params := mergeParams{
		Raw: rows, Factors: raw + driver.Ptr(p.factors),
		Rows: int32(p.count), Columns: int32(p.weight.sourceRow()), First: int32(p.first),
		Products: int32(p.products), From: rawType[p.weight.dtype],
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
	return d.stream.Launch(launch)
}

// mergeRows is how many rows a thread of kernel merge has.
const mergeRows = 8
