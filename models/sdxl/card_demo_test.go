package sdxl

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/nn/weights"
)

// openDemoFolder opens the demo model from the tree, which a test binary built without it can do too.
func openDemoFolder(t *testing.T, dev kernels.Device, precision kernels.DType) *Model {
	t.Helper()
	return openBase(t, os.DirFS("../demo/base"), dev, precision)
}

func openBase(t *testing.T, folder fs.FS, dev kernels.Device, precision kernels.DType) *Model {
	t.Helper()
	p, err := OpenFS(t.Context(), folder, "demo", Options{Host: hostOf(dev), Precision: precision})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// cpuDevice opens the CPU.
func cpuDevice(t *testing.T) kernels.Device {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// cardRequest is an image that every device must generate alike.
type cardRequest struct {
	name string
	Request
}

// cardRequests together ask for everything a step can do: guidance and its rescaling, batches, other sizes, solvers with history and with noise, and an image that
// image-to-image begins with.
func cardRequests(p *Model) []cardRequest {
	one := func(name, prompt string, change func(*Request)) cardRequest {
		r := Request{Prompt: prompt}
		r.Seed = new(uint64(1))
		if change != nil {
			change(&r)
		}
		return cardRequest{name, r}
	}
	return []cardRequest{
		one("default", "a red apple on a green background", nil),
		one("pair of an odd size", "two cats", func(r *Request) { r.ImagesPerPrompt, r.Width, r.Height = 2, 200, 136 }),
		one("no guidance", "a rocket", func(r *Request) { r.Guidance, r.Steps = new(1.0), 8 }),
		one("rescaled guidance", "a rocket", func(r *Request) { r.GuidanceRescale, r.Steps = new(0.7), 8 }),
		one("noise", "a rocket", func(r *Request) { r.Scheduler, r.Steps = "euler_a", 8 }),
		one("history and noise", "a rocket", func(r *Request) { r.Scheduler, r.Steps = "dpmpp_2m_sde", 8 }),
	}
}

// trace is an image and the latents after each step.
type trace struct {
	*Result
	steps []*Tensor
}

func traced(t *testing.T, p *Model, r Request) (got trace) {
	t.Helper()
	r.OnStep = func(_ int, x *Tensor) error {
		got.steps = append(got.steps, x.Clone())
		return nil
	}
	var err error
	if got.Result, err = p.Generate(context.Background(), r); err != nil {
		t.Fatalf("%q: %v", r.Prompt, err)
	}
	return got
}

// distances are those of the latents after each step, relative to want's norm.
func (x trace) distances(want trace) string {
	var s string
	for i := range want.steps {
		var d, n float64
		for j, w := range want.steps[i].Data {
			e := float64(x.steps[i].Data[j]) - float64(w)
			d, n = d+e*e, n+float64(w)*float64(w)
		}
		s += fmt.Sprintf(" %.1e", math.Sqrt(d/n))
	}
	return s
}

// diffusersHalf is how near diffusers' images in bfloat16 are to those in float32, in dB by request.
func diffusersHalf(t *testing.T) map[string][]float64 {
	t.Helper()
	var file struct{ PSNR map[string][]float64 }
	data, err := os.ReadFile(testdata + "/demo_bfloat16.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.PSNR
}

// TestCardDemo draws the embedded model's images on the card in both precisions by every kernel family, and compares them with the CPU's in float32, whose
// images TestDemo compares with diffusers': 40 dB is a root mean square error of 2.55 levels. Beside bfloat16's stand diffusers' in it.
// A second run must give the same bits.
func TestCardDemo(t *testing.T) {
	half := diffusersHalf(t)
	first := card(t, cuda.Options{})
	exact := openDemoFolder(t, cpuDevice(t), kernels.F32)
	requests := cardRequests(exact)
	want := make([]trace, len(requests))
	for i, r := range requests {
		want[i] = traced(t, exact, r.Request)
	}
	redrawn := Request{Prompt: "a blue apple"}
	redrawn.Seed, redrawn.Strength, redrawn.Image = new(uint64(1)), 0.6, want[0].Images[0]
	requests, want = append(requests, cardRequest{"redrawn", redrawn}), append(want, traced(t, exact, redrawn))
	for _, variant := range first.Info().Variants {
		for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
			t.Run(fmt.Sprintf("%s %v", variant, precision), func(t *testing.T) {
				p := openDemoFolder(t, card(t, cuda.Options{Variant: variant, Precision: precision}), 0)
				for i, r := range requests {
					got := traced(t, p, r.Request)
					t.Logf("%s: distances of the latents from float32's after each step:%s", r.name, got.distances(want[i]))
					for k, img := range got.Images {
						own := ""
						if precision == kernels.BF16 {
							own = fmt.Sprintf(", diffusers %.1f", half[r.name][k])
						}
						if d := psnr(img, want[i].Images[k]); !(d >= 40) {
							t.Errorf("%s, image %d: %.1f dB to float32%s, want 40", r.name, k, d, own)
						} else {
							t.Logf("%s, image %d: %.1f dB to float32%s", r.name, k, d, own)
						}
					}
					again := traced(t, p, r.Request)
					if !slices.Equal(again.Latents.Data, got.Latents.Data) {
						t.Errorf("%s: a second run gives other latents", r.name)
					}
					for k := range got.Images {
						if !slices.Equal(again.Images[k].Pix, got.Images[k].Pix) {
							t.Errorf("%s: a second run gives another image", r.name)
						}
					}
				}
			})
		}
	}
}

// loudFolder is the demo model with a UNet whose residual stream is 2^by times as large, which its norms undo.
func loudFolder(t *testing.T, by int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../demo/base")); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir+"/unet/diffusion_pytorch_model.safetensors", func(all map[string]weights.Tensor) {
		for name, w := range all {
			contains := func(part string) bool { return strings.Contains("."+name, part) }
			factor := float32(1)
			if contains(".conv_in.") || contains(".conv2.") || contains(".proj_out.") ||
				strings.HasSuffix(name, ".bias") && (contains(".conv_shortcut.") || contains("samplers.")) {
				factor = float32(math.Ldexp(1, by))
			}
			half, err := w.Data()
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 0, 2*len(half))
			for i := 0; i < len(half); i += 2 {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(kernels.FromF16(binary.LittleEndian.Uint16(half[i:]))*factor))
			}
			all[name] = weights.NewTensor(name, kernels.F32, w.Shape, data)
		}
	})
	return dir
}

