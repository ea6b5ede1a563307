package cuda

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// bound gives a model's parameters names, and zeros in fp16 as data.
func bound(t *testing.T, model any) kernels.Source {
	t.Helper()
	z := zeros{}
	for name, shape := range nn.Shapes(model) {
		z[name] = kernels.Tensor{Name: name, Role: kernels.Weight, DType: kernels.F16, Shape: shape}
	}
	src, err := nn.Bind(model, z)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// modelPlan is a plan of a real model and the source of its weights.
type modelPlan struct {
	plan   *kernels.Plan
	source kernels.Source
}

// program compiles without taking memory.
func (m modelPlan) program(t *testing.T, d *Device) *program {
	t.Helper()
	w, err := d.NewWeights(m.source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	p, err := d.newProgram(m.plan, w.(*weights), d.Info().Precisions[0], d.target())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func modelOf(t *testing.T, d *Device, model any, build func(*nn.Builder)) modelPlan {
	t.Helper()
	source := bound(t, model)
	g, err := nn.Build(d, build)
	if err != nil {
		t.Fatal(err)
	}
	return modelPlan{g.Plan, source}
}

// step is a guided sampling step of SDXL base at 1024×1024, as models/sdxl compiles it.
func step(t *testing.T, d *Device) modelPlan { return stepOf(t, d, "base", 1, 1024, 1024) }

// stepOf is such a step for a batch of images of another size, by base or refiner.
func stepOf(t *testing.T, d *Device, kind string, batch, height, width int) modelPlan {
	t.Helper()
	latents := []int{batch, height / 8, width / 8, 4}
	text, ids := 2048, 6
	if kind == "refiner" {
		text, ids = 1280, 5
	}
	file := "../../models/sdxl/synthetic/" + kind + "/unet/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	model := unet.New(config)
	return modelOf(t, d, model, func(b *nn.Builder) {
		x := b.Input("x", kernels.State, kernels.F32, latents...)
		m := model.Forward(b, unet.Inputs{
			Sample:   b.ScaleRepeat(x, b.Input("input scale", kernels.Step, kernels.F32, 1), 2),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, 2*batch, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, 2*batch, 77, text),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, 2*batch, 1280),
			TimeIDs:  b.Input("time ids", kernels.Request, kernels.F32, 2*batch, ids),
		})
		guided := b.Guidance(m, b.Input("guidance", kernels.Step, kernels.F32, 1), nil)
		b.Solve(x, guided, b.Input("noise", kernels.Step, kernels.F32, latents...),
			b.Input("coefficients", kernels.Step, kernels.F32, kernels.Solver{}.Coefficients()), nil)
	})
}

// decode is the autoencoder's decoder at 1024×1024.
func decode(t *testing.T, d *Device) modelPlan { return decodeOf(t, d, 1024, 1024) }

// decodeOf is the decoder at another size.
func decodeOf(t *testing.T, d *Device, height, width int) modelPlan {
	t.Helper()
	const file = "../../models/sdxl/synthetic/base/vae/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := vae.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	model := vae.New(config)
	return modelOf(t, d, model, func(b *nn.Builder) {
		b.Output("image", model.Decode(b, b.Input("z", kernels.Step, kernels.F32, 1, height/8, width/8, 4)))
	})
}

// count counts a program's launches by kind of operation and kernel: those of every run, and those of a request.
func (p *program) count() (each, once map[string]int) {
	each, once = map[string]int{}, map[string]int{}
	for i, n := range p.nodes {
		to := each
		if n.hoisted {
			to = once
		}
		for _, l := range n.launches {
			to[kindOf(p.plan.Nodes[i].Spec)+" "+l.kernel]++
		}
	}
	return each, once
}

func kindOf(s kernels.Spec) string {
	return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", operation(s)), "kernels."), "cuda.")
}

func total(count map[string]int) (n int) {
	for _, k := range count {
		n += k
	}
	return n
}

func listed(count map[string]int) string {
	var lines []string
	for what, n := range count {
		lines = append(lines, fmt.Sprintf("%5d %s", n, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(b, a) })
	return strings.Join(lines, "\n")
}

// TestLaunchesOfAStep bounds the launches of a guided step of the full-size model and of decoding: each costs a
// microsecond or two that no kernel can win back.
func TestLaunchesOfAStep(t *testing.T) {
	d := onHopper(t)
	for _, c := range []struct {
		name       string
		plan       modelPlan
		each, once int
	}{
		{"step", step(t, d), 789, 6},
		{"decode", decode(t, d), 174, 0},
	} {
		p := c.plan.program(t, d)
		each, once := p.count()
		t.Logf("%s: %d launches a run, %d a request, arena %d MB\n%s\na request\n%s", c.name, total(each), total(once), p.need>>20, listed(each), listed(once))
		if total(each) > c.each || total(once) > c.once {
			t.Errorf("%s: %d launches a run and %d a request, want at most %d and %d", c.name, total(each), total(once), c.each, c.once)
		}
	}
}
