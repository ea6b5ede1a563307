package nn_test

import (
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/internal/tinyunet"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/nn"
)

// TestUNetOnGorgonia runs a whole tiny UNet, with every fusion, on gorgonia's own machine and compares it with
// diffusers.
func TestUNetOnGorgonia(t *testing.T) {
	s, want := tinyunet.Subject(t, "..", 1)
	graph, err := nn.Build(nil, s.Build)
	if err != nil {
		t.Fatal(err)
	}
	out, err := graph.RunOnGorgonia(s.Source, s.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "output", out["out"], want, 1e-5)
}

// mistaken is a device that computes the layer norm of one module with another epsilon.
type mistaken struct {
	kernels.Device
	path string
}

func (d mistaken) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	plan := &kernels.Plan{Tensors: p.Tensors, Nodes: slices.Clone(p.Nodes)}
	for i, n := range plan.Nodes {
		if s, ok := n.Spec.(kernels.LayerNorm); ok && n.Path == d.path {
			plan.Nodes[i].Spec = kernels.LayerNorm{Eps: s.Eps + 0.5} // far beyond what half a precision rounds
		}
	}
	return d.Device.Compile(plan, w, o)
}

// TestCompareUNet: every module of a tiny UNet is what gorgonia's machine gives, in every precision of a device, and of
// a device with a wrong kernel the module is named.
func TestCompareUNet(t *testing.T) {
	t.Run("cpu", func(t *testing.T) {
		dev, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		compareUNet(t, dev)
	})
	t.Run("cuda", func(t *testing.T) {
		dev, err := cuda.Open(cuda.Options{})
		if err != nil {
			require.Lacks(t, "cuda", err)
		}
		compareUNet(t, dev)
	})
}

// compareUNet closes the device.
func compareUNet(t *testing.T, dev kernels.Device) {
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	s, _ := tinyunet.Subject(t, "..", 1)
	s.Gorgonia = true
	for _, precision := range dev.Info().Precisions {
		s.Options.Precision = precision
		found, err := nn.Compare(t.Context(), dev, s)
		if err != nil {
			t.Fatal(err)
		}
		if found.First != nil {
			t.Errorf("%v: %v", precision, found.First)
		}
		t.Logf("%v: %d modules, the worst %v", precision, found.Modules, found.Worst)

		const path = "down_blocks.1.attentions.1.transformer_blocks.0.norm2"
		found, err = nn.Compare(t.Context(), mistaken{dev, path}, s)
		if err != nil {
			t.Fatal(err)
		}
		if found.First == nil || found.First.Path != path || found.First.Against != "gorgonia" {
			t.Errorf("%v: the wrong module is %s, named %v", precision, path, found.First)
		}
	}
}
