package singlefile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Tensors describes a component's tensors, of diffusers' names, as a single file has them, for [weights.Write]: under
// the original names, OpenCLIP's queries, keys and values as one tensor, its projection transposed. refiner puts the
// second encoder where refiner files have it. It is the reverse of [Open], to the bit.
func Tensors(component string, src kernels.Source, refiner bool) ([]weights.Tensor, error) {
	list, err := weights.Tensors(src)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	var rename func(string) (string, bool)
	switch component {
	case UNet:
		layout, ok := UNetLayoutOf(names)
		if !ok {
			return nil, errors.New("unet: its way up is not the mirror of its way down")
		}
		rename = prefixed("model.diffusion_model.", layout.Original)
	case VAE:
		rename = prefixed("first_stage_model.", VAELayoutOf(names).Original)
	case TextEncoder:
		rename = prefixed("conditioner.embedders.0.transformer.", func(name string) (string, bool) { return name, true })
	case TextEncoder2:
		prefix := "conditioner.embedders.1.model."
		if refiner {
			prefix = "conditioner.embedders.0.model."
		}
		return openCLIPForm(list, prefix)
	default:
		return nil, fmt.Errorf("component %s; allowed: %s, %s, %s, %s", component, UNet, VAE, TextEncoder, TextEncoder2)
	}
	for i, t := range list {
		name, ok := rename(t.Name)
		if !ok {
			return nil, fmt.Errorf("%s: tensor %s has no original name", component, t.Name)
		}
		list[i].Name = name
	}
	return list, nil
}

func prefixed(prefix string, rename func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		name, ok := rename(name)
		return prefix + name, ok
	}
}

// openCLIPForm fuses and transposes what OpenCLIP stores so.
func openCLIPForm(list []weights.Tensor, prefix string) (out []weights.Tensor, err error) {
	fused := map[string][]weights.Tensor{}
	for _, t := range list {
		name, ok := openCLIPName(t.Name)
		switch {
		case !ok:
			return nil, fmt.Errorf("tensor %s has no name in OpenCLIP", t.Name)
		case name == "text_projection":
			out = append(out, transposedTensor(prefix+name, t))
		case strings.Contains(name, ".attn.in_proj_"):
			fused[name] = append(fused[name], t)
		default:
			t.Name = prefix + name
			out = append(out, t)
		}
	}
	for name, parts := range fused {
		if len(parts) != len(fusedParts) {
			return nil, fmt.Errorf("%s: %d of its %d parts are there", name, len(parts), len(fusedParts))
		}
		slices.SortFunc(parts, func(a, b weights.Tensor) int { return fusedIndex(a.Name) - fusedIndex(b.Name) })
		shape := slices.Clone(parts[0].Shape)
		shape[0] *= len(parts)
		out = append(out, weights.Tensor{Name: prefix + name, DType: parts[0].DType, Shape: shape, Data: func() ([]byte, error) {
			var all []byte
			for _, p := range parts {
				data, err := p.Data()
				if err != nil {
					return nil, err
				}
				all = append(all, data...)
			}
			return all, nil
		}})
	}
	return out, nil
}

func fusedIndex(name string) int {
	return slices.IndexFunc(fusedParts[:], func(part string) bool { return strings.Contains(name, part) })
}

func transposedTensor(name string, t weights.Tensor) weights.Tensor {
	rows, columns := t.Shape[0], t.Shape[1]
	return weights.Tensor{Name: name, DType: t.DType, Shape: []int{columns, rows}, Data: func() ([]byte, error) {
		data, err := t.Data()
		if err != nil {
			return nil, err
		}
		return transposed(data, rows, columns, t.DType.Size()), nil
	}}
}
