package sdxl

import (
	"math"
	"testing"

	"github.com/goxl/goxl/nn"
)

// The cost is that of the plans, within what sides take that a level of the UNet halves with a rest: of sizes between
// and far beyond those that it was fitted to, of both kinds of model.
func TestCost(t *testing.T) {
	m := newModels(t)
	base := m.open("tiny")
	for name, p := range map[string]*Model{"base": base, "refiner": m.open("tiny-refiner")} {
		const speed = 2e9
		cost, err := p.Cost(speed)
		if err != nil {
			t.Fatal(err)
		}
		flops := func(build func(*nn.Builder)) float64 {
			g, err := nn.Build(m.dev, build)
			if err != nil {
				t.Fatal(err)
			}
			return float64(g.Plan.FLOPs())
		}
		for _, size := range []Size{{64, 64}, {1024, 1024}, {2048, 2048}, {512, 1536}, {1000, 664}} {
			guided := p.newShape(3, size)
			guided.guided, guided.history = true, 1
			step := flops(sampling(p.UNet, guided))
			perturbed := guided
			perturbed.perturbed = perturbedShape(make([]bool, len(p.UNet.Config.SelfAttentions())))
			both := flops(sampling(p.UNet, perturbed))
			perturbed.guided = false
			unguided := flops(sampling(p.UNet, perturbed))
			decode, encode := flops(p.VAE.Graph(true, size.Height, size.Width)), flops(p.VAE.Graph(false, size.Height, size.Width))
			r := Parameters{Task: TextToImage}
			r.Width, r.Height, r.Images, r.Steps, r.Guidance, r.Strength, r.Scheduler = size.Width, size.Height, 3, 10, 5, 0.5, "euler"
			for _, c := range []struct {
				what   string
				change func(*Parameters)
				task   Task
				want   float64
			}{
				{"plain", func(*Parameters) {}, TextToImage, 10*step + 3*decode},
				{"without guidance", func(r *Parameters) { r.Guidance = 1 }, TextToImage, 10*step/2 + 3*decode},
				{"a half of guidance", func(r *Parameters) { r.GuidanceStart, r.GuidanceEnd = 0.2, 0.7 }, TextToImage, 7.5*step + 3*decode},
				{"PAG", func(r *Parameters) { r.PAGScale = 3 }, TextToImage, 10*both + 3*decode},
				{"PAG alone", func(r *Parameters) { r.PAGScale, r.Guidance = 3, 1 }, TextToImage, 10*unguided + 3*decode},
				{"heun", func(r *Parameters) { r.Scheduler = "heun_karras" }, TextToImage, 20*step + 3*decode},
				{"image-to-image", func(*Parameters) {}, ImageToImage, 5*step + 3*decode + 3*encode},
			} {
				r := r
				r.Task = c.task
				c.change(&r)
				got := cost.Seconds(r) * speed
				if math.Abs(got/c.want-1) > 0.04 {
					t.Errorf("%s, %v, %s: %.4g operations, the plans have %.4g", name, size, c.what, got, c.want)
				}
			}
		}
		if _, err := p.Cost(0); err == nil {
			t.Error("a device that does nothing is taken")
		}
	}
}
