package sdxl

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
)

// TestCostOfImages: the cost counts what steers and the second pass as the plans of the networks themselves do.
func TestCostOfImages(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	m := models.open("tiny")
	const speed = 3e9
	cost, err := m.Cost(speed)
	if err != nil {
		t.Fatal(err)
	}
	size, second := Size{256, 384}, Size{512, 768}
	shape := m.newShape(1, size)
	shape.guided = true
	config := func(name string) []byte {
		c := synthControlConfig(name, true)
		if name == "controlnet" {
			c["conditioning_embedding_out_channels"] = []int{16, 32, 96, 256} // as published ones
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	flops := func(build func(*nn.Builder)) float64 {
		n, err := m.operations(build)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	netConfig, err := controlnet.ParseConfig(config("controlnet"), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	adapterConfig, err := t2iadapter.ParseConfig(config("t2i-adapter"), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	g := &controlGroup{hints: make([]controlnet.Hint, 1)}
	program := func(s controlnet.Shape) float64 { return flops(controlnet.Graph(netConfig, s)) }
	guided := program(g.controlShape(shape, true))
	alone := shape
	alone.guided = false
	unguided := program(g.controlShape(alone, true))
	one, hint := guided-unguided, 2*unguided-guided // a side, and the control image
	both := 2 * one
	features := flops(t2iadapter.Graph(adapterConfig, size.Height, size.Width))
	large := m.newShape(1, second)
	large.guided = true
	largeOne := large
	largeOne.guided = false
	largeBoth := 2 * (program(g.controlShape(large, true)) - program(g.controlShape(largeOne, true)))
	step, largeStep := flops(sampling(m.UNet, shape)), flops(sampling(m.UNet, large))
	decode := func(s Size) float64 { return flops(m.VAE.Graph(true, s.Height, s.Width)) }
	encode := flops(m.VAE.Graph(false, second.Height, second.Width))
	upscaled := float64(esrgan.X4Plus.FLOPs(int64(size.Height * size.Width)))

	plain := Parameters{Task: TextToImage, Images: 2, Steps: 10, Guidance: 5, Scheduler: "euler", Width: size.Width, Height: size.Height}
	base := 2 * (10*step + decode(size))
	hires := func(upscaler string) *HiresParameters {
		return &HiresParameters{Width: second.Width, Height: second.Height, Steps: 4, Strength: 0.5, Upscaler: upscaler}
	}
	twice := 2 * (10*step + 4*largeStep + decode(second))
	control := ControlParameters{Name: "a", Scale: 1, End: 1}
	for what, c := range map[string]struct {
		change func(*Parameters)
		want   float64
	}{
		"a ControlNet":         {func(p *Parameters) { p.Controls = []ControlParameters{control} }, base + hint + 2*10*both},
		"a half of one":        {func(p *Parameters) { c := control; c.Start, c.End = 0.25, 0.75; p.Controls = []ControlParameters{c} }, base + hint + 2*5*both},
		"two":                  {func(p *Parameters) { p.Controls = []ControlParameters{control, control} }, base + 2*hint + 2*20*both},
		"guess mode":           {func(p *Parameters) { c := control; c.GuessMode = true; p.Controls = []ControlParameters{c} }, base + hint + 2*10*one},
		"one without guidance": {func(p *Parameters) { p.Guidance, p.Controls = 1, []ControlParameters{control} }, base - 2*5*step + hint + 2*10*one},
		"a union": {func(p *Parameters) {
			c := control
			c.Mode = "canny"
			p.Controls = []ControlParameters{c, c}
		}, base + 2*hint + 2*10*both},
		"T2I-Adapters":    {func(p *Parameters) { p.T2IAdapters = make([]T2IAdapterParameters, 2) }, base + 2*features},
		"hires":           {func(p *Parameters) { p.Hires = hires("latent") }, twice},
		"a filter":        {func(p *Parameters) { p.Hires = hires("lanczos") }, twice + 2*(decode(size)+encode)},
		"a model":         {func(p *Parameters) { p.Hires = hires("4x-UltraSharp.pth") }, twice + 2*(decode(size)+encode+upscaled)},
		"hires with them": {func(p *Parameters) { p.Hires, p.Controls = hires("latent"), []ControlParameters{control} }, twice + 5*hint + 2*10*both + 2*4*largeBoth},
	} {
		p := plain
		c.change(&p)
		if got := cost.Seconds(p) * speed; math.Abs(got/c.want-1) > 0.02 {
			t.Errorf("%s: %.4g operations, the plans have %.4g", what, got, c.want)
		}
	}

	prompt := plain
	prompt.IPAdapters = []IPAdapterParameters{{Images: 2, Scale: 1}}
	most := cost.Seconds(prompt) - cost.Seconds(plain) - 2*cost.ImageEncode
	if want := 2 * 10 * 2 * cost.ImagePrompt.At(256*384); !(want > 0) || math.Abs(most/want-1) > 1e-6 || want > 0.2*cost.Seconds(plain) {
		t.Errorf("image prompts add %v s to steps of %v s, want %v", most, cost.Seconds(plain), want)
	}
	prompt.IPAdapters[0].Scale = 0
	if got := cost.Seconds(prompt) - cost.Seconds(plain) - 2*cost.ImageEncode; math.Abs(got) > 1e-9 {
		t.Errorf("image prompts of scale 0 add %v s to the steps", got)
	}

	refiner, err := models.open("tiny-refiner").Cost(speed)
	if err != nil {
		t.Fatal(err)
	}
	if refiner.Control != (Polynomial{}) || refiner.ImagePrompt != (Polynomial{}) || refiner.ImageEncode != 0 {
		t.Errorf("a refiner has costs of what it does not take: %+v", refiner)
	}
}

// TestCostOfBase: of the published sizes at 1024×1024 a full ControlNet takes less than a half of a UNet's step, and the
// rest little beside it.
func TestCostOfBase(t *testing.T) {
	t.Parallel()
	m, err := Open(t.Context(), "synth:base", Options{Host: hostOf(newModels(t).dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := m.Cost(1e12)
	if err != nil {
		t.Fatal(err)
	}
	const pixels = 1024 * 1024
	step := c.Step.At(pixels)
	for what, of := range map[string]struct{ part, low, high float64 }{
		"a ControlNet":   {c.Control.At(pixels), 0.3, 0.5},
		"an image":       {c.ImagePrompt.At(pixels), 0.0005, 0.02},
		"its encoder":    {c.ImageEncode, 0.02, 0.2},
		"a T2I-Adapter":  {c.T2IAdapter.At(pixels), 0.01, 0.2},
		"4 times larger": {c.Upscale.At(pixels), 1, 8},
	} {
		t.Logf("%s: %.4f of a step", what, of.part/step)
		if of.part < of.low*step || of.part > of.high*step {
			t.Errorf("%s takes %.4f of a step, want %v to %v", what, of.part/step, of.low, of.high)
		}
	}
}
