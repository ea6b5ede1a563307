package cuda

import (
	"flag"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/kerneltest"
)

var (
	caseFilter = flag.String("cuda.filter", "", "regular expression over the cases of the conformance table")
	small      = flag.Bool("cuda.small", false, "leave out the real shapes of the conformance table")
	thorough   = flag.Bool("cuda.thorough", false, "run every case twice and compare bit by bit, the slow ones too")
)

// card opens the machine's first card, or ends the test as internal/require has it.
func card(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if err == nil {
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		t.Logf("%s: %s", d.Info().Name, d.Info().Detail)
		return d
	}
	require.Lacks(t, "cuda", err)
	return nil
}

// TestConformance runs the table of conformance cases on the card: with float32 operands, and the small cases also with
// 16-bit temporaries around every operation.
func TestConformance(t *testing.T) {
	first := card(t, Options{})
	for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
		for _, variant := range first.Info().Variants {
			conformance(t, Options{Precision: precision, Variant: variant})
		}
	}
}

// conformance runs one variant in one precision.
func conformance(t *testing.T, o Options) {
	t.Run(o.Variant+" "+o.Precision.String(), func(t *testing.T) {
		d := card(t, o)
		part := kerneltest.Whole
		if *small || testing.Short() || o.Precision != kernels.F16 {
			part = kerneltest.Small
		}
		t.Run("float32 around", func(t *testing.T) {
			kerneltest.Run(t, d, kerneltest.RunOptions{Filter: *caseFilter, Only: part, Thorough: *thorough})
		})
		t.Run("16 bits around", func(t *testing.T) {
			kerneltest.Run(t, temporaries{d}, kerneltest.RunOptions{Filter: *caseFilter, Only: part})
		})
	})
}

// temporaries is a device that puts an identity in front of every float operand of a node and behind its outputs, so
// that the node reads and writes temporaries, as the nodes of a model do.
type temporaries struct{ kernels.Device }

func (d temporaries) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	out := &kernels.Plan{Tensors: append([]kernels.Tensor(nil), p.Tensors...)}
	temporary := func(t kernels.Tensor) kernels.Value {
		t.Role = kernels.Temp
		out.Tensors = append(out.Tensors, t)
		return kernels.Value(len(out.Tensors) - 1)
	}
	copyTo := func(path string, from, to kernels.Value) {
		out.Nodes = append(out.Nodes, kernels.Node{Spec: kernels.Activate{}, Path: path, In: []kernels.Value{from}, Out: []kernels.Value{to}})
	}
	for _, n := range p.Nodes {
		inner := kernels.Node{Spec: n.Spec, Path: n.Path}
		if _, ok := n.Spec.(kernels.Solver); ok { // whose coefficients and states are no temporaries in any plan
			out.Nodes = append(out.Nodes, n)
			continue
		}
		for _, v := range n.In {
			if t := p.Tensors[v]; t.Role != kernels.Weight && t.DType == kernels.F32 && t.Len() > 1 {
				to := temporary(t)
				copyTo("in front", v, to)
				v = to
			}
			inner.In = append(inner.In, v)
		}
		for _, v := range n.Out {
			if t := p.Tensors[v]; t.DType == kernels.F32 {
				v = temporary(t)
			}
			inner.Out = append(inner.Out, v)
		}
		out.Nodes = append(out.Nodes, inner)
		for k, v := range n.Out {
			if inner.Out[k] != v {
				copyTo("behind", inner.Out[k], v)
			}
		}
	}
	return d.Device.Compile(out, w, o)
}
