package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/goxl/goxl/models/demo"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

// Demo is the name of the embedded model, as -model takes it, and of its refiner, as -refiner does.
const Demo = "demo"

// What the embedded model is, in a few words, and a line that says so when it draws.
const (
	DemoIs     = "a small SDXL of 15 million parameters, trained on emoji, which knows some 600 things"
	DemoNotice = "demo is " + DemoIs + "; for other images give -model a DIR in diffusers' layout, such as stable-diffusion-xl-base-1.0, or a checkpoint in one FILE"
)

var errNoDemo = errors.New("model demo: this program was built without it (tag nodemo): give a DIR in diffusers' layout")

// OpenModel opens what a flag names: the embedded model, a folder, a synthetic model, or one of the hub, which is
// downloaded if its cache lacks it. With Options.Base it is that base's refiner.
func OpenModel(ctx context.Context, name string, o sdxl.Options) (*sdxl.Model, error) {
	if name != Demo {
		log := o.Log
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		if err := Fetch(ctx, weights.Variant{Name: o.Variant, Precision: o.Precision}, log, name); err != nil {
			return nil, explain(name, err)
		}
		m, err := sdxl.Open(ctx, name, o)
		return m, explain(name, err)
	}
	fsys, err := demoFiles(o.Base != nil)
	if err != nil {
		return nil, err
	}
	return sdxl.OpenFS(ctx, fsys, Demo, o)
}

// ReadSpec reads the configurations of what OpenModel opens; with base they are its refiner's.
func ReadSpec(name string, base *sdxl.Spec, log *slog.Logger) (*sdxl.Spec, error) {
	return ReadSpecParts(name, sdxl.Parts{}, base, log)
}

// ReadSpecParts is ReadSpec of what OpenModel opens with Options of the parts' names.
func ReadSpecParts(name string, p sdxl.Parts, base *sdxl.Spec, log *slog.Logger) (*sdxl.Spec, error) {
	if name != Demo {
		s, err := sdxl.ReadSpecParts(name, p, base, log)
		return s, explain(name, err)
	}
	fsys, err := demoFiles(base != nil)
	if err != nil {
		return nil, err
	}
	return sdxl.ReadSpecFSParts(fsys, Demo, p, base, log)
}

func demoFiles(refiner bool) (fs.FS, error) {
	fsys := demo.Base()
	if refiner {
		fsys = demo.Refiner()
	}
	if fsys == nil {
		return nil, errNoDemo
	}
	return fsys, nil
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
	return fmt.Errorf("%w; known by name are %s, %s; anything else is a DIR, a FILE, or ORG/NAME of the hub", err, Demo, strings.Join(known, ", "))
}
