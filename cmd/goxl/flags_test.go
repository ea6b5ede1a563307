package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// Each flag of generate and refine is passed on in the request, and one that is not given leaves what the model
// has.
func TestRequestOfFlags(t *testing.T) {
	for _, c := range []struct {
		args   []string
		change func(r *sdxl.Request)
	}{
		{nil, func(*sdxl.Request) {}},
		{[]string{"-prompt-2", "b"}, func(r *sdxl.Request) { r.Prompt2 = "b" }},
		{[]string{"-negative", "fog"}, func(r *sdxl.Request) { r.NegativePrompt = new("fog") }},
		{[]string{"-negative", ""}, func(r *sdxl.Request) { r.NegativePrompt = new("") }},
		{[]string{"-negative-2", "fog"}, func(r *sdxl.Request) { r.NegativePrompt2 = new("fog") }},
		{[]string{"-prompt", ""}, func(r *sdxl.Request) { r.Prompt = "" }},
		{[]string{"-steps", "7"}, func(r *sdxl.Request) { r.Steps = 7 }},
		{[]string{"-timesteps", "999, 500,1"}, func(r *sdxl.Request) { r.Timesteps = []float64{999, 500, 1} }},
		{[]string{"-sigmas", "14.6,1.5,0"}, func(r *sdxl.Request) { r.Sigmas = []float64{14.6, 1.5, 0} }},
		{[]string{"-guidance", "0"}, func(r *sdxl.Request) { r.Guidance = new(0.0) }},
		{[]string{"-guidance", "7,5,1"}, func(r *sdxl.Request) { r.GuidancePerStep = []float64{7, 5, 1} }},
		{[]string{"-guidance-rescale", "0.7"}, func(r *sdxl.Request) { r.GuidanceRescale = new(0.7) }},
		{[]string{"-prompt-style", "comfy"}, func(r *sdxl.Request) { r.PromptStyle = prompt.Comfy }},
		{[]string{"-prompt-style", "a1111", "-emphasis", "nonorm"}, func(r *sdxl.Request) { r.PromptStyle, r.Emphasis = prompt.A1111, sdxl.EmphasisNoNorm }},
		{[]string{"-eta", "1"}, func(r *sdxl.Request) { r.Eta = new(1.0) }},
		{[]string{"-clip-skip", "1"}, func(r *sdxl.Request) { r.ClipSkip = 1 }},
		{[]string{"-seed", "0"}, func(r *sdxl.Request) { r.Seed = new(uint64(0)) }},
		{[]string{"-seed", "1,18446744073709551615"}, func(r *sdxl.Request) { r.Seeds = []uint64{1, 1<<64 - 1} }},
		{[]string{"-seed", "1,2", "-seed", "-1"}, func(r *sdxl.Request) {}},
		{[]string{"-subseed", "9", "-subseed-strength", "0.25"}, func(r *sdxl.Request) { r.Subseed, r.SubseedStrength = new(uint64(9)), 0.25 }},
		{[]string{"-subseed", "9", "-subseed", "-1", "-subseed-strength", "0"}, func(r *sdxl.Request) {}},
		{[]string{"-n", "3"}, func(r *sdxl.Request) { r.ImagesPerPrompt = 3 }},
		{[]string{"-scheduler", "ddim"}, func(r *sdxl.Request) { r.Scheduler = "ddim" }},
		{[]string{"-scheduler", "dpmpp_2m_sgm_uniform"}, func(r *sdxl.Request) { r.Scheduler = "dpmpp_2m_sgm_uniform" }},
		{[]string{"-scheduler", "DPM++ 2M SDE Karras"}, func(r *sdxl.Request) { r.Scheduler = "k_dpmpp_2m_sde_karras" }},
		{[]string{"-scheduler", "comfyui:euler beta"}, func(r *sdxl.Request) { r.Scheduler = "comfy_euler_beta" }},
		{[]string{"-preset", "lightning2"}, func(r *sdxl.Request) { r.Preset = "lightning2" }},
		{[]string{"-preset", "tcd", "-eta", "0"}, func(r *sdxl.Request) { r.Preset, r.Eta = "tcd", new(0.0) }},
		{[]string{"-interrupt", "2"}, func(r *sdxl.Request) { r.Interrupt = 2 }},
		{[]string{"-original-size", "640x480"}, func(r *sdxl.Request) { r.OriginalSize = sdxl.Size{Height: 480, Width: 640} }},
		{[]string{"-target-size", "640x480"}, func(r *sdxl.Request) { r.TargetSize = sdxl.Size{Height: 480, Width: 640} }},
		{[]string{"-crop", "1,2"}, func(r *sdxl.Request) { r.CropTop, r.CropLeft = 1, 2 }},
		{[]string{"-negative-original-size", "640x480"}, func(r *sdxl.Request) { r.NegativeOriginalSize = sdxl.Size{Height: 480, Width: 640} }},
		{[]string{"-negative-target-size", "640x480"}, func(r *sdxl.Request) { r.NegativeTargetSize = sdxl.Size{Height: 480, Width: 640} }},
		{[]string{"-negative-crop", "1,2"}, func(r *sdxl.Request) { r.NegativeCropTop, r.NegativeCropLeft = 1, 2 }},
		{[]string{"-aesthetic-score", "0"}, func(r *sdxl.Request) { r.AestheticScore = new(0.0) }},
		{[]string{"-negative-aesthetic-score", "3"}, func(r *sdxl.Request) { r.NegativeAestheticScore = new(3.0) }},
		{[]string{"-strength", "1", "-image-latents", "in.safetensors"}, func(r *sdxl.Request) { r.Strength = 1 }},
		{[]string{"-denoising-start", "0.2"}, func(r *sdxl.Request) { r.DenoisingStart = 0.2 }},
		{[]string{"-watermark"}, func(r *sdxl.Request) { r.Watermark = true }},
		{[]string{"-watermark=false"}, func(r *sdxl.Request) {}},
		{[]string{"-watermark", "-watermark=false"}, func(r *sdxl.Request) {}},
		{[]string{"-denoising-end", "0.4"}, func(r *sdxl.Request) { r.DenoisingEnd = 0.4 }},
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		g := generateFlags{model: "synth:tiny"}
		g.register(fs)
		g.registerEnd(fs, "")
		if err := fs.Parse(append([]string{"-prompt", "a cat"}, c.args...)); err != nil {
			t.Fatal(err)
		}
		if err := g.check(); err != nil {
			t.Fatal(err)
		}
		want := sdxl.Request{Prompt: "a cat"}
		c.change(&want)
		if diff := cmp.Diff(want, g.request); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, diff)
		}
	}
}

