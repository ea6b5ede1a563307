package lora

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

// BenchmarkMerge makes the weights of all linear layers of one transformer block of SDXL's deepest level, of which the
// UNet has 60, with a LoRA of rank 32, in fp16.
func BenchmarkMerge(b *testing.B) {
	const block = "mid_block.attentions.0.transformer_blocks.0."
	file, base := tensors{}, map[string]weights.Tensor{}
	shapes := map[string][]int{}
	var bytes, flops int64
	for name, shape := range targets(b, "base")[unet] {
		if !strings.HasPrefix(name, block) || !strings.HasSuffix(name, ".weight") || len(shape) != 2 {
			continue
		}
		shapes[name] = shape
		base[name] = weights.NewTensor(name, kernels.F16, shape, make([]byte, 2*kernels.Elements(shape)))
		stem := "unet." + strings.TrimSuffix(name, ".weight")
		file[stem+".lora_A.weight"], file[stem+".lora_B.weight"] = ramp(32, shape[1]), ramp(shape[0], 32)
		bytes += 2 * int64(kernels.Elements(shape))
		flops += 2 * 32 * int64(kernels.Elements(shape))
	}
	a, _, err := open(b, file, nil).Match(Targets{unet: shapes})
	if err != nil {
		b.Fatal(err)
	}
	for name, math := range arithmetics(b) {
		b.Run(name, func(b *testing.B) {
			m := Merge(weights.FromMap(base), unet, []Selected{{a, Strength(1)}}, math)
			b.SetBytes(bytes)
			for b.Loop() {
				for name := range shapes {
					if _, _, _, err := m.Tensor(name); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*5135e6/float64(bytes), "s/UNet")
		})
	}
}

// arithmetics are plain Go and the vector code of this processor.
func arithmetics(t testing.TB) map[string]Arithmetic {
	t.Helper()
	d, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return map[string]Arithmetic{"portable": Portable{}, d.Info().Variant: d.Arithmetic()}
}

// TestArithmetics merges with each arithmetic: all round to the same numbers, but for the order of a sum.
func TestArithmetics(t *testing.T) {
	file := open(t, with(pair(kohyaQ, 32, 32), pair(kohyaK, 32, 80)), nil)
	a, _, err := file.Match(targets(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	src := tiny(t, unet)
	for _, name := range a.Names(unet) {
		want := floats(t, Merge(src, unet, []Selected{{a, Strength(0.7)}}, nil), name)
		for variant, math := range arithmetics(t) {
			golden.Near(t, variant, floats(t, Merge(src, unet, []Selected{{a, Strength(0.7)}}, math), name), want, 1e-7)
		}
	}
}
