package cli

import (
	"errors"

	"github.com/goxl/goxl/models/demo"
	"github.com/goxl/goxl/models/sdxl"
)

// Demo is the name of the embedded model, as -model takes it.
const Demo = "demo"

// OpenModel opens what a flag names: the embedded model, a folder, or a synthetic model.
func OpenModel(name string, o sdxl.Options) (*sdxl.Pipeline, error) {
	if name != Demo {
		return sdxl.Open(name, o)
	}
	fsys := demo.Base()
	if fsys == nil {
		return nil, errors.New("model demo: this program was built without it (tag nodemo): give a DIR in diffusers' layout")
	}
	return sdxl.OpenFS(fsys, Demo, o)
}
