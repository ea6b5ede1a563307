//go:build !nodemo

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// TestModelNames has every command take every name that stands for a model of its kind.
func TestModelNames(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "in.png")
	must(t, tiny(dir, "-o", image)...)
	small := []string{"-device", "cpu", "-width", "64", "-height", "64"}
	for _, c := range []struct {
		args []string
		says string // on standard output
	}{
		{[]string{"inspect", "demo"}, "the model that is built in"},
		{[]string{"inspect", "synth:tiny"}, "base: text-to-image"},
		{[]string{"inspect", "synth:tiny-refiner"}, "refiner: image-to-image (goxl refine"},
		{[]string{"check", "demo", "-device", "cpu"}, "all modules agree"},
		{append([]string{"bench", "step", "-model", "demo", "-runs", "1"}, small...), "demo, 64x64,"},
		{append([]string{"bench", "image", "-model", "demo", "-steps", "2"}, small...), "demo, 64x64,"},
		{append([]string{"bench", "step", "-model", "synth:tiny", "-runs", "1"}, small...), "synth:tiny, 64x64,"},
		{append([]string{"bench", "step", "-model", "synth:tiny-refiner", "-runs", "1"}, small...), "synth:tiny-refiner, 64x64,"},
		{append([]string{"bench", "image", "-model", "synth:tiny-refiner", "-steps", "2"}, small...), "   2 steps, "},
		{append([]string{"generate", "-model", "demo", "-prompt", "p", "-steps", "1", "-o", filepath.Join(dir, "a.png")}, small...), "a.png"},
		{[]string{"refine", "-model", "demo", "-image", image, "-prompt", "p", "-steps", "1", "-strength", "1", "-o", filepath.Join(dir, "b.png")}, "b.png"},
	} {
		if a := must(t, c.args...); !strings.Contains(a.out, c.says) {
			t.Errorf("goxl %q wrote\n%s, want %q in it", c.args, a.out, c.says)
		}
	}
	out := must(t, "inspect", "demo").out
	for _, w := range []string{"256x256 pixels", "goxl generate", "its refiner"} {
		if !strings.Contains(out, w) {
			t.Errorf("inspect demo does not say %q:\n%s", w, out)
		}
	}
	for _, name := range sdxl.SyntheticNames() { // full-size ones are too large to be opened in a test
		if a := goxl(t, "bench", "kernels", "-model", "synth:"+name, "-run", "no such case"); !strings.Contains(a.err, "matches no case") {
			t.Errorf("bench kernels -model synth:%s: %q", name, a.err)
		}
	}
	for _, command := range []string{"inspect", "check", "bench step -model", "bench image -model"} {
		a := goxl(t, append(strings.Fields(command), filepath.Join(dir, "none"))...)
		if a.status != 1 || !strings.Contains(a.err, "no such file") {
			t.Errorf("%s of what is not there: status %d, said %q", command, a.status, a.err)
		}
	}
}

// TestDemoNotice has a line say what draws when the embedded model does, and only then.
func TestDemoNotice(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "in.png")
	generate := []string{"generate", "-device", "cpu", "-prompt", "p", "-steps", "1", "-width", "64", "-height", "64", "-o", image}
	for _, c := range []struct {
		args  []string
		times int
	}{
		{generate, 1},
		{append(generate, "-refiner", "demo", "-steps", "5"), 1},
		{append(generate, "-quiet"), 0},
		{append(generate, "-model", "synth:tiny"), 0},
		{[]string{"refine", "-device", "cpu", "-image", image, "-prompt", "p", "-strength", "1", "-steps", "1", "-o", image}, 1},
		{[]string{"refine", "-device", "cpu", "-image", image, "-prompt", "p", "-strength", "1", "-steps", "1", "-o", image, "-quiet"}, 0},
	} {
		a := must(t, c.args...)
		if got := strings.Count(a.err, cli.DemoNotice+"\n"); got != c.times || strings.Contains(a.out, cli.DemoNotice) {
			t.Errorf("goxl %q says it %d times, want %d:\n%s", c.args, got, c.times, a.err)
		}
	}
}
