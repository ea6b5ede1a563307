package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func TestBenchStep(t *testing.T) {
	args := []string{"bench", "step", "-model", "synth:tiny", "-width", "64", "-height", "64", "-steps", "2", "-kernels", "portable"}
	table := must(t, args...)
	for _, w := range []string{"portable", "peak ", "opened in", "a step ", "of the peak", "\nConv2d ", "\nAttention "} {
		if !strings.Contains(table.out, w) {
			t.Errorf("the table does not say %q:\n%s", w, table.out)
		}
	}
	var f stepFigures
	decode(t, must(t, append(args, "-json")...).out, &f)
	if len(f.Steps) != 2 || f.Step <= 0 || f.GFLOP <= 0 || f.Opened <= 0 || f.Machine.Kernels != "portable" || f.Machine.Precision != "fp32" || f.Width != 64 {
		t.Errorf("figures %+v", f)
	}
	if f.Machine.Peak <= 0 || f.Peak <= 0 {
		t.Errorf("peak %v, share of it %v", f.Machine.Peak, f.Peak)
	}
	var share, gflop float64
	for i, op := range f.Ops {
		share += op.Share
		gflop += op.GFLOP
		if i > 0 && op.MS > f.Ops[i-1].MS {
			t.Errorf("%s comes after the shorter %s", op.Op, f.Ops[i-1].Op)
		}
	}
	if share <= 0.5 || share > 1 || gflop < 0.999*f.GFLOP || gflop > 1.001*f.GFLOP {
		t.Errorf("the operations take %v of the time and %v of %v GFLOP", share, gflop, f.GFLOP)
	}
}

func TestBenchImage(t *testing.T) {
	var f imageFigures
	decode(t, must(t, "bench", "image", "-model", "synth:tiny", "-width", "64", "-height", "64", "-steps", "2", "-json").out, &f)
	total := f.Opened
	for i, want := range []string{"text", "steps", "decode"} {
		if s := f.Stages[i]; s.Stage != want || s.Seconds <= 0 || s.GFLOP <= 0 {
			t.Errorf("stage %+v, want %s", s, want)
		}
		total += f.Stages[i].Seconds
	}
	if f.Steps != 2 || f.Total < 0.999*total || f.Total > 1.001*total {
		t.Errorf("%d steps, total %v, want 2 and %v", f.Steps, f.Total, total)
	}
}

func TestBenchKernels(t *testing.T) {
	const filter = "^linear/base time$"
	var f kernelFigures
	decode(t, must(t, "bench", "kernels", "-run", filter, "-json").out, &f)
	if len(f.Figures) != 1 || f.Figures[0].MS <= 0 || f.Figures[0].GFLOPS <= 0 || f.Machine.Peak <= 0 {
		t.Errorf("figures %+v", f)
	}
	if a := must(t, "bench", "kernels", "-run", filter); !strings.Contains(a.out, "\nlinear/base time ") {
		t.Errorf("the table is\n%s", a.out)
	}
}

func TestTracer(t *testing.T) {
	var tr tracer
	tr.reset()
	for range 4 {
		tr.add(cpu.Timing{Node: kernels.Node{Spec: kernels.Linear{}}, FLOPs: 3e9, Duration: 1e9})
	}
	tr.add(cpu.Timing{Node: kernels.Node{Spec: kernels.GroupNorm{}}, FLOPs: 2, Duration: 8e9})
	got := tr.figures(2, 16e9, machine{Peak: 6})
	want := opFigure{Op: "Linear", Calls: 2, MS: 2000, Share: 0.25, GFLOP: 6, GFLOPS: 3, Peak: 0.5}
	if len(got) != 2 || got[0].Op != "GroupNorm" || got[1] != want {
		t.Errorf("%+v, want GroupNorm and %+v", got, want)
	}
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"0": count(0), "999": count(999), "1 k": count(1000), "2.57 G": count(2_567_463_684), "1 M": count(999_900),
		"5 B": size(5, "B"), "5.14 GB": size(5_140_000_000, "B"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
