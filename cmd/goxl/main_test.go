package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/cli"
)

// answer is what a run of the program gave.
type answer struct {
	status   int
	out, err string
}

func goxlWith(ctx context.Context, args ...string) answer {
	var out, err bytes.Buffer
	status := run(ctx, args, &out, &err)
	return answer{status, out.String(), err.String()}
}

func goxl(t *testing.T, args ...string) answer {
	t.Helper()
	return goxlWith(t.Context(), args...)
}

// must runs goxl, which has to succeed.
func must(t *testing.T, args ...string) answer {
	t.Helper()
	a := goxl(t, args...)
	if a.status != cli.StatusOK {
		t.Fatalf("goxl %q: status %d, said %s%s", args, a.status, a.out, a.err)
	}
	return a
}

// tiny draws with the tiny model into a directory.
func tiny(dir string, more ...string) []string {
	return append([]string{"generate", "-model", "synth:tiny", "-prompt", "a lighthouse", "-seed", "7", "-steps", "2", "-quiet", "-o", filepath.Join(dir, "out.png")}, more...)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// empty fails the test if anything lies in dir.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", e.Name())
	}
}

func TestUsage(t *testing.T) {
	dir, loras := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(loras, "text.safetensors"), []byte("<text>"), 0o600); err != nil {
		t.Fatal(err)
	}
	refiner := func(more ...string) []string {
		return append([]string{"refine", "-model", "synth:tiny-refiner", "-prompt", "p", "-image", "testdata/none.png"}, more...)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, 2, "Usage: goxl COMMAND"},
		{[]string{"draw"}, 2, `unknown command "draw": must be one of generate, refine, upscale, pull, synth, inspect, check, bench`},
		{[]string{"help", "draw"}, 2, `unknown command "draw"`},
		{[]string{"help", "synth", "x"}, 2, `unexpected argument "x"`},
		{[]string{"version", "x"}, 2, `unexpected argument "x"`},
		{[]string{"generate"}, 2, "missing -prompt"},
		{[]string{"generate", "-model", "synth:tiny"}, 2, "missing -prompt"},
		{[]string{"generate", "-model", "synth:tiny", "-prompt"}, 2, "flag needs an argument: -prompt"},
		{tiny(dir, "-nonsense"), 2, "-nonsense"},
		{tiny(dir, "stray"), 2, `unexpected argument "stray"`},
		{tiny(dir, "-model", ""), 2, `-model ""`},
		{tiny(dir, "-model", "synth:huge"), 1, "must be one of base, refiner, tiny, tiny-refiner"},
		{tiny(dir, "-model", filepath.Join(dir, "none")), 1, "no such file"},
		{tiny(dir, "-model", "maker/model"), 1, "hub"},
		{tiny(dir, "-model", "main.go"), 1, "allowed: a safetensors file"},
		{tiny(dir, "-model", "synth:tiny-refiner"), 1, "this is a refiner"},
		{tiny(dir, "-refiner", "synth:tiny"), 1, "the model is a base"},
		{tiny(dir, "-refiner", "demo"), 1, "does not belong to the base synth:tiny"},
		{tiny(dir, "-refiner", "demonstration"), 1, "known by name are demo, synth:base"},
		{tiny(dir, "-prompt", "\xff"), 2, `-prompt "\xff": must be UTF-8 text`},
		{tiny(dir, "-negative", "\xff"), 2, `-negative "\xff": must be UTF-8 text`},
		{tiny(dir, "-steps", "0"), 2, `invalid value "0" for flag -steps: must be a whole number from 1 to`},
		{tiny(dir, "-steps", "1001"), 2, "-steps 1001: must be 1 to 1000"},
		{tiny(dir, "-steps", "two"), 2, `value "two" for flag -steps: must be a whole number from 1 to`},
		{tiny(dir, "-steps", "99999999999999999999"), 2, "for flag -steps: must be a whole number from 1 to"},
		{tiny(dir, "-guidance", "1e400"), 2, "for flag -guidance: must be a finite number"},
		{tiny(dir, "-height", "99999999999"), 2, "-height 99999999999: must be a multiple of 8 from 8 to 8192"},
		{tiny(dir, "-guidance", "much"), 2, "for flag -guidance: must be a finite number"},
		{tiny(dir, "-guidance", "NaN"), 2, "for flag -guidance: must be a finite number"},
		{tiny(dir, "-watermark=perhaps"), 2, "-watermark: must be true or false"},
		{tiny(dir, "-width", "100"), 2, "-width 100: must be a multiple of 8"},
		{tiny(dir, "-height", "-8"), 2, "-height -8: must be a multiple of 8 from 8 to 8192"},
		{tiny(dir, "-width", "16384"), 2, "-width 16384: must be a multiple of 8 from 8 to 8192"},
		{tiny(dir, "-n", "0"), 2, "-n 0: must be 1 to 64"},
		{tiny(dir, "-n", "65"), 2, "-n 65: must be 1 to 64"},
		{tiny(dir, "-seed", "-2"), 2, `invalid value "-2" for flag -seed: must be 0 to 18446744073709551615, or -1 for a random one`},
		{tiny(dir, "-seed", "18446744073709551616"), 2, "-seed: must be 0 to 18446744073709551615"},
		{tiny(dir, "-seed", "1.5"), 2, "-seed: must be 0 to 18446744073709551615"},
		{tiny(dir, "-scheduler", "magic"), 2, `-scheduler "magic": must be one of ddim, ddpm, deis,`},
		{tiny(dir, "-preset", "magic"), 2, `-preset "magic": must be one of bigasp2.5, dmd2-1, dmd2-4,`},
		{tiny(dir, "-device", "abacus"), 2, "must be auto, cpu, cuda or cuda:N"},
		{tiny(dir, "-device", "cuda:all"), 2, "must be auto, cpu, cuda or cuda:N"},
		{tiny(dir, "-device", "cuda:999"), 1, "cuda: "},
		{tiny(dir, "-device", "cpu", "-gpu-memory", "11GiB"), 2, "-gpu-memory 11GiB: has no meaning for -device cpu"},
		{tiny(dir, "-gpu-memory", "11"), 2, "for flag -gpu-memory: must be 0 or a number and one of"},
		{tiny(dir, "-device", "cuda", "-memory", "11GiB"), 2, "-memory 11GiB: has no meaning for -device cuda"},
		{tiny(dir, "-memory", "11"), 2, "for flag -memory: must be 0 or a number and one of"},
		{tiny(dir, "-device", "cpu", "-memory", "12MiB", "-width", "2048", "-height", "2048"), 1, "MiB needed, 12.00 MiB allowed"},
		{tiny(dir, "-precision", "fp64"), 2, "must be auto, fp32, bf16 or fp16"},
		{tiny(dir, "-device", "cpu", "-precision", "fp16"), 1, "it has fp32"},
		{tiny(dir, "-threads", "-1"), 2, "-threads -1"},
		{tiny(dir, "-denoising-end", "1"), 2, "-denoising-end: must be above 0 and below 1"},
		{tiny(dir, "-denoising-end", "NaN"), 2, "-denoising-end: must be above 0 and below 1"},
		{tiny(dir, "-o", ""), 2, `-o ""`},
		{tiny(dir, "-o", filepath.Join(dir, "none", "out.png")), 1, "can't write to the directory"},
		{tiny(dir, "-o", dir), 1, "is a directory"},
		{tiny(dir, "-save-latents", filepath.Join(dir, "out.png")), 2, "must differ from -o"},
		{tiny(dir, "-save-latents", filepath.Join(dir, "none", "x")), 1, "-save-latents"},
		{tiny(dir, "-latents", filepath.Join(dir, "none")), 1, "-latents: open"},
		{tiny(dir, "-latents", ""), 2, `invalid value "" for flag -latents: must be a name`},
		{tiny(dir, "-image", ""), 2, `invalid value "" for flag -image: must be a name`},
		{tiny(dir, "-vae", ""), 2, `invalid value "" for flag -vae: must be a name`},
		{tiny(dir, "-taesd", filepath.Join(dir, "none")), 1, "-taesd " + filepath.Join(dir, "none") + ": "},
		{tiny(dir, "-vae", filepath.Join(dir, "none")), 1, "-vae " + filepath.Join(dir, "none") + ": "},
		{tiny(dir, "-unet", filepath.Join(dir, "none")), 1, "-unet " + filepath.Join(dir, "none") + ": "},
		{tiny(dir, "-lora-dir", filepath.Join(dir, "none")), 2, "-lora-dir " + filepath.Join(dir, "none") + ": must be a folder that is there"},
		{tiny(dir, "-lora", "main.go"), 2, "-lora main.go: must be a file with an adapter: main.go: this is a text"},
		{tiny(dir, "-lora-dir", loras, "-prompt", "<lora:text:1>"), 2, "-lora-dir " + loras + ": the adapter " + filepath.Join(loras, "text.safetensors") + " of the prompt: must be"},
		{tiny(dir, "-refiner", ""), 2, `invalid value "" for flag -refiner: must be a name`},
		{tiny(dir, "-strength", "0.5"), 2, "-strength 0.5: must be absent without an image"},
		{[]string{"refine", "-model", "synth:tiny-refiner", "-prompt", "p"}, 2, "missing -image"},
		{refiner("-o", filepath.Join(dir, "out.png")), 1, "-image: open"},
		{refiner("-width", "64"), 2, "-width"},
		{refiner("-image", "main.go", "-o", filepath.Join(dir, "out.png")), 1, "-image main.go: not a PNG, JPEG or WebP image"},
		{[]string{"synth"}, 2, "missing -size, -kind, -o"},
		{[]string{"synth", "-size", "big", "-kind", "base", "-o", dir}, 2, `-size "big": must be tiny or full`},
		{[]string{"synth", "-size", "tiny", "-kind", "vae", "-o", dir}, 2, `-kind "vae": must be base, refiner, ip-adapter, esrgan, esrgan-compact or one of`},
		{[]string{"synth", "-size", "tiny", "-kind", "base", "-dtype", "bf16", "-o", dir}, 2, `-dtype "bf16": must be fp16 or fp32`},
		{[]string{"synth", "-size", "tiny", "-kind", "base", "-o", "."}, 1, "is not empty"},
		{[]string{"inspect"}, 2, "missing DIR"},
		{[]string{"inspect", "a", "b"}, 2, `unexpected argument "b"`},
		{[]string{"inspect", "synth:huge"}, 2, "one of base, refiner, tiny, tiny-refiner"},
		{[]string{"inspect", filepath.Join(dir, "none")}, 1, "no such file"},
		{[]string{"inspect", "maker/model"}, 1, "hub"},
		{[]string{"check"}, 2, "missing DIR, demo or synth:NAME"},
		{[]string{"check", "synth:tiny", "b"}, 2, `unexpected argument "b"`},
		{[]string{"check", "synth:tiny", "-device", "cpu", "-width", "60"}, 2, "-width 60: must be a multiple of 8 from 8 to 8192"},
		{[]string{"check", "synth:tiny", "-device", "cpu", "-height", "x"}, 2, "must be a whole number"},
		{[]string{"check", "synth:tiny", "-device", "gpu"}, 2, `-device "gpu": must be auto, cpu, cuda or cuda:N`},
		{[]string{"check", "synth:tiny", "-device", "cpu", "-kernels", "neon"}, 1, "neon"},
		{[]string{"check", "synth:tiny", "-device", "cpu", "-memory", "32MiB", "-width", "1024", "-height", "1024"}, 1, "unet: comparing all modules: kernels: out of device memory"},
		{[]string{"check", "synth:huge", "-device", "cpu"}, 1, "must be one of base, refiner, tiny, tiny-refiner"},
		{[]string{"check", filepath.Join(dir, "none"), "-device", "cpu"}, 1, "no such file"},
		{[]string{"bench"}, 2, "kernels, step, image, batch, swap or upscale"},
		{[]string{"bench", "lunch"}, 2, `"lunch" can't be measured: must be kernels, step, image, batch, swap or upscale`},
		{[]string{"bench", "kernels", "-steps", "3"}, 2, "-steps has no meaning for kernels: it is for image"},
		{[]string{"bench", "step", "-runs", "-1"}, 2, "-runs -1: must be 0 or more"},
		{[]string{"bench", "batch", "-sizes", "64,65"}, 2, `"65": must be a multiple of 8 from 8 to 8192`},
		{[]string{"bench", "batch", "-batch", "1"}, 2, "-batch 1: must be 2 to 64"},
		{[]string{"bench", "step", "-sizes", "64"}, 2, "-sizes has no meaning for step: it is for batch"},
		{[]string{"bench", "batch", "-model", "synth:tiny-refiner", "-device", "cpu"}, 2, "is a refiner: must be a base for batch"},
		{[]string{"bench", "step", "-run", "x"}, 2, "-run has no meaning for step: it is for kernels"},
		{[]string{"bench", "kernels", "-run", "("}, 2, "must be a regular expression"},
		{[]string{"bench", "kernels", "-run", "no such case"}, 1, "matches no case"},
		{[]string{"bench", "step", "-model", "synth:tiny", "-width", "100"}, 2, "-width 100: must be a multiple of 8"},
		{[]string{"bench", "step", "-model", "synth:tiny", "-width", "0"}, 2, "-width 0: must be a multiple of 8 from 8 to 8192"},
		{[]string{"bench", "image", "-model", "synth:tiny", "-height", "-8"}, 2, "-height -8: must be a multiple of 8 from 8 to 8192"},
		{[]string{"bench", "step", "-kernels", "mmx"}, 1, `variant "mmx"`},
	} {
		a := goxl(t, c.args...)
		if a.status != c.status || !strings.Contains(a.err, c.says) {
			t.Errorf("goxl %q: status %d, said %q; want %d and %q", c.args, a.status, a.err, c.status, c.says)
		}
		if a.status == 2 && len(c.args) > 0 && !strings.Contains(a.err, "-h' for help") {
			t.Errorf("goxl %q does not say where help is: %q", c.args, a.err)
		}
	}
	empty(t, dir)
}

func TestHelp(t *testing.T) {
	overview := must(t, "help")
	for _, c := range commands() {
		if !strings.Contains(overview.out, "\n  "+c.name+" ") {
			t.Errorf("help does not list %s", c.name)
		}
		asked := must(t, "help", c.name)
		if !strings.Contains(asked.out, "Usage: goxl "+c.name) || !strings.Contains(asked.out, "\nFlags:\n") || asked.err != "" {
			t.Errorf("help %s: %q, %q", c.name, asked.out, asked.err)
		}
		if flag := must(t, c.name, "-h"); flag != asked {
			t.Errorf("%s -h says %q, help %s %q", c.name, flag.out, c.name, asked.out)
		}
	}
	for _, name := range []string{"help", "version"} {
		if a := must(t, "help", name); a != overview {
			t.Errorf("help %s: %q, %q; want what help says", name, a.out, a.err)
		}
	}
	lines := strings.Split(must(t, "version").out, "\n")
	if len(lines) < 4 || !strings.HasPrefix(lines[0], "goxl ") || !strings.HasPrefix(lines[1], "cpu: ") || !strings.HasPrefix(lines[2], "cuda:") || lines[len(lines)-1] != "" {
		t.Errorf("version: %q", lines)
	}
}
