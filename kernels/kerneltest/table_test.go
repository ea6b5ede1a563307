package kerneltest

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
	for _, c := range Cases() {
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
		bytes := c.bytes()
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
	for _, op := range []string{"Linear", "Conv2d", "Attention", "GroupNorm", "LayerNorm", "Activate", "Add", "Concat", "Resize",
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

// TestPeers holds the names under which tools/peers times other libraries against the cases that Bench times: what has no counterpart would be left out of its tables unseen.
func TestPeers(t *testing.T) {
	const file = "../../tools/peers/shapes.py"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	timed := map[string]bool{}
	for _, c := range append(Cases(), timedCases()...) {
		if _, err := c.Spec.Infer(c.In); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if c.Big && timed[c.Name] {
			t.Errorf("two timed cases are called %s", c.Name)
		}
		timed[c.Name] = c.Big
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
	data, tensors := c.operands(kernels.F32)
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
	_, again := c.operands(kernels.F32)
	if !slices.Equal(tensors[0].F, again[0].F) {
		t.Error("the same case gave other data")
	}
	c.Name += "!"
	if _, other := c.operands(kernels.F32); slices.Equal(tensors[0].F, other[0].F) {
		t.Error("another case gave the same data")
	}
	_, half := c.operands(kernels.F16)
	for _, v := range half[0].F {
		if kernels.FromF16(kernels.ToF16(v)) != v {
			t.Fatalf("%v is no float16", v)
		}
	}
}

// TestElementsAtEdges holds that of an image both sides of each edge are judged: where its rows end, and where a sample
// does.
func TestElementsAtEdges(t *testing.T) {
	for _, shape := range [][]int{{2, 128, 128, 320}, {2, 64, 48, 4}, {3, 1024, 640, 3}} {
		judged := map[int]bool{}
		c := Case{Name: "edges", Big: true}
		width := shape[3]
		for _, e := range c.elements(shape) {
			judged[e/width] = true
		}
		rows, sample := shape[2], shape[1]*shape[2]
		for _, row := range []int{0, rows - 1, rows, sample - 1, sample, shape[0]*sample - 1} {
			if !judged[row] {
				t.Errorf("%v: position %d is not judged", shape, row)
			}
		}
	}
}

// TestPlain holds the yardstick of the 16-bit precisions to what a device of 16 bits does: weights are rounded before
// they are used, and so is the result.
func TestPlain(t *testing.T) {
	for precision, round := range map[kernels.DType]func(float32) float32{
		kernels.F16:  func(v float32) float32 { return kernels.FromF16(kernels.ToF16(v)) },
		kernels.BF16: func(v float32) float32 { return kernels.FromBF16(kernels.ToBF16(v)) },
		kernels.F32:  func(v float32) float32 { return v },
	} {
		for _, dtype := range weightTypes {
			c := linear("plain", kernels.Linear{}, dtype, []int{3}, 5, 2)
			_, in := c.operands(precision)
			stored := slices.Clone(in[1].F)
			var want []float32
			for row := range 3 {
				for n := range 2 {
					var sum float32
					for k := range 5 {
						sum += in[0].F[row*5+k] * round(in[1].F[n*5+k])
					}
					want = append(want, round(sum))
				}
			}
			got, err := c.plain(in, 0, []int{0, 1, 2, 3, 4, 5}, precision)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("weights of %v in %v: %v, %v, want %v", dtype, precision, got, err, want)
			}
			if !slices.Equal(in[1].F, stored) {
				t.Errorf("weights of %v in %v: those that the truth is computed from were rounded", dtype, precision)
			}
		}
	}
}

// TestElements checks that corners are always judged and indices ascend within the output.
func TestElements(t *testing.T) {
	for _, c := range Cases() {
		out, err := c.Spec.Infer(c.In)
		if err != nil {
			t.Fatal(err)
		}
		e := c.elements(out[0].Shape)
		if !c.Big {
			if e != nil {
				t.Errorf("%s: judged at %d elements, want all", c.Name, len(e))
			}
			continue
		}
		n := out[0].Len()
		if e[0] != 0 || e[len(e)-1] != n-1 || !slices.IsSorted(e) || len(slices.Compact(slices.Clone(e))) != len(e) || len(e) < min(n, 40) || len(e) > judgedRows*judgedCols {
			t.Errorf("%s: %d elements from %d to %d of %d", c.Name, len(e), e[0], e[len(e)-1], n)
		}
	}
}
