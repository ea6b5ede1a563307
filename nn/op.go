package nn

import (
	"fmt"
	"hash"
	"hash/fnv"
	"slices"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// op makes one output of a kernels.Spec a gorgonia operation. gorgonia merges nodes whose operations hash alike,
// without looking at their children, in 32 bits; so id, unique in the graph, is all that goes into the hash.
type op struct {
	id   uint32
	spec kernels.Spec
	out  int
	in   []kernels.Tensor
	typ  hm.Type // in[0] → … → output
	want tensor.Shape
}

func (o *op) Arity() int    { return len(o.in) }
func (o *op) Type() hm.Type { return o.typ }

func (o *op) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return slices.Clone(o.want), nil
}

// Do computes the output with kernels/ref, so that a graph also runs on gorgonia's own machines.
func (o *op) Do(values ...gorgonia.Value) (gorgonia.Value, error) {
	if len(values) != len(o.in) {
		return nil, fmt.Errorf("%v: %d values, want %d", o, len(values), len(o.in))
	}
	in := make([]ref.Tensor, len(values))
	for i, v := range values {
		in[i].Shape = o.in[i].Shape
		switch data := v.Data().(type) {
		case []float32:
			in[i].F = data
		case []int32:
			in[i].I = data
		case []uint8:
			in[i].B = data
		default:
			return nil, fmt.Errorf("%v: value %d holds %T, want []float32, []int32 or []uint8", o, i, data)
		}
	}
	out, err := ref.Run(o.spec, in)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", o, err)
	}
	var backing any = out[o.out].F
	if b := out[o.out].B; b != nil {
		backing = b
	}
	return tensor.New(tensor.WithShape(o.want...), tensor.WithBacking(backing)), nil
}

func (o *op) ReturnsPtr() bool     { return false }
func (o *op) CallsExtern() bool    { return false }
func (o *op) OverwritesInput() int { return -1 }

func (o *op) WriteHash(h hash.Hash) { fmt.Fprintf(h, "goxl op %d", o.id) }

func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

func (o *op) String() string { return fmt.Sprintf("%T#%d", o.spec, o.id) }