// What models are opened with is what the flags say.
func TestOptionsOfFlags(t *testing.T) {
	g := generateFlags{variant: "fp16"}
	if o := g.options(kernels.BF16, streams{io.Discard, io.Discard}); o.Precision != kernels.BF16 || o.Variant != "fp16" || o.Log == nil {
		t.Errorf("options %+v", o)
	}
}

// twoVariants is a base whose UNet lies there twice, with other weights under the name of a variant.
func twoVariants(t *testing.T, kind string) string {
	t.Helper()
	dir, other := synthesised(t, kind), synthesised(t, kind, "-dtype", "fp16")
	for _, part := range []string{"unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model", "text_encoder_2/model"} {
		data, err := os.ReadFile(filepath.Join(other, part+".safetensors"))
		if os.IsNotExist(err) { // a refiner has one encoder
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, part+".half.safetensors"), string(data))
	}
	return dir
}

// TestVariantFlag draws with the files that -variant names, in every command that has it.
func TestVariantFlag(t *testing.T) {
	base, refiner, dir := twoVariants(t, "base"), twoVariants(t, "refiner"), t.TempDir()
	in := filepath.Join(dir, "in.png")
	must(t, tiny(dir, "-o", in)...)
	draw := func(args ...string) []byte {
		t.Helper()
		must(t, append(args, "-device", "cpu", "-prompt", "p", "-seed", "1", "-steps", "3", "-quiet", "-o", filepath.Join(dir, "out.png"))...)
		return pixels(t, filepath.Join(dir, "out.png"))
	}
	for _, args := range [][]string{{"generate", "-model", base}, {"refine", "-strength", "1", "-model", refiner, "-image", in}, {"refine", "-strength", "1", "-model", base, "-image", in}} {
		if bytes.Equal(draw(args...), draw(append(args, "-variant", "half")...)) {
			t.Errorf("%q draws the same with -variant half", args)
		}
	}
	if a := must(t, "inspect", base, "-variant", "half"); !strings.Contains(a.out, "diffusion_pytorch_model.half.safetensors") || !strings.Contains(a.out, "F16") {
		t.Errorf("inspect -variant half:\n%s", a.out)
	}
	for _, args := range [][]string{{"inspect", base}, {"bench", "step", "-model", base, "-width", "64", "-height", "64"},
		{"generate", "-model", base, "-prompt", "p", "-o", in}, {"refine", "-model", base, "-image", in, "-prompt", "p", "-o", in}} {
		a := goxl(t, append(args, "-variant", "none")...)
		if a.status != 1 || !strings.Contains(a.out+a.err, "none") || !strings.Contains(a.out+a.err, "half") {
			t.Errorf("%q with a variant that is not there: status %d, said %s%s", args, a.status, a.out, a.err)
		}
	}
	// The files that are not meant may be damaged.
	write(t, filepath.Join(base, "unet", "diffusion_pytorch_model.safetensors"), "nothing")
	if a := must(t, "inspect", base, "-variant", "half"); strings.Contains(a.out, "problems") {
		t.Errorf("inspect -variant half beside a damaged file:\n%s", a.out)
	}
}

