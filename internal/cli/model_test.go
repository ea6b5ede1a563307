//go:build !nodemo

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

// TestOpenDemo opens the embedded model by its name; any other name is a folder.
func TestOpenDemo(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	started := time.Now()
	base, err := OpenModel(Demo, sdxl.Options{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	t.Logf("base opened in %v", time.Since(started))
	refiner, err := OpenRefiner(base, Demo)
	if err != nil {
		t.Fatal(err)
	}
	defer refiner.Close()
	if info := refiner.Info(); !info.Refiner || info.Path != Demo {
		t.Errorf("the refiner is %+v", info)
	}
	const known = "known by name are demo, synth:base, synth:refiner, synth:tiny, synth:tiny-refiner; anything else is a DIR"
	for what, c := range map[string]struct {
		open func() (*sdxl.Pipeline, error)
		want string
	}{
		"an unknown model":      {func() (*sdxl.Pipeline, error) { return OpenModel("demonstration", sdxl.Options{Device: dev}) }, known},
		"an unknown refiner":    {func() (*sdxl.Pipeline, error) { return OpenRefiner(base, "demonstration") }, known},
		"another's refiner":     {func() (*sdxl.Pipeline, error) { return OpenRefiner(base, "synth:tiny-refiner") }, "does not belong to the base demo"},
		"a base as the refiner": {func() (*sdxl.Pipeline, error) { return OpenRefiner(base, "synth:tiny") }, "the model is a base"},
	} {
		if p, err := c.open(); err == nil {
			t.Errorf("%s was opened", what)
			p.Close()
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, want %q in it", what, err, c.want)
		}
	}
}
