package controlnet

import (
	"maps"
	"strings"

	"github.com/goxl/goxl/nn"
)

// Shapes are the tensors of a checkpoint of a configuration, by name.
func Shapes(c Config) map[string][]int {
	shapes := nn.Shapes(New(c))
	for name, shape := range maps.Clone(shapes) {
		layer, kind, ok := strings.Cut(name, values)
		if !ok {
			continue
		}
		delete(shapes, name)
		whole := append([]int{3 * shape[0]}, shape[1:]...)
		shapes[layer+inProj+kind] = whole
	}
	if c.Union() {
		shapes[taskEmbedding] = []int{c.ControlTypes, c.FusedChannels}
	}
	return shapes
}
