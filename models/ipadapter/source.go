package ipadapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// rowsOf is a tensor that is consecutive rows of one of the file's.
type rowsOf struct {
	tensor      string
	part, parts int
}

// source is a file with the model's names: a plus adapter's to_kv is to_k and to_v, a base adapter's proj a matrix for
// each token, and layers are numbered from 0.
type source struct {
	kernels.Source
	names []string
	parts map[string]rowsOf
}

func newSource(src kernels.Source, c Config) *source {
	s := &source{parts: map[string]rowsOf{}}
	s.Source = weights.Rename(src, func(name string) string {
		if i, rest, ok := index(name); ok {
			return fmt.Sprintf("%s%d.%s", layerPrefix, i, rest)
		}
		return name
	})
	for _, name := range s.Source.Names() {
		of := s.split(name, c)
		if of == nil {
			of = []string{name}
		}
		for i, part := range of {
			s.names = append(s.names, part)
			if len(of) > 1 {
				s.parts[part] = rowsOf{name, i, len(of)}
			}
		}
	}
	slices.Sort(s.names)
	return s
}

// split are the names of the parts that a tensor has, nil of one that stays whole.
func (s *source) split(name string, c Config) (parts []string) {
	switch {
	case c.Plus && strings.HasSuffix(name, ".to_kv.weight"):
		module := strings.TrimSuffix(name, "to_kv.weight")
		return []string{module + "to_k.weight", module + "to_v.weight"}
	case !c.Plus && (name == projectionPrefix+"proj.weight" || name == projectionPrefix+"proj.bias"):
		for i := range c.Tokens {
			parts = append(parts, fmt.Sprintf("%sproj.%d%s", projectionPrefix, i, strings.TrimPrefix(name, projectionPrefix+"proj")))
		}
	}
	return parts
}

// Names implements kernels.Source.
func (s *source) Names() []string { return slices.Clone(s.names) }

// shape is that of a part of a tensor's rows.
func (p rowsOf) shape(shape []int) ([]int, error) {
	if len(shape) == 0 || shape[0]%p.parts != 0 {
		return nil, fmt.Errorf("%s is of %v: must be a multiple of %d rows", p.tensor, shape, p.parts)
	}
	shape = slices.Clone(shape)
	shape[0] /= p.parts
	return shape, nil
}

// Describe implements kernels.Source.
func (s *source) Describe(name string) (kernels.DType, []int, error) {
	p, split := s.parts[name]
	if !split {
		return s.Source.Describe(name)
	}
	dtype, shape, err := s.Source.Describe(p.tensor)
	if err != nil {
		return dtype, shape, err
	}
	shape, err = p.shape(shape)
	return dtype, shape, err
}

// Tensor implements kernels.Source.
func (s *source) Tensor(name string) (kernels.DType, []int, []byte, error) {
	p, split := s.parts[name]
	if !split {
		return s.Source.Tensor(name)
	}
	dtype, shape, data, err := s.Source.Tensor(p.tensor)
	if err != nil {
		return dtype, shape, data, err
	}
	if shape, err = p.shape(shape); err != nil {
		return dtype, shape, nil, err
	}
	n := len(data) / p.parts
	return dtype, shape, data[p.part*n : (p.part+1)*n : (p.part+1)*n], nil
}

// Storage implements kernels.Source.
func (s *source) Storage(name string) kernels.Storage {
	if p, split := s.parts[name]; split {
		return s.Source.Storage(p.tensor)
	}
	return s.Source.Storage(name)
}