// TestDeviceFlags computes as the flags of the device say, in every command that has them.
func TestDeviceFlags(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.png")
	must(t, tiny(dir, "-o", in)...)
	for _, args := range [][]string{
		{"generate", "-model", "synth:tiny", "-prompt", "p", "-steps", "1", "-o", filepath.Join(dir, "out.png")},
		{"refine", "-model", "synth:tiny", "-image", in, "-prompt", "p", "-steps", "1", "-strength", "1", "-o", filepath.Join(dir, "out.png")},
		{"bench", "step", "-model", "synth:tiny", "-width", "64", "-height", "64", "-runs", "1"},
	} {
		a := must(t, append(args, "-device", "cpu", "-threads", "3", "-precision", "fp32")...)
		if !strings.Contains(a.out+a.err, ", 3 threads)") {
			t.Errorf("%q does not compute with three threads: %s%s", args, a.out, a.err)
		}
		if a := goxl(t, append(args, "-device", "cpu", "-precision", "bf16")...); a.status != 1 || !strings.Contains(a.err, "precision bf16 is not there on cpu") {
			t.Errorf("%q takes -precision bf16: status %d, said %q", args, a.status, a.err)
		}
		if a := goxl(t, append(args, "-device", "cpu", "-gpu-memory", "1GiB")...); a.status != 2 || !strings.Contains(a.err, "-gpu-memory 1GiB: has no meaning for -device cpu") {
			t.Errorf("%q takes -gpu-memory: status %d, said %q", args, a.status, a.err)
		}
	}
	var f stepFigures
	decode(t, must(t, "bench", "step", "-model", "synth:tiny", "-width", "48", "-height", "80", "-runs", "2", "-device", "cpu", "-kernels", "portable", "-json").out, &f)
	if f.Machine.Kernels != "portable" || f.Width != 48 || f.Height != 80 || len(f.Steps) != 2 || f.GFLOP <= 0 {
		t.Errorf("bench step: %+v", f)
	}
	var wider stepFigures
	decode(t, must(t, "bench", "step", "-model", "synth:tiny", "-width", "96", "-height", "80", "-runs", "1", "-device", "cpu", "-json").out, &wider)
	if !(wider.GFLOP > 1.5*f.GFLOP) {
		t.Errorf("a step of twice the width has %g GFLOP, of the width %g: -width does not reach the model", wider.GFLOP, f.GFLOP)
	}
	var image imageFigures
	decode(t, must(t, "bench", "image", "-model", "synth:tiny", "-width", "64", "-height", "64", "-steps", "3", "-runs", "2", "-device", "cpu", "-json").out, &image)
	if image.Steps != 3 || len(image.Images) != 1 {
		t.Errorf("bench image: %+v", image)
	}
}

