package sdxl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// parity compares full-size components on a device with diffusers in float32.
type parity struct {
	*golden.File
	dev     kernels.Device
	allowed func(output string) float64 // relative error
}

// TestParityCard does on a card, by every kernel family, what TestParityFull does on the CPU: the error in fp16 and in bf16 is at most twice that of diffusers in the
// same precision on a card, as tools/reference/half.py wrote it down. It takes a minute and 10 GB, and runs where GOXL_REQUIRE wants a card.
func TestParityCard(t *testing.T) {
	if !require.Wants(t, "cuda") {
		t.Skip("GOXL_REQUIRE does not want a card")
	}
	first := card(t, cuda.Options{})
	data, err := os.ReadFile(testdata + "/half.json")
	if err != nil {
		t.Fatalf("%v: tools/reference/half.py writes it", err)
	}
	var half struct{ Errors map[string]map[string]float64 }
	if err := json.Unmarshal(data, &half); err != nil {
		t.Fatal(err)
	}
	for _, variant := range first.Info().Variants {
		for _, precision := range first.Info().Precisions {
			name := map[kernels.DType]string{kernels.F16: "float16", kernels.BF16: "bfloat16"}[precision]
			t.Run(fmt.Sprintf("%s %v", variant, precision), func(t *testing.T) {
				p := parity{golden.Open(t, testdata+"/full.safetensors"), card(t, cuda.Options{Variant: variant, Precision: precision}), func(output string) float64 {
					return 2 * half.Errors[name][output]
				}}
				p.compare(t)
			})
		}
	}
}

func (p parity) compare(t *testing.T) {
	for _, component := range []string{"text_encoder", "text_encoder_2"} {
		t.Run(component, func(t *testing.T) { p.encoder(t, component) })
	}
	t.Run("vae", p.vae)
	t.Run("unet", func(t *testing.T) { p.unet(t, "unet", "base", 201) })
	t.Run("refiner", func(t *testing.T) { p.unet(t, "refiner", "refiner", 301) })
}

