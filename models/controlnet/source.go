package controlnet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// valueRows is a union's tensors with those of the attentions' values under names of their own: the last third of the
// rows of in_proj.
type valueRows struct {
	kernels.Source
	whole map[string]string // the name of in_proj's tensor by that of the third
	names []string
}

const (
	inProj = ".attn.in_proj_"
	values = ".attn.value."
)

func newValueRows(src kernels.Source) *valueRows {
	v := &valueRows{Source: src, whole: map[string]string{}, names: src.Names()}
	for _, name := range src.Names() {
		if layer, kind, ok := strings.Cut(name, inProj); ok {
			third := layer + values + kind
			v.whole[third] = name
			v.names = append(v.names, third)
		}
	}
	slices.Sort(v.names)
	return v
}

// fused are the tensors of which only a third is used.
func (v *valueRows) fused() (names []string) {
	for _, name := range v.whole {
		names = append(names, name)
	}
	return names
}

// Names implements kernels.Source.
func (v *valueRows) Names() []string { return slices.Clone(v.names) }

// Describe implements kernels.Source.
func (v *valueRows) Describe(name string) (kernels.DType, []int, error) {
	whole, ok := v.whole[name]
	if !ok {
		return v.Source.Describe(name)
	}
	dtype, shape, err := v.Source.Describe(whole)
	if err != nil {
		return 0, nil, err
	}
	if len(shape) == 0 || shape[0]%3 != 0 {
		return 0, nil, fmt.Errorf("tensor %s is %v: must have rows in three equal parts, of queries, keys and values", whole, shape)
	}
	shape = slices.Clone(shape)
	shape[0] /= 3
	return dtype, shape, nil
}

// Tensor implements kernels.Source: the data aliases the source's.
func (v *valueRows) Tensor(name string) (kernels.DType, []int, []byte, error) {
	whole, ok := v.whole[name]
	if !ok {
		return v.Source.Tensor(name)
	}
	dtype, shape, err := v.Describe(name)
	if err != nil {
		return 0, nil, nil, err
	}
	_, _, data, err := v.Source.Tensor(whole)
	if err != nil {
		return 0, nil, nil, err
	}
	return dtype, shape, data[len(data)/3*2:], nil
}

// Storage implements kernels.Source.
func (v *valueRows) Storage(name string) kernels.Storage {
	if whole, ok := v.whole[name]; ok {
		return v.Source.Storage(whole)
	}
	return v.Source.Storage(name)
}
