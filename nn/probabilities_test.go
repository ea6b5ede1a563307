package nn

import (
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestProbabilities: their product with the values, projected, is the layer's own output.
func TestProbabilities(t *testing.T) {
	run := openNet(t)
	var p, v, y *Tensor
	run(Tap{Path: "block", Probabilities: func(_ string, x *Tensor) { p = x }},
		Tap{Path: "block.v", Read: func(_ string, x *Tensor) { v = x }},
		Tap{Path: "block", Read: func(_ string, x *Tensor) { y = x }})
	const heads, d = 2, netWidth / 2
	if err := p.Check("probabilities", netBatch, heads, netTokens, netTokens); err != nil {
		t.Fatal(err)
	}
	m := newNet()
	src := bound(t, m)
	weight, bias := floats(t, src, "block.o.weight"), floats(t, src, "block.o.bias")
	want := make([]float32, netSize)
	for i := range netBatch * netTokens {
		b, q := i/netTokens, i%netTokens
		var mixed [netWidth]float64
		for h := range heads {
			sum := 0.0
			for k := range netTokens {
				pk := float64(p.At(b, h, q, k))
				if k > q && pk != 0 {
					t.Fatalf("query %d sees key %d", q, k)
				}
				sum += pk
				for n := range d {
					mixed[h*d+n] += pk * float64(v.At(b, k, h*d+n))
				}
			}
			if math.Abs(sum-1) > 1e-6 {
				t.Fatalf("probabilities add up to %v", sum)
			}
		}
		for o := range netWidth {
			sum := float64(bias[o])
			for n, x := range mixed {
				sum += x * float64(weight[o*netWidth+n])
			}
			want[i*netWidth+o] = float32(sum)
		}
	}
	near(t, "the layer's output", y.Data, want, 1e-6)
}

func floats(t *testing.T, src kernels.Source, name string) []float32 {
	dtype, _, data, err := src.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return widen(dtype, data)
}
