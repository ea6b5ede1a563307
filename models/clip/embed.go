package clip

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// embed is Embeddings.Forward on the host, [B, T, HiddenSize], with vectors in the place of tokens' rows. Adapters may
// have changed the tables.
func (e *Encoder) embed(batch []Sequence) ([]float32, error) {
	c, tokens := e.Config.HiddenSize, len(batch[0].IDs)
	source := e.Updated()
	table, err := rows(source, "token_embedding")
	if err != nil {
		return nil, err
	}
	positions, err := rows(source, "position_embedding")
	if err != nil {
		return nil, err
	}
	x := make([]float32, len(batch)*tokens*c)
	token, position := make([]float32, c), make([]float32, c)
	for i, seq := range batch {
		for at := range seq.Vectors {
			if at < 0 || at >= tokens || len(seq.Vectors[at]) != c {
				return nil, fmt.Errorf("text encoder: a vector of %d numbers at position %d: must be of %d, at 0 to %d", len(seq.Vectors[at]), at, c, tokens-1)
			}
		}
		for t, id := range seq.IDs {
			if id < 0 || int(id) >= e.Config.VocabSize {
				return nil, fmt.Errorf("text encoder: token id %d at %d of sequence %d: must be 0 to %d", id, t, i, e.Config.VocabSize-1)
			}
			from, given := seq.Vectors[t]
			if !given {
				table(token, int(id))
				from = token
			}
			positions(position, t)
			for j, v := range from {
				x[(i*tokens+t)*c+j] = v + position[j]
			}
		}
	}
	return x, nil
}

// rows reads the rows of a text encoder's embedding table.
func rows(source kernels.Source, table string) (read func(dst []float32, row int), err error) {
	return rowsOf(source, prefix+"embeddings."+table+".weight")
}

// rowsOf reads the rows of a matrix, or a vector as row 0.
func rowsOf(source kernels.Source, name string) (read func(dst []float32, row int), err error) {
	dtype, _, data, err := source.Tensor(name)
	if err != nil {
		return nil, err
	}
	return func(dst []float32, row int) {
		part := data[row*len(dst)*dtype.Size():]
		for i := range dst {
			switch dtype {
			case kernels.F16:
				dst[i] = kernels.FromF16(binary.LittleEndian.Uint16(part[2*i:]))
			case kernels.BF16:
				dst[i] = kernels.FromBF16(binary.LittleEndian.Uint16(part[2*i:]))
			default:
				dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(part[4*i:]))
			}
		}
	}, nil
}
