package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

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
	args := []string{"bench", "step", "-model", "synth:tiny", "-width", "64", "-height", "64", "-runs", "2", "-device", "cpu", "-kernels", "portable"}
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
	if f.Least <= 0 || f.Least > f.Step || f.Load < f.Device+f.Opened+f.Prepared+f.First || f.Pool == nil || f.Pool.Peak <= 0 || f.Pool.Peak > f.Pool.Limit || f.Together != 1 {
		t.Errorf("least step %v of a median %v, loaded in %v, device memory %v", f.Least, f.Step, f.Load, f.Pool)
	}
	if f.Machine.Peak <= 0 || f.Peak <= 0 {
		t.Errorf("peak %v, fraction of it %v", f.Machine.Peak, f.Peak)
	}
	var fraction, gflop float64
	for i, op := range f.Ops {
		fraction += op.Fraction
		gflop += op.GFLOP
		if i > 0 && op.MS > f.Ops[i-1].MS {
			t.Errorf("%s comes after the shorter %s", op.Op, f.Ops[i-1].Op)
		}
	}
	if fraction <= 0 || fraction > 1 || gflop < 0.999*f.GFLOP || gflop > 1.001*f.GFLOP {
		t.Errorf("the operations take %v of the time and %v of %v GFLOP", fraction, gflop, f.GFLOP)
	}
}

func TestBenchImage(t *testing.T) {
	args := []string{"bench", "image", "-model", "synth:tiny", "-width", "64", "-height", "64", "-steps", "2", "-device", "cpu", "-json"}
	for _, runs := range []int{1, 3} {
		var f imageFigures
		decode(t, must(t, append(args, "-runs", strconv.Itoa(runs))...).out, &f)
		var total float64
		for i, want := range []string{"text", "steps", "decode", "png"} {
			if s := f.Stages[i]; s.Stage != want || s.Seconds <= 0 || (s.GFLOP <= 0) != (want == "png") {
				t.Errorf("stage %+v, want %s", s, want)
			}
			total += f.Stages[i].Seconds
		}
		if f.Steps != 2 || f.Image < total || runs == 1 && f.Image > f.Total || f.PNG < 100 || len(f.Images) != runs-1 {
			t.Errorf("%d steps, %v s of which %v by stages, %d bytes, %d images, want 2, no less, some and %d", f.Steps, f.Image, total, f.PNG, len(f.Images), runs-1)
		}
		if f.Total < f.First+f.Opened || runs == 1 && f.First != f.Image || runs == 3 && !slices.Contains(f.Images, f.Image) {
			t.Errorf("first %v, then %v, of which %v counts; in all %v", f.First, f.Images, f.Image, f.Total)
		}
	}
}

func TestBenchBatch(t *testing.T) {
	args := []string{"bench", "batch", "-model", "synth:tiny", "-sizes", "64,72", "-batch", "3", "-steps", "2", "-device", "cpu"}
	if a := must(t, args...); strings.Count(a.out, "3 of 3 equal bit for bit\n") != 6 {
		t.Errorf("the table is\n%s", a.out)
	}
	var f batchFigures
	decode(t, must(t, append(args, "-json")...).out, &f)
	var got [][2]int
	for _, one := range f.Batches {
		got = append(got, [2]int{one.Size, one.Jobs})
		if one.Seconds <= 0 || one.Rate <= 0 || one.Speedup <= 0 || one.Equal != 3 || one.Differs != 0 {
			t.Errorf("%+v", one)
		}
	}
	if want := [][2]int{{64, 1}, {64, 2}, {64, 3}, {72, 1}, {72, 2}, {72, 3}}; !slices.Equal(got, want) || f.Steps != 2 || f.Width != 72 {
		t.Errorf("%v of %d steps, want %v of 2", got, f.Steps, want)
	}
}