// TestRefineFlags hands on what refine alone has, and what generate has too.
func TestRefineFlags(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	must(t, tiny(dir, "-o", in)...)
	common := []string{"refine", "-device", "cpu", "-model", "synth:tiny", "-image", in, "-prompt", "p", "-seed", "5", "-steps", "6", "-strength", "0.5", "-quiet", "-o", out}
	drawn := map[string]string{}
	for _, more := range []string{"", "-seed 6", "-negative fog", "-guidance 1", "-scheduler ddim", "-strength 0.9", "-denoising-end 0.8", "-steps 8", "-image " + filepath.Join(inspected, "rgb8.png")} {
		must(t, append(common, strings.Fields(more)...)...)
		p := string(pixels(t, out))
		if before, there := drawn[p]; there {
			t.Errorf("%q draws what %q draws", more, before)
		}
		drawn[p] = more
		if said := texts(t, out); more == "" && said["seed"] != "5" || more == "-denoising-end 0.8" && said["denoising_end"] != "0.8" || more == "-negative fog" && said["negative_prompt"] != "fog" {
			t.Errorf("%q: the image says %v", more, said)
		}
	}
	if a := must(t, append(common, "-n", "2", "-save-latents", filepath.Join(dir, "l.safetensors"))...); strings.Count(a.out, "\n") != 3 {
		t.Errorf("two images and latents: wrote %q", a.out)
	}
	borrows := synthesised(t, "refiner")
	for _, part := range []string{"vae", "text_encoder_2"} {
		if err := os.RemoveAll(filepath.Join(borrows, part)); err != nil {
			t.Fatal(err)
		}
	}
	if a := goxl(t, append(common, "-model", borrows)...); a.status != 1 {
		t.Errorf("a refiner without its base: status %d, said %q", a.status, a.err)
	}
	must(t, append(common, "-model", borrows, "-base", "synth:tiny")...)
}

// TestWatermarkFlag finds the watermark where it was asked for, and nowhere else.
func TestWatermarkFlag(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	size := []string{"-width", "256", "-height", "256"}
	must(t, append(tiny(dir, "-o", in, "-steps", "1"), size...)...)
	for _, args := range [][]string{
		append([]string{"generate", "-steps", "1"}, size...),
		{"refine", "-image", in, "-steps", "1", "-strength", "1"},
	} {
		draw := func(more ...string) string {
			must(t, append(append(args, "-device", "cpu", "-model", "synth:tiny", "-prompt", "p", "-seed", "1", "-quiet", "-o", out), more...)...)
			return string(pixels(t, out))
		}
		plain, marked, off := draw(), draw("-watermark"), draw("-watermark=false")
		if plain == marked || plain != off {
			t.Errorf("%s: -watermark changes the image: %v, -watermark=false: %v; want true and false", args[0], plain != marked, plain != off)
		}
		if draw("-watermark"); texts(t, out)["watermark"] != "true" {
			t.Errorf("%s: the image does not say that it has a watermark", args[0])
		}
	}
}