// TestCardOverflow draws with a UNet that overflows float16: the image is bfloat16's. One that overflows bfloat16 too is an error that names step and node.
func TestCardOverflow(t *testing.T) {
	dev := card(t, cuda.Options{})
	draw := func(dev kernels.Device, by int, watch bool, log io.Writer) (*Result, error) {
		p, err := Open(t.Context(), loudFolder(t, by), Options{Host: hostOf(dev, slog.New(slog.NewTextHandler(log, nil))), Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := Request{Prompt: "a red apple on a green background"}
		r.Seed, r.Steps = new(uint64(1)), 8
		if watch {
			r.OnStep = func(int, *Tensor) error { return nil }
		}
		return p.Generate(context.Background(), r)
	}
	const by = 16
	want, err := draw(cpuDevice(t), by, false, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for _, watch := range []bool{false, true} {
		var log bytes.Buffer
		got, err := draw(dev, by, watch, &log)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("watch %v: %.1f dB to float32; logged %s", watch, psnr(got.Images[0], want.Images[0]), &log)
		if d := psnr(got.Images[0], want.Images[0]); !(d >= 40) {
			t.Errorf("%.1f dB to float32, want 40", d)
		}
		if !strings.Contains(log.String(), "unet overflows in fp16") {
			t.Error("no warning")
		}
		if first == nil {
			first = got.Images[0].Pix
		} else if !slices.Equal(first, got.Images[0].Pix) {
			t.Error("looking on changes the image")
		}
	}
	if _, err := draw(dev, 126, false, io.Discard); err == nil || !strings.Contains(err.Error(), "step 1 of 8: ") || !strings.Contains(err.Error(), "in bf16") {
		t.Errorf("error %v, want one that names the step and a node in bf16", err)
	} else {
		t.Logf("as it should: %v", err)
	}
}
