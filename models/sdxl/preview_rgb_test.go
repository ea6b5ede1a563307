package sdxl

import (
	"fmt"
	"image"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn"
)

// TestPreviewGolden: the pixels are those of ComfyUI's previewer to the nearest byte, where it rounds down.
func TestPreviewGolden(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/previews.safetensors")
	data, dims := g.Floats("x0")
	levels, _ := g.Floats("levels")
	down, _ := g.Bytes("bytes")
	images := previewsOf(t, newModels(t).open("tiny"), &Tensor{Shape: dims, Data: data})
	used := map[uint8]bool{}
	for i, level := range levels {
		pixels := len(levels) / len(images) / 3
		got := images[i/3/pixels].Pix[i/3%pixels*4+i%3]
		if d := float64(got) - float64(level); d > 0.501 || d < -0.501 || got != down[i] && got != down[i]+1 {
			t.Fatalf("value %d is %d, want %v, of which ComfyUI makes %d", i, got, level, down[i])
		}
		used[got] = true
	}
	if len(used) < 200 {
		t.Errorf("%d levels: too few to say anything", len(used))
	}
}

// previewsOf makes the previews of latents on the model's device.
func previewsOf(t testing.TB, m *Model, x *Tensor) []*image.NRGBA {
	t.Helper()
	d, err := m.rgbDecoder()
	if err != nil {
		t.Fatal(err)
	}
	s := shape{batch: x.Shape[0], height: x.Shape[2], width: x.Shape[3]}
	r, err := d.start(t.Context(), s, stateOf(t, m, s, x), "x0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.wait(t.Context()); err != nil || r.err != nil {
		t.Fatal(err, r.err)
	}
	return r.images
}

// stateOf is a program of the UNet's with latents in a state x0.
func stateOf(t testing.TB, m *Model, s shape, x *Tensor) *nn.Program {
	t.Helper()
	p, err := m.UNet.Program(fmt.Sprint("state ", s), func(b *nn.Builder) {
		in := b.Input("x0", kernels.State, kernels.F32, s.batch, s.height, s.width, x.Shape[1])
		b.Assign(in, b.ScaleRepeat(in, b.Input("one", kernels.Step, kernels.F32, 1), 1))
	})
	if err == nil {
		err = p.SetFloats("x0", channelsLast(x)...)
	}
	if err == nil {
		err = p.SetFloats("one", 1)
	}
	if err == nil {
		err = p.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPreviewsThatOverflow computes steps again in bf16: the latents are those without previews, and no preview comes
// twice.
func TestPreviewsThatOverflow(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: []kernels.DType{kernels.F16}}
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := scheduled("dpmpp_2m_sde", 1, 48)
	want := latentsAlone(t, m, r)[0]
	r, seen, _ := previewing(r, 1)
	result, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(result.Latents.Data, want.Data) || result.Parameters.Precision != "bf16" {
		t.Errorf("other latents than without previews, or in %s", result.Parameters.Precision)
	}
	if !slices.Equal(*seen, []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("previews after %v", *seen)
	}
}

// TestPreviewsOnHost: with dynamic thresholding, whose steps the host takes, latents are those without previews, and
// x0 is within the threshold.
func TestPreviewsOnHost(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	changed, err := m.Scheduler.As("dpmpp_2m_sde")
	if err == nil {
		changed, err = changed.With(map[string]any{"thresholding": true, "sample_max_value": 2.5, "dynamic_thresholding_ratio": 0.9})
	}
	if err != nil {
		t.Fatal(err)
	}
	m.Scheduler = changed
	r := with(func(r *Request) { r.Seed, r.Seeds, r.ImagesPerPrompt = nil, []uint64{3, 4}, 2 })
	want := latentsAlone(t, m, r)[0]
	r, _, images := previewing(r, 1)
	run := started(t, m, r)
	for run.Next() {
		steps(t, run, 1)
		x0 := make([]float32, run.elements())
		if err := run.program.Floats(t.Context(), run.x0Name(), x0); err != nil {
			t.Fatal(err)
		}
		if most := max(slices.Max(x0), -slices.Min(x0)); most > 1 || most < 0.5 {
			t.Errorf("step %d: |x0| up to %v, want 1", run.next, most)
		}
		for i, img := range (*images)[run.next-1] {
			samePreview(t, fmt.Sprint("step ", run.next), img, sdxlRGB, channelsFirst(run.latentShape(), x0), i)
		}
	}
	finished(t, "with previews", run, want)
}

// TestLatentRGBOfFile reads a model's own factors from goxl.json.
func TestLatentRGBOfFile(t *testing.T) {
	t.Parallel()
	rgb, err := parseLatentRGB("goxl.json", [][]float64{{1, 2, 3}, {4, 5, 6}}, []float64{0.5, 0, -0.5})
	if err != nil || !slices.Equal(rgb.factors, [][3]float32{{1, 2, 3}, {4, 5, 6}}) || rgb.bias != [3]float32{0.5, 0, -0.5} {
		t.Error(rgb, err)
	}
	for want, c := range map[string]struct {
		factors [][]float64
		bias    []float64
	}{
		`"latent_rgb_factors" is [1 2]`:                         {[][]float64{{1, 2}}, nil},
		`"latent_rgb_factors" is [1 2 1e+300]`:                  {[][]float64{{1, 2, 1e300}}, nil},
		`"latent_rgb_factors_bias" is [1]; allowed: three`:      {[][]float64{{1, 2, 3}}, []float64{1}},
		`"latent_rgb_factors_bias" is [1 2 3]; allowed: absent`: {nil, []float64{1, 2, 3}},
	} {
		if _, err := parseLatentRGB("goxl.json", c.factors, c.bias); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// BenchmarkPreview is a preview of 1024×1024 pixels beside a step of the tiny UNet without one, and with.
func BenchmarkPreview(b *testing.B) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	m, err := Open(b.Context(), "synth:tiny", Options{Host: hostOf(dev)})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	x := nn.NewTensor(1, 4, 128, 128)
	b.Run("preview", func(b *testing.B) {
		from, s := stateOf(b, m, shape{batch: 1, height: 128, width: 128}, x), shape{batch: 1, height: 128, width: 128}
		d, err := m.rgbDecoder()
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := d.start(b.Context(), s, from, "x0"); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, preview := range map[string]*Preview{"step": nil, "step and preview": {Func: func(int, []*image.NRGBA) {}}} {
		b.Run(name, func(b *testing.B) {
			r := Request{Prompt: "a lighthouse", Width: 1024, Height: 1024, Steps: 1000, Seed: new(uint64(1)), LatentsOnly: true, Preview: preview}
			run, err := m.Start(b.Context(), r)
			if err != nil {
				b.Fatal(err)
			}
			defer run.Close()
			for b.Loop() {
				if err := run.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