// The image says what the flags asked for.
func TestParametersOfFlags(t *testing.T) {
	dir := t.TempDir()
	must(t, tiny(dir, "-guidance", "2.5", "-scheduler", "euler_a", "-steps", "3", "-width", "48", "-height", "72", "-denoising-end", "0.7")...)
	list, err := imagefile.Texts(read(t, filepath.Join(dir, "out.png")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range list {
		if x.Key != "version" && x.Key != "parameters" {
			got = append(got, x.Key+"="+x.Value)
		}
	}
	hash := texts(t, filepath.Join(dir, "out.png"))["model_hash"]
	if len(hash) != 10 {
		t.Errorf("model_hash %q", hash)
	}
	want := []string{"prompt=a lighthouse", "seed=7", "num_inference_steps=3", "guidance_scale=2.5", "scheduler=euler_a", "denoising_end=0.7", "size=48x72", "model=synth:tiny", "model_hash=" + hash, "device=cpu", "precision=fp32"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The image says which VAE was taken in place of the model's own, in an ensemble too.
func TestVAEInParameters(t *testing.T) {
	dir, folder := t.TempDir(), synthesised(t, "base")
	for _, more := range [][]string{nil, {"-refiner", "synth:tiny-refiner"}} {
		must(t, tiny(dir, append(more, "-vae", filepath.Join(folder, "vae"))...)...)
		got := texts(t, filepath.Join(dir, "out.png"))
		if got["vae"] != "vae" || !strings.Contains(got["parameters"], "Model: \"synth:tiny\", VAE: vae, ") {
			t.Errorf("%q: the texts are %q", more, got)
		}
	}
}

// taesdFile writes a small TAESD with weights of its name.
func taesdFile(t *testing.T, dir, name string) string {
	t.Helper()
	c := taesd.TAESDXL
	c.DecoderBlockOutChannels, c.EncoderBlockOutChannels = []int{8, 8, 8, 8}, []int{8, 8, 8, 8}
	tensors, err := weights.Tensors(weights.Synthetic(name, nn.Shapes(taesd.New(c)), kernels.F32))
	file := filepath.Join(dir, name+".safetensors")
	if err == nil {
		err = weights.Write(file, tensors, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// -taesd decodes in the VAE's place, which the image says, in an ensemble too; check compares it.
func TestTAESD(t *testing.T) {
	dir := t.TempDir()
	file := taesdFile(t, dir, "taesdxl")
	for _, more := range [][]string{nil, {"-refiner", "synth:tiny-refiner"}} {
		must(t, tiny(dir, more...)...)
		without, err := os.ReadFile(filepath.Join(dir, "out.png"))
		if err != nil {
			t.Fatal(err)
		}
		must(t, tiny(dir, append(more, "-taesd", file)...)...)
		with, err := os.ReadFile(filepath.Join(dir, "out.png"))
		if err != nil || bytes.Equal(with, without) {
			t.Errorf("%q: %v, or the same image", more, err)
		}
		if got := texts(t, filepath.Join(dir, "out.png")); got["taesd"] != "taesdxl.safetensors" || got["vae"] != "" || !strings.Contains(got["parameters"], "VAE Decoder: TAESD, ") {
			t.Errorf("%q: the texts are %q", more, got)
		}
	}
	if a := goxl(t, "check", "synth:tiny", "-device", "cpu", "-taesd", file); a.status != 0 || !strings.Contains(a.out, "taesd.decoder") {
		t.Errorf("check: status %d\n%s%s", a.status, a.out, a.err)
	}
}

// Every sampler has a name in A1111's parameters.
func TestSamplersInParameters(t *testing.T) {
	for _, name := range scheduler.Names() {
		if text := (imagefile.Parameters{Parameters: sdxl.Parameters{Scheduler: name}}).Texts()[0]; text.Key != "parameters" || strings.Contains(text.Value, "Sampler: "+name) {
			t.Errorf("%s has no name of A1111's: %q", name, text)
		}
	}
}
