package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/goxl/goxl/models/demo"
	"github.com/goxl/goxl/models/sdxl"
)

// Demo is the name of the embedded model, as -model takes it, and of its refiner, as -refiner does.
const Demo = "demo"

// What the embedded model is, in a few words, and a line that says so when it draws.
const (
	DemoIs     = "a small SDXL of 15 million parameters, trained on emoji, which knows some 600 things"
	DemoNotice = "demo is " + DemoIs + "; for other images give -model a DIR in diffusers' layout, such as stable-diffusion-xl-base-1.0"
)

var errNoDemo = errors.New("model demo: this program was built without it (tag nodemo): give a DIR in diffusers' layout")

// OpenModel opens what a flag names: the embedded model, a folder, or a synthetic model.
func OpenModel(name string, o sdxl.Options) (*sdxl.Pipeline, error) {
	if name != Demo {
		p, err := sdxl.Open(name, o)
		return p, explain(name, err)
	}
	fsys := demo.Base()
	if fsys == nil {
		return nil, errNoDemo
	}
	return sdxl.OpenFS(fsys, Demo, o)
}

// OpenRefiner opens what a flag names as base's refiner: the embedded one, a folder, or a synthetic model. Close it before base.
func OpenRefiner(base *sdxl.Pipeline, name string) (*sdxl.Pipeline, error) {
	if name != Demo {
		p, err := base.OpenRefiner(name)
		return p, explain(name, err)
	}
	fsys := demo.Refiner()
	if fsys == nil {
		return nil, errNoDemo
	}
	return base.OpenRefinerFS(fsys, Demo)
}

// explain adds to the error about a name that names nothing what there is.
func explain(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, statErr := os.Stat(name); strings.HasPrefix(name, "synth:") || !errors.Is(statErr, fs.ErrNotExist) {
		return err
	}
	var known []string
	for _, s := range sdxl.SyntheticNames() {
		known = append(known, "synth:"+s)
	}
	return fmt.Errorf("%w; known by name are %s, %s; anything else is a DIR", err, Demo, strings.Join(known, ", "))
}
