package cases

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestTable holds the table to its own rules: unique names, shapes that pass, memory within bounds, every operation at odd sizes and at
// real ones, and the same data each time.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	seen := map[string]int{}
	var flops, realFlops int64
	for _, c := range All() {
		if names[c.Name] {
			t.Errorf("two cases are called %s", c.Name)
		}
		names[c.Name] = true
		out, err := c.Spec.Infer(c.In)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if len(c.Fill) != len(c.In) || c.Into != nil && len(c.Into) != len(out) {
			t.Errorf("%s: %d inputs, %d fills, %d outputs into %v", c.Name, len(c.In), len(c.Fill), len(out), c.Into)
		}
		bytes := c.InputBytes()
		for _, o := range out {
			bytes += o.Bytes()
		}
		if bytes > 1500<<20 {
			t.Errorf("%s takes %d MB", c.Name, bytes>>20)
		}
		f := c.Spec.FLOPs(c.In)
		op := strings.TrimPrefix(fmt.Sprintf("%T", c.Spec), "kernels.")
		if c.Big {
			op += " real"
			realFlops += f
		} else if flops += f; f > 1e8 {
			t.Errorf("%s makes %d operations, too many to judge whole", c.Name, f)
		}
		seen[op]++
	}
	for _, op := range []string{"Linear", "Conv2d", "Attention", "GroupNorm", "LayerNorm", "Activate", "Add", "AddMasked", "Concat", "Resize",
		"Embedding", "Gather", "ToPixels", "FromPixels", "ScaleRepeat", "Guidance", "Solver"} {
		if seen[op] == 0 || seen[op+" real"] == 0 {
			t.Errorf("%s: %d odd cases and %d real ones, want some of both", op, seen[op], seen[op+" real"])
		}
	}
	if seen["Sinusoid"] == 0 {
		t.Error("no Sinusoid")
	}
	t.Logf("%d cases, %.3g small and %.4g real TFLOP: %v", len(names), float64(flops)/1e12, float64(realFlops)/1e12, seen)
}

// TestBenchmarks holds the names under which tools/benchmarks times other libraries against the cases that are timed: what has no
// counterpart would be left out of its tables unseen.
func TestBenchmarks(t *testing.T) {
	const file = "../../tools/benchmarks/shapes.py"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	timed := map[string]bool{}
	for _, c := range Timed() {
		if _, err := c.Spec.Infer(c.In); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if timed[c.Name] {
			t.Errorf("two timed cases are called %s", c.Name)
		}
		if !c.Big {
			t.Errorf("%s has no real shape", c.Name)
		}
		timed[c.Name] = true
	}
	names := regexp.MustCompile(`(?m)^    "([^"]+)": `).FindAllStringSubmatch(string(text), -1)
	if len(names) == 0 {
		t.Fatalf("%s names no case", file)
	}
	for _, name := range names {
		if !timed[name[1]] {
			t.Errorf("%s: %q is no case that is timed", file, name[1])
		}
	}
}

// TestFill checks the moments of random data, that names and places seed them, and that narrow types agree with what is judged.
func TestFill(t *testing.T) {
	c := linear("fill", kernels.Linear{}, kernels.BF16, []int{257}, 1021, 3).fill(0, Fill{Mean: 3, Scale: 2})
	data, tensors := c.Operands(kernels.F32)
	var sum, squares float64
	for _, v := range tensors[0].F {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(tensors[0].F))
	mean := sum / n
	if std := math.Sqrt(squares/n - mean*mean); math.Abs(mean-3) > 0.02 || math.Abs(std-2) > 0.02 {
		t.Errorf("mean %v and deviation %v, want 3 and 2", mean, std)
	}
	for i, v := range tensors[1].F {
		if h := uint16(data[1][2*i]) | uint16(data[1][2*i+1])<<8; kernels.FromBF16(h) != v {
			t.Fatalf("weight %d is %v in the source and %v for the judge", i, kernels.FromBF16(h), v)
		}
	}
	_, again := c.Operands(kernels.F32)
	if !slices.Equal(tensors[0].F, again[0].F) {
		t.Error("the same case gave other data")
	}
	c.Name += "!"
	if _, other := c.Operands(kernels.F32); slices.Equal(tensors[0].F, other[0].F) {
		t.Error("another case gave the same data")
	}
	_, half := c.Operands(kernels.F16)
	for _, v := range half[0].F {
		if kernels.FromF16(kernels.ToF16(v)) != v {
			t.Fatalf("%v is no float16", v)
		}
	}
}
