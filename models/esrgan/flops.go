package esrgan

import (
	"strings"

	"github.com/goxl/goxl/kernels"
)

// FLOPs are the operations of an image of so many pixels, a multiply-add as two, without what tiles compute twice.
func (c Config) FLOPs(pixels int64) (sum int64) {
	positions := pixels / int64(c.unit()*c.unit())
	for name, shape := range c.Shapes() {
		n := 2 * int64(kernels.Elements(shape)) * positions
		switch {
		case len(shape) != 4: // slopes and biases
			continue
		case strings.HasPrefix(name, "conv_up"):
			n <<= 2 * (name[len("conv_up")] - '0')
		case c.Kind == RRDB && (strings.HasPrefix(name, "conv_hr.") || strings.HasPrefix(name, "conv_last.")):
			n <<= 2 * c.Doublings
		}
		sum += n
	}
	return sum
}
