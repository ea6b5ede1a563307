package ref

import (
	"encoding/binary"
	"math"

	"github.com/goxl/goxl/kernels"
)

// Merge returns the elements of a tensor with products added, see [kernels.LowRank], before they are rounded to its type.
// bound is for each how far a sum in float32 may be from it, whatever the order of its terms: 2⁻²⁴ of the sum of all
// magnitudes for each of the roundings that a term goes through, which are one for each term and four more at most.
func Merge(dtype kernels.DType, shape []int, data []byte, products []kernels.LowRank) (sums, bound []float64) {
	rows, columns := kernels.Matrix(shape)
	sums, bound = make([]float64, rows*columns), make([]float64, rows*columns)
	for row := range rows {
		for column := range columns {
			i := row*columns + column
			sum := element64(dtype, data, i)
			magnitude, roundings := math.Abs(sum), 4
			for _, p := range products {
				for r := range p.Rank {
					term := float64(p.Scale) * float64(p.Up.At(row*p.Rank+r)) * float64(p.Down.At(r*columns+column))
					sum += term
					magnitude += math.Abs(term)
				}
				roundings += p.Rank
			}
			sums[i], bound[i] = sum, float64(roundings)*0x1p-24*magnitude
		}
	}
	return sums, bound
}

func element64(dtype kernels.DType, data []byte, i int) float64 {
	switch dtype {
	case kernels.F16:
		return float64(kernels.FromF16(binary.LittleEndian.Uint16(data[2*i:])))
	case kernels.BF16:
		return float64(kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:])))
	}
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
}

// setElement rounds to float32 on the way to 16 bits, as float32 sums are: that moves a value by 2⁻²⁴ of itself.
func setElement(dtype kernels.DType, data []byte, i int, x float64) {
	switch f := float32(x); dtype {
	case kernels.F16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToF16(f))
	case kernels.BF16:
		binary.LittleEndian.PutUint16(data[2*i:], kernels.ToBF16(f))
	default:
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(f))
	}
}

// updated is a source with an update.
type updated struct {
	kernels.Source
	update *kernels.Update
	whole  map[string]bool
}

// Updated is a source as the weights see it that an update was given to. The update is one that its Check takes.
func Updated(src kernels.Source, u *kernels.Update) kernels.Source {
	if u == nil {
		return src
	}
	s := &updated{src, u, map[string]bool{}}
	for _, name := range u.Whole {
		s.whole[name] = true
	}
	return s
}

// Tensor implements kernels.Source.
func (s *updated) Tensor(name string) (kernels.DType, []int, []byte, error) {
	if s.whole[name] {
		return s.update.Source.Tensor(name)
	}
	dtype, shape, data, err := s.Source.Tensor(name)
	if products := s.update.LowRank[name]; err == nil && len(products) > 0 {
		sums, _ := Merge(dtype, shape, data, products)
		data = make([]byte, len(data))
		for i, sum := range sums {
			setElement(dtype, data, i, sum)
		}
	}
	return dtype, shape, data, err
}

// Storage implements kernels.Source.
func (s *updated) Storage(name string) kernels.Storage {
	if s.whole[name] {
		return s.update.Source.Storage(name)
	}
	if len(s.update.LowRank[name]) > 0 {
		return kernels.Made
	}
	return s.Source.Storage(name)
}
