package nn

import (
	"encoding/binary"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/goxl/goxl/kernels"
)

// RunOnGorgonia computes the graph on gorgonia's TapeMachine, each operation through kernels/ref: slow, and every
// intermediate stays in memory, but it is the machine that other gorgonia tools know. inputs gives each named input its
// []float32, []int32 or []uint8; the outputs come back by name, pixels as their bytes' values. States that the graph
// assigns are not returned. There are no gradients: the operations have no derivatives.
func (g *Graph) RunOnGorgonia(src kernels.Source, inputs map[string]any) (map[string][]float32, error) {
	for v, t := range g.Plan.Tensors {
		var backing any
		switch {
		case t.Role == kernels.Weight:
			dtype, _, data, err := src.Tensor(t.Name)
			if err != nil {
				return nil, err
			}
			backing = widen(dtype, data)
		case g.nodes[v].Op() == nil: // a leaf
			given, ok := inputs[t.Name]
			if !ok {
				return nil, fmt.Errorf("input %q is missing: must be %s %v", t.Name, t.DType, t.Shape)
			}
			if !fits(given, t) {
				return nil, fmt.Errorf("input %q is %T: must be %s %v", t.Name, given, t.DType, t.Shape)
			}
			backing = given
		default:
			continue
		}
		if err := gorgonia.Let(g.nodes[v], tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(backing))); err != nil {
			return nil, fmt.Errorf("%v: %w", t, err)
		}
	}
	machine := gorgonia.NewTapeMachine(g.Expr)
	defer machine.Close()
	if err := machine.RunAll(); err != nil {
		return nil, err
	}
	out := map[string][]float32{}
	for name, v := range g.Named {
		if g.Plan.Tensors[v].Role == kernels.Result {
			switch data := g.nodes[v].Value().Data().(type) {
			case []float32:
				out[name] = data
			case []uint8:
				for _, b := range data {
					out[name] = append(out[name], float32(b))
				}
			}
		}
	}
	return out, nil
}

// fits reports whether data has the tensor's type and length.
func fits(data any, t kernels.Tensor) bool {
	switch data := data.(type) {
	case []float32:
		return t.DType == kernels.F32 && len(data) == t.Len()
	case []int32:
		return t.DType == kernels.I32 && len(data) == t.Len()
	case []uint8:
		return t.DType == kernels.U8 && len(data) == t.Len()
	}
	return false
}

// widen reads weights as float32.
func widen(dtype kernels.DType, data []byte) []float32 {
	out := make([]float32, len(data)/dtype.Size())
	for i := range out {
		switch dtype {
		case kernels.F16:
			out[i] = kernels.FromF16(binary.LittleEndian.Uint16(data[2*i:]))
		case kernels.BF16:
			out[i] = kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:]))
		default:
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	}
	return out
}
