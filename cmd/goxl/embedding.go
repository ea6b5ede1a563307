package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/embedding"
)

// oneOf is the error of a value that is not in a list.
func oneOf[T ~string](list []T, value T) error {
	if slices.Contains(list, value) {
		return nil
	}
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return fmt.Errorf("must be one of %s", strings.Join(names, ", "))
}

// readInversions reads the files of -embedding.
func (g *generateFlags) readInversions() error {
	from := map[string]string{}
	for _, value := range g.inversions {
		path, name := value, ""
		if _, err := os.Stat(value); err != nil { // a file may have a colon in its name
			if at := strings.LastIndexByte(value, ':'); at > 0 {
				path, name = value[:at], value[at+1:]
			}
		}
		e, err := embedding.Open(path, name)
		if err != nil {
			return fmt.Errorf("-embedding: %w", err)
		}
		if other, twice := from[e.Name]; twice {
			return cli.Usagef("-embedding %s: has the name %q, as %s: must have another, FILE:NAME", path, e.Name, other)
		}
		from[e.Name] = path
		g.request.TextualInversions = append(g.request.TextualInversions, sdxl.TextualInversion{Name: e.Name, L: vectors(e.L), G: vectors(e.G)})
	}
	return nil
}

// vectors is a tensor of an embedding's vectors, nil if there are none.
func vectors(v embedding.Vectors) *sdxl.Tensor {
	if v.N == 0 {
		return nil
	}
	return &sdxl.Tensor{Shape: []int{v.N, v.Width}, Data: v.Data}
}
