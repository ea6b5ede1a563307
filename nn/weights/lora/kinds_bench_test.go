package lora

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

// noise is a tensor of random numbers below 1.
func noise(shape ...int) value {
	r := rand.New(rand.NewPCG(1, uint64(kernels.Elements(shape))))
	v := value{shape, make([]float32, kernels.Elements(shape))}
	for i := range v.x {
		v.x[i] = r.Float32() - 0.5
	}
	return v
}

// fullKinds make the parts of a module that changes a weight of a shape.
var fullKinds = []struct {
	name string
	make func(rows, inputs int, kernel []int) tensors
}{
	{"LoHa", func(rows, inputs int, kernel []int) tensors {
		cols := inputs * kernels.Elements(kernel)
		return tensors{"hada_w1_a": noise(rows, 16), "hada_w1_b": noise(16, cols), "hada_w2_a": noise(rows, 16), "hada_w2_b": noise(16, cols), "alpha": one(1)}
	}},
	{"LoKr", func(rows, inputs int, kernel []int) tensors {
		out, in := factored(rows, 8), factored(inputs, 8)
		return tensors{"lokr_w1": noise(out, in), "lokr_w2": noise(append([]int{rows / out, inputs / in}, kernel...)...)}
	}},
	{"DoRA", func(rows, inputs int, kernel []int) tensors {
		return with(fullLowRank(rows, inputs, kernel), tensors{"dora_scale": noise(rows, 1)})
	}},
	{"DoRA-inputs", func(rows, inputs int, kernel []int) tensors {
		return with(fullLowRank(rows, inputs, kernel), tensors{"dora_scale": noise(1, inputs)})
	}},
	{"OFT", func(rows, _ int, _ []int) tensors {
		n := factored(rows, 32)
		return tensors{"oft_blocks": noise(rows/n, n, n), "alpha": one(1e-4)}
	}},
	{"BOFT", func(rows, _ int, _ []int) tensors {
		n := rows & -rows & 15
		if n == 0 {
			n = 16
		}
		return tensors{"oft_blocks": noise(2, rows/n, n, n), "alpha": one(1e-4)}
	}},
	{"GLoRA", func(rows, inputs int, kernel []int) tensors {
		return tensors{"a1.weight": noise(inputs, 16), "a2.weight": noise(16, inputs), "b1.weight": noise(rows, 16), "b2.weight": noise(append([]int{16, inputs}, kernel...)...), "alpha": one(1)}
	}},
	{"IA3", func(rows, _ int, _ []int) tensors { return tensors{"weight": noise(rows), "on_input": one(0)} }},
	{"difference", func(rows, inputs int, kernel []int) tensors {
		return tensors{"diff": noise(append([]int{rows, inputs}, kernel...)...)}
	}},
}

func fullLowRank(rows, inputs int, kernel []int) tensors {
	return tensors{"lora_up.weight": noise(rows, 16), "lora_down.weight": noise(append([]int{16, inputs}, kernel...)...)}
}

// factored is the largest divisor of n up to most.
func factored(n, most int) int {
	for n%most != 0 {
		most--
	}
	return most
}

// BenchmarkKinds merges each kind into all weights of SDXL's UNet that it can change, in fp16: an iteration is the
// whole UNet. Weights of one shape have one adapter and one base.
func BenchmarkKinds(b *testing.B) {
	counts, shapes := map[string]int{}, Targets{unet: {}}
	for _, shape := range targets(b, "base")[unet] {
		if len(shape) == 2 || len(shape) == 4 && shape[0]%16 == 0 {
			name := fmt.Sprintf("m%v.weight", shape)
			counts[name]++
			shapes[unet][name] = shape
		}
	}
	base := map[string]weights.Tensor{}
	for name, shape := range shapes[unet] {
		data := make([]byte, 2*kernels.Elements(shape))
		roundTo(data, kernels.F16, noise(shape...).x)
		base[name] = weights.NewTensor(name, kernels.F16, shape, data)
	}
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer device.Close()
	for _, kind := range fullKinds {
		b.Run(kind.name, func(b *testing.B) {
			file := tensors{}
			for name, shape := range shapes[unet] {
				for p, v := range kind.make(shape[0], shape[1], shape[2:]) {
					file["unet."+name[:len(name)-len(".weight")]+"."+p] = v
				}
			}
			f := open(b, file, nil)
			start := time.Now()
			a, report, err := f.Match(shapes)
			if err != nil || report.Matched != len(shapes[unet]) {
				b.Fatal(report, err)
			}
			b.Logf("matched in %v", time.Since(start))
			m := Merge(weights.FromMap(base), unet, []Selected{{a, Strength(1)}}).(kernels.Computed).With(device.Arithmetic())
			for b.Loop() {
				for _, name := range slices.Sorted(maps.Keys(counts)) {
					for range counts[name] {
						if _, _, _, err := m.Tensor(name); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}
