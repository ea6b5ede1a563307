package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestCheck: the models agree with every kind of kernels, and what is said is what JSON has.
func TestCheck(t *testing.T) {
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	variants := device.Info().Variants
	if err := device.Close(); err != nil {
		t.Error(err)
	}
	for _, variant := range variants {
		a := must(t, "check", "synth:tiny", "-device", "cpu", "-kernels", variant)
		if !strings.HasSuffix(a.out, "\n\nall modules agree\n") || !strings.Contains(a.out, "synth:tiny at 64x64 on cpu") || !strings.Contains(a.out, "kernels "+variant) {
			t.Errorf("-kernels %s:\n%s", variant, a.out)
		}
		for _, component := range []string{"text_encoder", "text_encoder_2", "unet", "vae.encoder", "vae.decoder"} {
			if !strings.Contains(a.out, "\n"+component+" ") || !strings.Contains(a.err, "checking "+component+"\n") {
				t.Errorf("-kernels %s does not tell of %s:\n%s%s", variant, component, a.out, a.err)
			}
		}
	}
	var r checkReport
	a := must(t, "check", "-json", "-device", "cpu", "-width", "32", "synth:tiny-refiner")
	if err := json.Unmarshal([]byte(a.out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Model != "synth:tiny-refiner" || r.Width != 32 || r.Height != 128 || !r.Agrees || len(r.Components) != 4 {
		t.Errorf("JSON: %+v", r)
	}
	for _, c := range r.Components {
		if !c.Agrees || c.First != nil || c.Judge != "gorgonia" || c.Precision != "fp32" || c.Worst == nil || !(*c.Worst.Share < 1) || c.Worst.Module == "" || c.BrokenWeights == nil {
			t.Errorf("JSON: %+v", c)
		}
	}
}

// spoiled is a tiny model on disk with a number in one tensor that is not finite.
func spoiled(t *testing.T, file, tensor string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.FromSlash(file))
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range list {
		if x.Name == tensor {
			data, err := x.Data()
			if err != nil {
				t.Fatal(err)
			}
			data = slices.Clone(data)
			binary.LittleEndian.PutUint32(data, math.Float32bits(float32(math.Inf(1))))
			list[i] = weights.NewTensor(x.Name, kernels.F32, x.Shape, data)
		}
	}
	if err := weights.Write(path, list, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCheckDiffers: a module that gives Inf is named with the tensor that has it, and the status is 1.
func TestCheckDiffers(t *testing.T) {
	dir := spoiled(t, "vae/diffusion_pytorch_model.safetensors", "decoder.up_blocks.1.resnets.0.conv2.bias")
	a := goxl(t, "check", dir, "-device", "cpu")
	if a.status != 1 || !strings.Contains(a.err, "1 of 5 components did not agree") || strings.Contains(a.out, "all modules agree") {
		t.Errorf("status %d:\n%s%s", a.status, a.out, a.err)
	}
	for _, want := range []string{
		"vae.decoder: the first module that differs is decoder.up_blocks.1.resnets.0.conv2: NaN or Inf (unfused)\n",
		"vae.decoder: weights hold NaN or Inf: decoder.up_blocks.1.resnets.0.conv2.bias\n",
	} {
		if !strings.Contains(a.out, want) {
			t.Errorf("does not say %q:\n%s", want, a.out)
		}
	}
	var r checkReport
	a = goxl(t, "check", dir, "-device", "cpu", "-json")
	if err := json.Unmarshal([]byte(a.out), &r); err != nil || a.status != 1 {
		t.Fatalf("status %d: %v\n%s", a.status, err, a.out)
	}
	c := r.Components[4]
	if r.Agrees || c.Agrees || c.First == nil || !c.First.NotFinite || c.First.RMS != nil || c.First.Share != nil || len(c.BrokenWeights) != 1 {
		t.Errorf("JSON: %+v", c)
	}
	own := filepath.Join(t.TempDir(), "whole")
	must(t, "synth", "-size", "tiny", "-kind", "base", "-o", own)
	must(t, "check", dir, "-device", "cpu", "-vae", own)
}

// TestCheckReport: what a large model on a card would say.
func TestCheckReport(t *testing.T) {
	first := nn.Difference{Path: "mid_block.resnets.0.conv1", Run: "fused", Against: "unfused", RMS: 0.5, Max: 2, Budget: 0.01, Share: 50}
	zero := nn.Difference{Path: "output values", Run: "fused", Against: "unfused", RMS: math.Inf(1), Max: math.Inf(1), Share: math.Inf(1)}
	overflow := nn.Difference{Path: "decoder.conv_in", Run: "unfused", Against: "unfused", NotFinite: true, Share: math.Inf(1)}
	r := newCheckReport("DIR", kernels.Info{Name: "cuda:0", Detail: "X", Variant: "sm_90a"}, sdxl.Size{Height: 64, Width: 128}, []sdxl.ComponentCheck{
		{Component: "unet", FLOPs: 152e9, Precision: kernels.F16, Comparison: nn.Comparison{Modules: 9, First: &first, Worst: first}},
		{Component: "vae.encoder", FLOPs: 1e9, Gorgonia: true, Precision: kernels.F16, Comparison: nn.Comparison{Modules: 8, First: &zero, Worst: zero}},
		{Component: "vae.decoder", FLOPs: 2e9, Gorgonia: true, Precision: kernels.BF16, Overflow: &overflow, Comparison: nn.Comparison{Modules: 7, Worst: nn.Difference{Path: "decoder", Share: 0.25}}},
	})
	var b bytes.Buffer
	r.print(&b)
	want := `DIR at 128x64 on cuda:0 (X), kernels sm_90a

component    precision  modules  judge     of the budget  verdict  worst module
unet         fp16       9        unfused   50 times       differs  mid_block.resnets.0.conv1
vae.encoder  fp16       8        gorgonia  all of it      differs  output values
vae.decoder  bf16       7        gorgonia  25.0%          agrees   decoder

vae.decoder: NaN or Inf in fp16 (unfused), first in decoder.conv_in; compared in bf16, in which generate computes again what overflows
not on gorgonia's machine, which gets up to 4 GFLOP: unet (152); a kernel that is wrong fused and unfused alike is not seen there
unet: the first module that differs is mid_block.resnets.0.conv1: fused differs from unfused by 0.5 (rms), 2 (max), 50 times what rounding is allowed
vae.encoder: the first module that differs is output values: fused differs from unfused by +Inf (rms), +Inf (max), +Inf times what rounding is allowed
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
	b.Reset()
	if err := r.writeJSON(&b); err != nil || r.differing() != 2 {
		t.Errorf("%d differ, %v", r.differing(), err)
	}
}
