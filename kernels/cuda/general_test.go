package cuda

import (
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// A full-size model whose shapes have no tuned kernels is warned of once; a small one is not, and neither is SDXL.
func TestWarnGeneral(t *testing.T) {
	for _, card := range []drivertest.Device{drivertest.H100, drivertest.RTX3060} {
		var warned []string
		d := onModel(t, card, Options{Warn: func(line string) { warned = append(warned, line) }})
		model := func(width int) {
			p := &planner{}
			x := p.linear(t, "in", p.put("x", kernels.Step, 1, 200, 64), width, true)
			for range 2 {
				x = p.norm(t, "norm", x)
			}
			q := p.do(t, "attention", kernels.Attention{Heads: width / 12}, x, x, x)
			p.Tensors[p.linear(t, "out", q, width, true)].Role = kernels.Result
			w, err := d.NewWeights(sourceOf(&p.Plan))
			if err != nil {
				t.Fatal(err)
			}
			compiled, err := d.Compile(&p.Plan, w, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(compiled.Close(), w.Close()); err != nil {
				t.Error(err)
			}
		}
		model(2304)
		if len(warned) > 0 {
			t.Errorf("%s: warned of a small model: %q", card.Name, warned)
		}
		for range 2 {
			model(5760)
		}
		want := []string{
			"operations of shapes that no tuned kernel takes run on the general layer_norm, which is slow: 2, the first is norm",
			"operations of shapes that no tuned kernel takes run on the general attention_plain, which is slow: 1, the first is attention",
		}
		if !slices.Equal(warned, want) {
			t.Errorf("%s: warned %q, want %q", card.Name, warned, want)
		}
		for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
			d := onModel(t, card, Options{Precision: precision})
			for _, m := range []modelPlan{step(t, d), decode(t, d)} {
				if lines := m.program(t, d).generalUses(); len(lines) > 0 {
					t.Errorf("%s, SDXL in %v: %q", card.Name, precision, lines)
				}
			}
		}
	}
}
