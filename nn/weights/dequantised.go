package weights

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// dequantised is a source whose quantised weights are made when they are read. See [Dequantise].
type dequantised struct {
	StoredSource
	names   []string
	weights map[string]*quantised
}

// Names lists the tensors of an ordinary checkpoint.
func (d *dequantised) Names() []string { return slices.Clone(d.names) }

// Describe implements [kernels.Source].
func (d *dequantised) Describe(name string) (kernels.DType, []int, error) {
	if err := d.check(name); err != nil {
		return 0, nil, err
	}
	if q := d.weights[name]; q != nil {
		return q.dtype, slices.Clone(q.shape), nil
	}
	return d.StoredSource.Describe(name)
}

// Tensor implements [kernels.Source].
func (d *dequantised) Tensor(name string) (kernels.DType, []int, []byte, error) {
	if err := d.check(name); err != nil {
		return 0, nil, nil, err
	}
	q := d.weights[name]
	if q == nil {
		return d.StoredSource.Tensor(name)
	}
	data, err := d.StoredSource.Raw(name)
	if err != nil {
		return 0, nil, nil, err
	}
	return q.dtype, slices.Clone(q.shape), q.values(data), nil
}

// check refuses the bookkeeping.
func (d *dequantised) check(name string) error {
	if !has(d.names, name) {
		return &NameError{Source: d.Path(), Tensor: name}
	}
	return nil
}

// Storage implements [kernels.Source].
func (d *dequantised) Storage(name string) kernels.Storage {
	if d.weights[name] != nil || d.check(name) != nil {
		return kernels.Made
	}
	return d.StoredSource.Storage(name)
}

// Release implements [kernels.Source].
func (d *dequantised) Release() error {
	for _, q := range d.weights {
		q.mu.Lock()
		q.made = nil
		q.mu.Unlock()
	}
	return d.StoredSource.Release()
}

// quantised is how a stored weight becomes the weight that it stands for.
type quantised struct {
	stored string        // element type in the file
	dtype  kernels.DType // of the weight
	shape  []int
	scales []float32 // one of all, or one of each row
	group  int       // how many elements of a row are rotated together, 0 if none are

	mu   sync.Mutex
	made []byte // the weight, until Release; mu guards it
}

// limit is the largest magnitude of a stored number, 0 of a type that is not read.
func (q *quantised) limit() float64 {
	switch q.stored {
	case "I8":
		return 128
	case "F8_E4M3":
		return 448
	case "F8_E5M2":
		return 57344
	case "F16", "BF16", "F32":
		return 1
	}
	return 0
}

// readAs is F16, which is what checkpoints are stored in, where it loses nothing that counts: no weight leaves its
// range, and the tensor's largest possible one is 2^-6 or more, so that float16's smallest steps are far below those of
// eight bits. Weights that are stored in more bits stay F32.
func (q *quantised) readAs() kernels.DType {
	largest := 0.
	for _, s := range q.scales {
		largest = max(largest, math.Abs(float64(s)))
	}
	largest *= q.limit()
	if q.limit() == 1 || largest < 0x1p-6 || largest*math.Sqrt(float64(max(1, q.group))) > 65504 {
		return kernels.F32
	}
	return kernels.F16
}

// values is the weight of the stored data, made if it is not there.
func (q *quantised) values(data []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.made != nil {
		return q.made
	}
	n := kernels.Elements(q.shape)
	rows := len(q.scales)
	row := n / max(rows, 1)
	q.made = make([]byte, n*q.dtype.Size())
	part := func(from, to int) {
		q.fill(q.made[from*q.dtype.Size():to*q.dtype.Size()], data, from, to, q.scales[from/row])
	}
	switch {
	case n == 0:
	case rows == 1: // one scale: rows are cut as they come, groups stay whole
		unit := max(1, q.group)
		parallel(n/unit, unit, func(from, to int) { part(from*unit, to*unit) })
	default:
		parallel(rows, row, func(from, to int) {
			for r := from; r < to; r++ {
				part(r*row, (r+1)*row)
			}
		})
	}
	return q.made
}

// fill makes the elements from one index to another, which have one scale.
func (q *quantised) fill(out, data []byte, from, to int, scale float32) {
	switch q.stored {
	case "I8":
		if q.group != 0 {
			q.unrotate(out, data[from:to], scale)
			return
		}
		q.scaled(out, data[from:to], func(bits byte) float32 { return float32(int8(bits)) * scale })
	case "F8_E4M3":
		q.scaled(out, data[from:to], func(bits byte) float32 { return kernels.FromF16(e4m3[bits]) * scale })
	case "F8_E5M2":
		q.scaled(out, data[from:to], func(bits byte) float32 { return kernels.FromF16(e5m2[bits]) * scale })
	default: // F32, F16 or BF16 with a scale: always read as F32
		dtype, _ := elementTypeNamed(q.stored)
		values := make([]float32, to-from)
		floats(values, dtype.reads, data[from*dtype.reads.Size():])
		for i, v := range values {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v*scale))
		}
	}
}

// scaled puts every byte through value, which it computes once of each.
func (q *quantised) scaled(out, data []byte, value func(bits byte) float32) {
	if q.dtype == kernels.F32 {
		var table [256]uint32
		for i := range table {
			table[i] = math.Float32bits(value(byte(i)))
		}
		for i, b := range data {
			binary.LittleEndian.PutUint32(out[4*i:], table[b])
		}
		return
	}
	var table [256]uint16
	for i := range table {
		table[i] = kernels.ToF16(value(byte(i)))
	}
	lookUp(out, data, &table)
}

// floats widens as many numbers of F32, F16 or BF16 as out holds.
func floats(out []float32, dtype kernels.DType, data []byte) {
	switch dtype {
	case kernels.F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case kernels.F16:
		for i := range out {
			out[i] = kernels.FromF16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	default:
		for i := range out {
			out[i] = kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	}
}
