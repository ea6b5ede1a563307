package main

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// texts reads what a PNG says of itself.
func texts(t *testing.T, path string) map[string]string {
	t.Helper()
	list, err := imagefile.Texts(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, x := range list {
		m[x.Key] = x.Value
	}
	return m
}

// pixels decodes a PNG, so that images can be compared whatever they say of themselves.
func pixels(t *testing.T, path string) []byte {
	t.Helper()
	img, err := (&generateFlags{}).readImage("image", path)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, bl, _ := img.At(x, y).RGBA()
			b = append(b, byte(r>>8), byte(g>>8), byte(bl>>8))
		}
	}
	return b
}

func TestGenerate(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	first := must(t, tiny(a)...)
	if want := filepath.Join(a, "out.png") + "\n"; first.out != want || first.err != "" {
		t.Errorf("wrote %q and %q, want %q and nothing", first.out, first.err, want)
	}
	must(t, tiny(b)...)
	if !bytes.Equal(read(t, filepath.Join(a, "out.png")), read(t, filepath.Join(b, "out.png"))) {
		t.Error("the same seed gave another file")
	}
	said := texts(t, filepath.Join(a, "out.png"))
	for key, want := range map[string]string{"prompt": "a lighthouse", "seed": "7", "num_inference_steps": "2", "guidance_scale": "5",
		"scheduler": "euler", "size": "64x64", "model": "synth:tiny"} {
		if said[key] != want {
			t.Errorf("the image says %s %q, want %q", key, said[key], want)
		}
	}
	if want := "a lighthouse\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 64x64, Model hash: " + said["model_hash"] + ", Model: \"synth:tiny\", RNG: CPU, Version: goxl "; !strings.HasPrefix(said["parameters"], want) {
		t.Errorf("the image says parameters %q, want %q", said["parameters"], want)
	}
	drawn := [][]byte{pixels(t, filepath.Join(a, "out.png"))}
	for _, more := range [][]string{
		{"-seed", "8"}, {"-negative", ""}, {"-negative", "fog"}, {"-guidance", "1"}, {"-scheduler", "ddim"}, {"-denoising-end", "0.5", "-steps", "4"},
		{"-watermark", "-width", "256", "-height", "256"}, {"-width", "256", "-height", "256"}, {"-prompt", ""},
		{"-refiner", "synth:tiny-refiner", "-steps", "5", "-denoising-end", "0.6"}, {"-refiner", "synth:tiny-refiner", "-steps", "5"},
	} {
		must(t, tiny(b, more...)...)
		p := pixels(t, filepath.Join(b, "out.png"))
		for _, other := range drawn {
			if bytes.Equal(p, other) {
				t.Errorf("%q drew a image that was there already", more)
			}
		}
		drawn = append(drawn, p)
		if more[0] == "-negative" {
			if got, ok := texts(t, filepath.Join(b, "out.png"))["negative_prompt"]; !ok || got != more[1] {
				t.Errorf("%q: the image says negative_prompt %q, %v", more, got, ok)
			}
		}
	}
	if said := texts(t, filepath.Join(b, "out.png")); said["refiner"] != "synth:tiny-refiner" || said["denoising_end"] != "0.8" ||
		!strings.Contains(said["parameters"], `Refiner: "synth:tiny-refiner", Refiner switch at: 0.8, `) {
		t.Errorf("an ensemble's image says %v", said)
	}
	if _, ok := said["negative_prompt"]; ok {
		t.Error("the image speaks of a negative prompt that was not given")
	}
}

func TestSeed(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.png")
	args := []string{"generate", "-model", "synth:tiny", "-prompt", "p", "-steps", "1", "-o", out}
	seeds := map[string]bool{}
	for _, more := range [][]string{nil, {"-seed", "-1"}, {"-seed=-1", "-quiet"}, {"-seed", "7", "-seed", "-1"}} {
		args := append(args, more...)
		found := regexp.MustCompile(`(?m)^seed (\d+)$`).FindStringSubmatch(must(t, args...).err)
		if found == nil || texts(t, out)["seed"] != found[1] {
			t.Fatalf("printed %q, stored %q", found, texts(t, out)["seed"])
		}
		seeds[found[1]] = true
	}
	if len(seeds) != 4 {
		t.Errorf("of four random seeds some are equal: %v", seeds)
	}
}

