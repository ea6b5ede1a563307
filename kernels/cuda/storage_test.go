package cuda

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// TestStoredSums checks that in bfloat16 the portable kernels keep SDXL's residual stream in float32, from the first
// convolution to the last norm, and all that GEMMs read in 16 bits. In float16 and with TMA tiles everything has 16
// bits.
func TestStoredSums(t *testing.T) {
	for _, c := range []struct {
		card      drivertest.Device
		precision kernels.DType
		sums      storage
		norms     map[string]int // kernels of the base model's layer norms
	}{
		{drivertest.RTX3060, kernels.F16, half, map[string]int{"layer_norm_1280": 180, "layer_norm_768": 30}},
		{drivertest.RTX3060, kernels.BF16, fp32, map[string]int{"layer_norm_1280_fp32": 180, "layer_norm_768_fp32": 30}},
		{drivertest.H100, kernels.BF16, half, map[string]int{"layer_norm_1280": 60, "layer_norm_768": 10}},
	} {
		d := onModel(t, c.card, Options{Precision: c.precision})
		p := step(t, d).program(t, d)
		what := fmt.Sprintf("%s %v", c.card.Name, c.precision)
		sums, norms := 0, map[string]int{}
		for i, n := range p.plan.Nodes {
			for _, l := range p.nodes[i].launches {
				if strings.HasPrefix(l.kernel, "layer_norm") {
					norms[l.kernel]++
				}
			}
			if _, ok := operation(n.Spec).(kernels.Attention); ok {
				for _, v := range n.In {
					if p.storage[v] != half {
						t.Errorf("%s, %s: reads storage %d", what, n.Path, p.storage[v])
					}
				}
			}
			added := addends(n)
			if len(added) == 0 {
				continue
			}
			sums++
			for _, v := range append(slices.Clone(added), n.Out[0]) {
				if p.storage[v] != c.sums {
					t.Errorf("%s, %s: adds up in storage %d, want %d", what, n.Path, p.storage[v], c.sums)
				}
			}
		}
		if sums != 70*3+11+17+1 || !maps.Equal(norms, c.norms) {
			t.Errorf("%s: %d sums, layer norms by %v, want one in each third of 70 blocks, 11 transformers, 17 residual blocks and the embeddings, and %v", what, sums, norms, c.norms)
		}
	}
}
