package lora

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
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
	m := Merge(weights.FromMap(base), unet, []Selected{{a, Strength(1)}})
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
}