func TestBatch(t *testing.T) {
	dir := t.TempDir()
	a := must(t, tiny(dir, "-n", "2", "-save-latents", filepath.Join(dir, "l.safetensors"))...)
	var want []string
	for _, name := range []string{"out-0.png", "out-1.png", "l.safetensors"} {
		want = append(want, filepath.Join(dir, name))
	}
	if got := strings.Fields(a.out); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if bytes.Equal(pixels(t, want[0]), pixels(t, want[1])) {
		t.Error("both images are the same")
	}
	if said := texts(t, want[1]); said["image_index"] != "1" || said["num_images_per_prompt"] != "2" {
		t.Errorf("the second image says %v", said)
	}
	x, err := readLatents("latents", want[2])
	if err != nil || !slices.Equal(x.Shape, []int{2, 4, 8, 8}) {
		t.Errorf("latents %v, %v", x, err)
	}
}

func TestLatents(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "noise.safetensors")
	noise := &sdxl.Tensor{Shape: []int{1, 4, 8, 8}, Data: make([]float32, 256)}
	for i := range noise.Data {
		noise.Data[i] = float32(i%7) - 3
	}
	data, err := encodeLatents(noise)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(data))
	if back, err := readLatents("latents", path); err != nil || !slices.Equal(back.Shape, noise.Shape) || !slices.Equal(back.Data, noise.Data) {
		t.Errorf("read back %v, %v", back, err)
	}
	var drawn [][]byte
	for _, seed := range []string{"1", "2"} { // which does not count where the noise is given
		must(t, tiny(dir, "-latents", path, "-seed", seed)...)
		drawn = append(drawn, pixels(t, filepath.Join(dir, "out.png")))
	}
	must(t, tiny(dir)...)
	if !bytes.Equal(drawn[0], drawn[1]) || bytes.Equal(drawn[0], pixels(t, filepath.Join(dir, "out.png"))) {
		t.Error("-latents does not replace the seed's noise")
	}

	whole := weights.NewTensor(latentsTensor, kernels.F32, []int{1, 4, 8, 8}, make([]byte, 1024))
	half := weights.NewTensor(latentsTensor, kernels.F16, []int{1, 4, 8, 8}, make([]byte, 512))
	flat := weights.NewTensor(latentsTensor, kernels.F32, []int{4, 8, 8}, make([]byte, 1024))
	other, small, inf := whole, weights.NewTensor(latentsTensor, kernels.F32, []int{1, 4, 4, 4}, make([]byte, 256)), whole
	other.Name = "samples"
	inf.Data = func() ([]byte, error) { return bytes.Repeat([]byte{0, 0, 0x80, 0x7f}, 256), nil }
	for says, tensor := range map[string]weights.Tensor{
		`is F16: must be F32`:        half,
		"is [4 8 8]: must have 4":    flat,
		"holds: samples":             other,
		"holds +Inf: must be finite": inf,
		"must be [1 4 8 8]":          small,
	} {
		if err := weights.Write(path, []weights.Tensor{tensor}, nil); err != nil {
			t.Fatal(err)
		}
		if a := goxl(t, tiny(dir, "-latents", path)...); a.status == 0 || !strings.Contains(a.err, "-latents") || !strings.Contains(a.err, says) {
			t.Errorf("status %d, said %q, want %q", a.status, a.err, says)
		}
	}
}

func TestRefine(t *testing.T) {
	dir := t.TempDir()
	must(t, tiny(dir)...)
	in := filepath.Join(dir, "out.png")
	var drawn [][]byte
	for i, more := range [][]string{nil, {"-base", "synth:tiny"}, {"-strength", "0.9"}, {"-model", "synth:tiny"}} {
		out := filepath.Join(dir, "fine.png")
		a := must(t, append([]string{"refine", "-model", "synth:tiny-refiner", "-image", in, "-prompt", "p", "-seed", "1", "-steps", "4", "-quiet", "-o", out}, more...)...)
		if a.out != out+"\n" {
			t.Errorf("wrote %q", a.out)
		}
		drawn = append(drawn, pixels(t, out))
		if i == 0 {
			if said := texts(t, out); said["image"] != "out.png" || said["strength"] != "0.3" || !strings.Contains(said["parameters"], "Denoising strength: 0.3, ") {
				t.Errorf("the image says %v", said)
			}
		}
	}
	if !bytes.Equal(drawn[0], drawn[1]) {
		t.Error("sharing with a base changes the image")
	}
	if bytes.Equal(drawn[0], drawn[2]) || bytes.Equal(drawn[0], drawn[3]) {
		t.Error("strength or model does not count")
	}
	a := goxl(t, "refine", "-model", "synth:tiny-refiner", "-image", in, "-prompt", "p", "-strength", "0", "-o", in)
	if a.status != 2 || !strings.Contains(a.err, "for flag -strength: must be above 0") {
		t.Errorf("strength 0: status %d, said %q", a.status, a.err)
	}
}

