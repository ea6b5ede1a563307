package kernels

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Update is what takes the place of some tensors of a component, as an adapter set that is merged into its weights does.
// All other tensors come from the weights' own source. Neither it nor what it points to may change while it is in
// force: devices read it again when weights come back.
type Update struct {
	// Source has the tensors of Whole, each of the type and the shape that it has in the weights' own source. It stays
	// open for as long as the update is in force. To one that is [Computed], a device on the host lends its arithmetic.
	Source Source
	Whole  []string
	// LowRank has products that are added to tensors of the weights' own source, by name. A tensor is not in Whole as
	// well.
	LowRank map[string][]LowRank
}

// LowRank is the product Scale·Up·Down of two narrow matrices. It is added to a tensor as a matrix: the first dimension
// is the rows, all others together are the columns, in the order in which the tensor lies in memory.
//
// The sum W + Σ Scale·Up·Down is computed in float32, the products in order, and rounded once, to nearest even, to the
// tensor's own type; a device then packs that value as it packs any other. How the terms of a product are ordered and
// whether multiply-adds are fused is the device's choice, the same in every run.
type LowRank struct {
	Up    Factor // [rows, Rank]
	Down  Factor // [Rank, columns]
	Rank  int
	Scale float32
}

// Factor is a matrix as an adapter's file has it: F32, F16 or BF16, dense in row order, little-endian, of any alignment.
type Factor struct {
	DType DType
	Data  []byte
}

// FloatFactor is a factor of numbers in memory.
func FloatFactor(x []float32) Factor {
	f := Factor{DType: F32, Data: make([]byte, 0, 4*len(x))}
	for _, v := range x {
		f.Data = binary.LittleEndian.AppendUint32(f.Data, math.Float32bits(v))
	}
	return f
}

// Len is how many numbers there are.
func (f Factor) Len() int { return len(f.Data) / max(f.DType.Size(), 1) }

// At is number i in float32.
func (f Factor) At(i int) float32 {
	switch f.DType {
	case F16:
		return FromF16(binary.LittleEndian.Uint16(f.Data[2*i:]))
	case BF16:
		return FromBF16(binary.LittleEndian.Uint16(f.Data[2*i:]))
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(f.Data[4*i:]))
}

func (f Factor) check(what string, rows, columns int) error {
	if f.DType != F32 && f.DType != F16 && f.DType != BF16 {
		return fmt.Errorf("%s is %v: must be fp32, fp16 or bf16", what, f.DType)
	}
	if want := rows * columns * f.DType.Size(); len(f.Data) != want {
		return fmt.Errorf("%s has %d bytes, must have %d: [%d %d] of %v", what, len(f.Data), want, rows, columns, f.DType)
	}
	return nil
}

// Names lists the tensors that change, sorted.
func (u *Update) Names() []string {
	if u == nil {
		return nil
	}
	return slices.Sorted(func(yield func(string) bool) {
		for _, name := range u.Whole {
			if !yield(name) {
				return
			}
		}
		for name := range maps.Keys(u.LowRank) {
			if !yield(name) {
				return
			}
		}
	})
}

// Check returns an error unless every tensor of the update is one of src, fits it, and is named once. It reads no data.
func (u *Update) Check(src Source) error {
	names := u.Names()
	for i, name := range names {
		if i > 0 && names[i-1] == name {
			return fmt.Errorf("update: tensor %s is named twice", name)
		}
		dtype, shape, err := src.Describe(name)
		if err != nil {
			return fmt.Errorf("update: tensor %s is none of the weights': %w", name, err)
		}
		if dtype != F32 && dtype != F16 && dtype != BF16 {
			return fmt.Errorf("update: tensor %s is %v: must be fp32, fp16 or bf16", name, dtype)
		}
		if products, ok := u.LowRank[name]; ok {
			err = checkLowRank(products, shape)
		} else {
			err = u.checkWhole(name, dtype, shape)
		}
		if err != nil {
			return fmt.Errorf("update: tensor %s: %w", name, err)
		}
	}
	return nil
}

func (u *Update) checkWhole(name string, dtype DType, shape []int) error {
	if u.Source == nil {
		return fmt.Errorf("the update has no source")
	}
	got, has, err := u.Source.Describe(name)
	switch {
	case err != nil:
		return err
	case got != dtype:
		return fmt.Errorf("it is %v, must be %v as in the weights", got, dtype)
	case !slices.Equal(has, shape):
		return fmt.Errorf("its shape is %v, must be %v as in the weights", has, shape)
	}
	return nil
}

func checkLowRank(products []LowRank, shape []int) error {
	rows, columns := Matrix(shape)
	for i, p := range products {
		err := p.Up.check("Up", rows, p.Rank)
		if err == nil {
			err = p.Down.check("Down", p.Rank, columns)
		}
		if p.Rank <= 0 {
			err = fmt.Errorf("its rank is %d: must be 1 or more", p.Rank)
		}
		if err != nil {
			return fmt.Errorf("product %d: %w", i, err)
		}
	}
	return nil
}

// Matrix is the rows and columns of a tensor as a matrix, which [LowRank] is added to: the first dimension, and the
// product of all others. A scalar has one of each.
func Matrix(shape []int) (rows, columns int) {
	if len(shape) == 0 {
		return 1, 1
	}
	return shape[0], Elements(shape[1:])
}
