//go:build emulate

package cuda

import (
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/tinyunet"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/nn"
)

// TestEmulatedTaps: every module of a tiny UNet is what gorgonia's machine gives, in both precisions; and a prediction whose
// modules are read, or replaced by themselves, is at most twice as far from diffusers' as one without taps and half a
// unit of the precision.
func TestEmulatedTaps(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(drv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, want := tinyunet.Subject(t, "../..", 0)
	s.Gorgonia = true
	for precision, unit := range map[kernels.DType]float64{kernels.F16: 0x1p-11, kernels.BF16: 0x1p-8} {
		s.Options.Precision = precision
		found, err := nn.Compare(t.Context(), d, s)
		if err != nil {
			t.Fatal(err)
		}
		if found.First != nil {
			t.Errorf("%v: %v", precision, found.First)
		}
		t.Logf("%v: %d modules, the worst %v", precision, found.Modules, found.Worst)

		network, err := nn.NewNetwork(d, s.Source, s.Options)
		if err != nil {
			t.Fatal(err)
		}
		predict := func(taps ...nn.Tap) []float32 {
			t.Helper()
			p, err := network.Program("prediction", s.Build, taps...)
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range s.Inputs {
				if err := p.SetFloats(name, data.([]float32)...); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			out := make([]float32, len(want))
			if err := p.Floats(t.Context(), "out", out); err != nil {
				t.Fatal(err)
			}
			return out
		}
		plain := predict()
		distance, err := golden.Distance(plain, want)
		if err != nil {
			t.Fatal(err)
		}
		golden.Near(t, precision.String()+" without taps", plain, want, 1)
		read := func(string, *nn.Tensor) {}
		same := func(string, *nn.Tensor) *nn.Tensor { return nil }
		for what, taps := range map[string][]nn.Tap{
			"every module read":      {{Path: "**", Read: read}},
			"blocks read":            {{Path: "**.resnets.*", Read: read}, {Path: "**.attentions.*", Read: read}},
			"probabilities":          {{Path: "**.attn*", Probabilities: read}},
			"cross-attention by own": {{Path: "**.attn2", Replace: same}},
			"middle by own":          {{Path: "mid_block", Replace: same}, {Path: "mid_block.*.*", Replace: same}},
			"output by own":          {{Path: "conv_out", Replace: same}},
		} {
			got := predict(taps...)
			golden.Near(t, precision.String()+" "+what, got, want, 2*distance+unit)
			if slices.Equal(got, plain) {
				t.Logf("%v %s: not a bit differs", precision, what)
			}
		}
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
