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
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := OpenModel(t.Context(), Demo, sdxl.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	t.Logf("base opened in %v", time.Since(started))
	refiner, err := OpenModel(t.Context(), Demo, sdxl.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	defer refiner.Close()
	if info := refiner.Info(); !info.Refiner || info.Path != Demo {
		t.Errorf("the refiner is %+v", info)
	}
	const known = "known by name are demo, synth:base, synth:refiner, synth:tiny, synth:tiny-refiner; anything else is a DIR, a FILE, or ORG/NAME of the hub"
	for what, c := range map[string]struct {
		open func() (*sdxl.Model, error)
		want string
	}{
		"an unknown model":   {func() (*sdxl.Model, error) { return OpenModel(t.Context(), "demonstration", sdxl.Options{Host: host}) }, known},
		"an unknown refiner": {func() (*sdxl.Model, error) { return OpenModel(t.Context(), "demonstration", sdxl.Options{Base: base}) }, known},
		"another's refiner": {func() (*sdxl.Model, error) {
			return OpenModel(t.Context(), "synth:tiny-refiner", sdxl.Options{Base: base})
		}, "does not belong to the base demo"},
		"a base as the refiner": {func() (*sdxl.Model, error) { return OpenModel(t.Context(), "synth:tiny", sdxl.Options{Base: base}) }, "the model is a base"},
	} {
		if p, err := c.open(); err == nil {
			t.Errorf("%s was opened", what)
			p.Close()
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, want %q in it", what, err, c.want)
		}
	}
}