func fullConfig(t *testing.T, model, component string) []byte {
	data, err := fs.ReadFile(synthetic, "synthetic/"+model+"/"+component+"/config.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (p parity) encoder(t *testing.T, component string) {
	config, err := clip.ParseConfig(fullConfig(t, "base", component), component)
	if err != nil {
		t.Fatal(err)
	}
	e, err := clip.Open(p.dev, weights.Synthetic(component, nn.Shapes(clip.New(config)), kernels.F16), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	flat, shape := p.Ints(component + ".ids")
	started := time.Now()
	hidden, pooled, err := e.Encode(context.Background(), [][]int32{flat[:shape[1]], flat[shape[1]:]}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("two prompts, weights made on the way: %v", time.Since(started))
	p.near(t, component+".hidden", hidden)
	if pooled != nil {
		p.near(t, component+".pooled", pooled)
	}
}

func (p parity) vae(t *testing.T) {
	config, err := vae.ParseConfig(fullConfig(t, "base", "vae"), "vae")
	if err != nil {
		t.Fatal(err)
	}
	a, err := vae.Open(p.dev, weights.Synthetic("vae", nn.Shapes(vae.New(config)), kernels.F16), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	image := p.seeded(t, "vae.image", 101, 1, 3, 512, 512)
	for i, v := range image.Data {
		image.Data[i] = min(max(v/2, -1), 1)
	}
	started := time.Now()
	moments, err := a.Encode(context.Background(), vae.Image{Height: 512, Width: 512, Channels: 3, Data: channelsLast(image)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("encode: %v", time.Since(started))
	p.near(t, "vae.moments", channelsFirst([]int{1, 8, 64, 64}, moments.Data).Data)
	z := p.seeded(t, "vae.latents", 102, 1, 4, 64, 64)
	started = time.Now()
	decoded, err := a.Decode(context.Background(), one(z, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("decode: %v", time.Since(started))
	p.near(t, "vae.decoded", channelsFirst([]int{1, 3, 512, 512}, decoded.Data).Data)
}

func (p parity) unet(t *testing.T, name, model string, seed uint64) {
	config, err := unet.ParseConfig(fullConfig(t, model, "unet"), "unet")
	if err != nil {
		t.Fatal(err)
	}
	m := unet.New(config)
	src := weights.Synthetic("unet", nn.Shapes(m), kernels.F16)
	started := time.Now()
	bound, err := nn.Bind(m, src)
	if err != nil {
		t.Fatal(err)
	}
	network, err := nn.NewNetwork(p.dev, bound, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	d := &unet.Denoiser{Network: network, Config: config, Model: m}
	ids, idShape := p.Floats(name + ".time_ids")
	s := shape{batch: 2, height: 64, width: 64, tokens: 77, text: config.Context(), pooled: 1280, ids: idShape[1]}
	key, build := prediction(d, s)
	program, err := d.Program(key, build)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("weights made and compiled: %v", time.Since(started))
	text := p.seeded(t, name+".context", seed+1, 2, 77, config.Context(), 1)
	pooled := p.seeded(t, name+".text_embeds", seed+2, 2, 1280, 1, 1)
	rows := func(x []float32) [][]float32 { return slices.Collect(slices.Chunk(x, len(x)/2)) }
	if err := setConditioning(d, program, s, &conditioning{phases: []sides{{positive: []side{{rows(text.Data), rows(pooled.Data), rows(ids)}}}}}, 0, 1); err != nil {
		t.Fatal(err)
	}
	x := p.seeded(t, name+".sample", seed, 2, 4, 64, 64)
	if err := program.SetFloats("x", channelsLast(x)...); err != nil {
		t.Fatal(err)
	}
	timestep, _ := p.Floats(name + ".timestep")
	if err := s.setEvaluation(program, float64(timestep[0]), 1); err != nil {
		t.Fatal(err)
	}
	var runs [2][]float32
	for i := range runs {
		runs[i] = make([]float32, 2*4*64*64)
		started = time.Now()
		if err := program.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := program.Floats(context.Background(), "prediction", runs[i]); err != nil {
			t.Fatal(err)
		}
		t.Logf("run %d: %v, %.2f TFLOP", i, time.Since(started), float64(program.Plan().FLOPs())/1e12)
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Error("a second run gives other bits")
	}
	p.near(t, name+".output", channelsFirst([]int{2, 4, 64, 64}, runs[0]).Data)
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range bytes.Lines(status) {
			if bytes.HasPrefix(line, []byte("VmHWM")) {
				t.Logf("%s", bytes.TrimSpace(line))
			}
		}
	}
	if err := src.Release(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
}

// seeded draws an input as torch.randn does and checks its beginning.
func (p parity) seeded(t *testing.T, name string, seed uint64, shape ...int) *Tensor {
	x := nn.NewTensor(shape...)
	scheduler.NewGenerator(seed).Randn(x.Data)
	head, _ := p.Floats(name + ".head")
	for i, want := range head {
		if x.Data[i] != want {
			t.Fatalf("%s: value %d is %v, want %v", name, i, x.Data[i], want)
		}
	}
	return x
}

// near compares the elements that were kept, and the norm of all.
func (p parity) near(t *testing.T, name string, got []float32) {
	t.Helper()
	want, _ := p.Floats(name + ".strided")
	strides, _ := p.Ints(name + ".stride")
	kept := make([]float32, 0, len(want))
	for i := 0; i < len(got); i += int(strides[0]) {
		kept = append(kept, got[i])
	}
	golden.Near(t, name, kept, want, p.allowed(name))
	summary := p.Doubles(name + ".summary")
	var square float64
	for _, v := range got {
		square += float64(v) * float64(v)
	}
	if norm := math.Sqrt(square); !(math.Abs(norm/summary[2]-1) <= p.allowed(name)) {
		t.Errorf("%s: norm %v, want %v", name, norm, summary[2])
	}
}
