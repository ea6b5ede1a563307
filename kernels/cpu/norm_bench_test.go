package cpu

import (
	"fmt"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// BenchmarkMemoryBound runs what should go at the speed of memory, at shapes of the UNet and the decoder; bytes are
// those of input and output, once each.
func BenchmarkMemoryBound(b *testing.B) {
	for _, v := range variants() {
		d := newTestDevice(b, Options{Variant: v.name})
		for _, shape := range [][]int{{2, 32, 32, 1280}, {2, 128, 128, 320}, {1, 512, 512, 128}} {
			c := shape[3]
			for name, s := range map[string]kernels.Spec{
				"groupnorm": kernels.GroupNorm{Groups: 32, Eps: 1e-5, Act: kernels.SiLU},
				"layernorm": kernels.LayerNorm{Eps: 1e-5},
				"add":       kernels.Add{},
				"gelu":      kernels.Activate{Act: kernels.GELU},
			} {
				b.Run(fmt.Sprintf("%s/%s/%v", v.name, name, shape), func(b *testing.B) {
					var p planner
					x := p.value(kernels.Step, kernels.F32, "x", shape...)
					in := []kernels.Value{x}
					switch name {
					case "add":
						in = append(in, x)
					case "gelu":
					default:
						in = append(in, p.weight("weight", filled(c, 1), kernels.F16, c), p.weight("bias", filled(c, 0), kernels.F16, c))
					}
					p.node(b, name, s, kernels.Result, in...)
					prog := p.compile(b, d)
					write(b, prog, x, random(1, 0, shape...).x)
					b.SetBytes(8 * int64(kernels.Elements(shape)))
					for b.Loop() {
						run(b, prog)
					}
				})
			}
		}
	}
}