func TestBenchSwap(t *testing.T) {
	args := []string{"bench", "swap", "-model", "synth:tiny", "-width", "64", "-height", "64", "-runs", "2", "-rank", "3", "-device", "cpu"}
	if a := must(t, args...); !strings.Contains(a.out, "\nfirst swap ") || !strings.Contains(a.out, "\na swap ") || !strings.Contains(a.out, "\nback ") || strings.Contains(a.out, "reloading") {
		t.Errorf("the table is\n%s", a.out)
	}
	var f swapFigures
	decode(t, must(t, append(args, "-json")...).out, &f)
	if len(f.Swaps) != 2 || f.Swap <= 0 || f.FirstSwap <= 0 || f.Back <= 0 || f.Rank != 3 || f.Tensors < 100 || f.Weights < 1<<16 || f.Factors < 1<<12 || f.Reload != 0 {
		t.Errorf("figures %+v", f)
	}
}

// TestBenchHelp holds the help against the fields of the JSON.
func TestBenchHelp(t *testing.T) {
	help := strings.FieldsFunc(must(t, "help", "bench").out, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	var fields func(reflect.Type)
	fields = func(of reflect.Type) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && !slices.Contains(help, name) {
				t.Errorf("the help does not list field %q of %v", name, of)
			}
			fields(f.Type)
		}
	}
	for _, figures := range []any{kernelFigures{}, stepFigures{}, imageFigures{}, swapFigures{}} {
		fields(reflect.TypeOf(figures))
	}
}

// budgeted is a CPU device that reports memory as a card does.
type budgeted struct{ kernels.Device }

func (b budgeted) Info() kernels.Info {
	info := b.Device.Info()
	info.HostMemory = false
	return info
}

func (budgeted) Memory() (kernels.Memory, error) {
	return kernels.Memory{Limit: 4, Used: 2, Peak: 3, Arena: 1}, nil
}

// TestCounting counts what every step does.
func TestCounting(t *testing.T) {
	on, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	c := &counter{Device: budgeted{on}}
	tensor := func(name string, r kernels.Role, shape ...int) kernels.Tensor {
		return kernels.Tensor{Name: name, Role: r, DType: kernels.F32, Shape: shape}
	}
	plan := &kernels.Plan{
		Tensors: []kernels.Tensor{tensor("x", kernels.State, 1, 8), tensor("m", kernels.Step, 1, 8), tensor("noise", kernels.Step, 1, 8), tensor("coefficients", kernels.Step, 7),
			tensor("text", kernels.Request, 1, 8), tensor("hoisted", kernels.Temp, 1, 8), tensor("sum", kernels.Temp, 1, 8)},
		Nodes: []kernels.Node{
			{Spec: kernels.Add{}, Path: "hoisted", In: []kernels.Value{4, 4}, Out: []kernels.Value{5}},
			{Spec: kernels.Add{}, Path: "sum", In: []kernels.Value{1, 5}, Out: []kernels.Value{6}},
			{Spec: kernels.Solver{}, Path: "solver", In: []kernels.Value{0, 6, 2, 3}, Out: []kernels.Value{0}},
		},
	}
	p, err := c.Compile(plan, nil, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := kernels.Add{}.FLOPs(plan.Inputs(plan.Nodes[1])) + kernels.Solver{}.FLOPs(plan.Inputs(plan.Nodes[2]))
	if c.step != want {
		t.Errorf("a step has %d operations, want %d", c.step, want)
	}
	var o opened
	if err := o.remember(budgeted{on}); err != nil || o.Pool == nil || *o.Pool != (pool{Limit: 4, Used: 2, Peak: 3, Arena: 1}) {
		t.Errorf("device memory %+v, %v", o.Pool, err)
	}
}

func TestBenchKernels(t *testing.T) {
	const filter = "^linear/base time$"
	var f kernelFigures
	decode(t, must(t, "bench", "kernels", "-device", "cpu", "-run", filter, "-json").out, &f)
	if len(f.Figures) != 1 || f.Figures[0].MS <= 0 || f.Figures[0].GFLOPS <= 0 || f.Machine.Peak <= 0 {
		t.Errorf("figures %+v", f)
	}
	if a := must(t, "bench", "kernels", "-device", "cpu", "-run", filter); !strings.Contains(a.out, "\nlinear/base time ") {
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
	want := opFigure{Op: "Linear", Calls: 2, MS: 2000, Fraction: 0.25, GFLOP: 6, GFLOPS: 3, Peak: 0.5}
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