// TestDemoRefiner draws with the embedded model, refines with its refiner without any flag of models, and lets the refiner draw the last steps.
func TestDemoRefiner(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	common := []string{"-prompt", "a cat", "-seed", "1", "-quiet", "-o"}
	small := append([]string{"generate", "-width", "128", "-height", "128", "-steps", "5"}, common...)
	must(t, append(small, in)...)
	must(t, append(append([]string{"refine", "-image", in}, common...), out)...)
	said := texts(t, out)
	for key, want := range map[string]string{"model": "demo", "image": "in.png", "num_inference_steps": "20", "guidance_scale": "1", "strength": "0.15", "size": "128x128"} {
		if said[key] != want {
			t.Errorf("the refined image says %s %q, want %q", key, said[key], want)
		}
	}
	refined := pixels(t, out)
	must(t, append(append([]string{"refine", "-model", "demo", "-base", "demo", "-image", in}, common...), out)...)
	if !bytes.Equal(pixels(t, out), refined) {
		t.Error("-base demo is not what -model demo takes by itself")
	}
	must(t, append(append(small, out), "-refiner", "demo")...)
	if said := texts(t, out); said["refiner"] != "demo" || said["denoising_end"] != "0.8" || bytes.Equal(pixels(t, out), pixels(t, in)) {
		t.Errorf("an ensemble's image says %v, or is the base's own", said)
	}
	a := goxl(t, append(append([]string{"refine", "-base", "synth:tiny", "-image", in}, common...), out)...)
	if a.status != 1 || !strings.Contains(a.err, "does not belong to the base synth:tiny") {
		t.Errorf("beside another base: status %d, said %q", a.status, a.err)
	}
}

func TestProgressLines(t *testing.T) {
	dir := t.TempDir()
	args := slices.DeleteFunc(tiny(dir), func(s string) bool { return s == "-quiet" })
	a := must(t, args...)
	if !strings.Contains(a.err, "synth:tiny opened in ") || !regexp.MustCompile(`(?m)^step 2/2, .* in all; decoding$`).MatchString(a.err) || strings.ContainsAny(a.err, "\r\x1b") {
		t.Errorf("said %q", a.err)
	}

	var b bytes.Buffer
	p := newProgress(&b, false, 100)
	now := time.Now()
	p.now, p.last = func() time.Time { return now }, now
	for i := 1; i <= 100; i++ {
		now = now.Add(100 * time.Millisecond)
		p.step(sdxl.Progress{Step: i, Steps: 100, Elapsed: time.Duration(i) * 100 * time.Millisecond, Left: time.Duration(100-i) * 100 * time.Millisecond})
	}
	p.stop()
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 10 || lines[0] != "step 10/100, 9s left" || lines[9] != "step 100/100, 10s in all; decoding" {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

func TestProgressBar(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, true, 4)
	if !strings.Contains(b.String(), "preparing") {
		t.Errorf("before the first step the screen shows %q", &b)
	}
	for i := 1; i <= 3; i++ {
		p.step(sdxl.Progress{Step: i, Steps: 3, Left: time.Minute})
	}
	p.stop()
	if s := b.String(); !strings.Contains(s, "step 1/3, 1m0s left") || !strings.HasSuffix(s, "step 3/3, 0s in all; decoding\n") {
		t.Errorf("the screen shows %q", s)
	}
}

// TestInterrupt ends a run in its midst, at its beginning, and while a folder is written.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	midst, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	long := slices.DeleteFunc(tiny(dir, "-steps", "1000", "-n", "16"), func(s string) bool { return s == "-quiet" })
	for _, c := range []struct {
		ctx  context.Context
		args []string
	}{
		{gone, tiny(dir)},
		{gone, tiny(dir, "-refiner", "synth:tiny-refiner", "-steps", "5")},
		{midst, long},
		{gone, []string{"synth", "-size", "tiny", "-kind", "base", "-o", filepath.Join(dir, "model")}},
		{gone, []string{"bench", "step", "-model", "synth:tiny"}},
	} {
		var out bytes.Buffer
		said := notes{step: interrupt}
		status := run(c.ctx, c.args, &out, &said)
		if status != 1 || !strings.Contains(said.String(), "interrupted; nothing was written") || out.Len() > 0 {
			t.Errorf("goxl %q: status %d, said %q, %q", c.args, status, &out, &said.Buffer)
		}
	}
	if midst.Err() == nil {
		t.Error("no step was printed")
	}
	empty(t, dir)
}

// notes are what a run says; step is called when it prints a step.
type notes struct {
	bytes.Buffer
	step func()
}

func (n *notes) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("step ")) {
		n.step()
	}
	return n.Buffer.Write(p)
}
