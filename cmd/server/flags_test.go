package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/process"
)

// parseModels reads flags as the server does, or its engine.
func parseModels(t *testing.T, args []string) (m models) {
	t.Helper()
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	m.register(fs)
	if err := cli.Parse(fs, args); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return m
}

// What the server is told of a model goes to the process that computes with it, whatever it is.
func TestEngineGetsFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-model", "synth:tiny"},
		{"-model", "dir", "-refiner", "other dir", "-taesd", "tiny", "-variant", "fp16", "-precision", "bf16", "-device", "cuda:1", "-gpu-memory", "11GiB"},
		{"-model", "synth:tiny", "-preview-taesd", "tiny", "-preview-method", "latent2rgb"},
		{"-model", "demo", "-precision", "fp16", "-device", "cuda:all", "-gpu-memory", "1.5GB"},
		{"-model", "file.safetensors", "-base", "org/name@main", "-unet", "-unet", "-vae", "a vae", "-prediction", "v_zsnr"},
	} {
		m := parseModels(t, args)
		c, err := m.command("cuda:7", io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if c.Args[1] != workerCommand {
			t.Fatalf("%q", c.Args)
		}
		got, want := parseModels(t, c.Args[2:]), m
		want.device.Device = "cuda:7"
		name, err := m.chosenRefiner()
		if err != nil {
			t.Fatal(err)
		}
		if want.refiner = name; name == "" {
			want.refiner = noRefiner
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%q: the engine is started with %q, which is\n%+v, want\n%+v", args, c.Args, got, want)
		}
	}
}

// The flags reach the device and the model, both in a process of its own and in the server's: each of these can't be
// had there, and is told.
func TestFlagsReachModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{[]string{"-variant", "odd"}, "odd"},
		{[]string{"-taesd", "none"}, "TAESD: "},
		{[]string{"-preview-taesd", "none"}, "preview TAESD: "},
		{[]string{"-unet", "none"}, "UNet: "},
		{[]string{"-vae", "none"}, "VAE: "},
		{[]string{"-precision", "fp16"}, "precision fp16 is not there on cpu"},
		{[]string{"-gpu-memory", "1GiB"}, "-gpu-memory 1GiB: has no meaning for -device cpu"},
	} {
		m := parseModels(t, append([]string{"-model", dir, "-device", "cpu"}, c.flags...))
		e, err := m.start("cpu", &output{}, process.Config{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: the engine: %v, want %q", c.flags, err, c.says)
		}
		if err == nil {
			e.Close()
		}
		if m.device.GPUMemory != 0 { // the server's own device is the cpu, where the flag is refused before
			continue
		}
		fallback := cpu{models: m, log: slog.New(slog.DiscardHandler)}
		local, err := fallback.load(0)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: the server: %v, want %q", c.flags, err, c.says)
		}
		if err == nil {
			local.Close()
		}
		if err := fallback.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The precision decides between a folder's files: fp16 takes those that are called so, fp32 the plain ones, of which
// one is broken here.
func TestPrecisionReachesModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F16, dir); err != nil {
		t.Fatal(err)
	}
	unet := filepath.Join(dir, "unet", "diffusion_pytorch_model.")
	if err := errors.Join(os.Rename(unet+"safetensors", unet+"fp16.safetensors"), os.WriteFile(unet+"safetensors", []byte("broken"), 0o600)); err != nil {
		t.Fatal(err)
	}
	m := parseModels(t, []string{"-model", dir, "-device", "cpu"})
	device, _, err := m.device.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for _, precision := range []kernels.DType{kernels.F16, kernels.F32} {
		e, err := m.open(t.Context(), device, precision, slog.New(slog.DiscardHandler))
		if (err == nil) != (precision == kernels.F16) {
			t.Errorf("%v: %v", precision, err)
		}
		if err == nil {
			e.Close()
		}
	}
}

// -watermark=false leaves the watermark out, which images of 256 pixels a side and more have otherwise.
func TestWatermarkFlag(t *testing.T) {
	compute := func(args ...string) string {
		t.Helper()
		address, stderr, ended := start(t, append([]string{"-model", "synth:tiny", "-device", "cpu", "-images", t.TempDir()}, args...)...)
		id := post(t, address+"/generate", `{"prompt":"a cat","width":256,"height":256,"num_inference_steps":1,"seed":1}`)
		data := get(t, address+"/download/"+id)
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if status := <-ended; status != 0 {
			t.Errorf("status %d:\n%s", status, stderr)
		}
		return data
	}
	plain, on, off := compute(), compute("-watermark"), compute("-watermark=false")
	if plain != on || on == off {
		t.Errorf("the same as without the flag: -watermark %v, want true; -watermark=false %v, want false", plain == on, plain == off)
	}
}

// A prompt that is cut is told to the client, from a process of its own too, and not to the log; and that process tells
// what images cost.
func TestWarningsFromEngine(t *testing.T) {
	a := newApart(t, "synth:tiny", "synth:tiny-refiner", "cpu")
	e := <-a.engines
	for _, c := range []sdxl.Cost{e.Costs().Base, e.Costs().Refiner} {
		if !(c.Step.At(1<<20) > 0 && c.Decode.At(1<<20) > 0 && c.Encode.At(1<<20) > 0) {
			t.Errorf("cost %+v", c)
		}
	}
	long := strings.Repeat("secretword ", 100)
	code, answer := a.do("POST", "/generate", `{"prompt":"`+long+`","width":64,"height":64,"num_inference_steps":1}`)
	if code != 200 || strings.Count(answer, `"warnings":["the prompt was cut after 75 of `) != 1 || strings.Count(answer, "was cut") != 1 {
		t.Errorf("%d %s", code, answer)
	}
	if log := a.log.String(); strings.Contains(log, "secret") || !strings.Contains(log, "warnings=1") {
		t.Errorf("log:\n%s", log)
	}
	lines := strings.Split(a.log.String(), "\n")
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, `msg="limits of a request" device=cpu`) }) {
		t.Errorf("log:\n%s", a.log)
	}
}
