package controlnet

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// over is a net that is built on a UNet: tensors that it lacks are the UNet's, and of a net of differences those that
// both have are added up.
type over struct {
	*File
	base  kernels.Source
	names []string
	mine  map[string]bool
	both  map[string]bool // are added up
}

// Over returns the tensors of a net that is built on a UNet's, which have diffusers' names, and what its LoRA adds to
// them; see [nn.Network.Update]. The base is used for as long as the result is.
func (f *File) Over(base kernels.Source) (kernels.Source, *kernels.Update, error) {
	o := &over{File: f, base: base, mine: map[string]bool{}, both: map[string]bool{}}
	for _, name := range f.Names() {
		o.mine[name] = true
		o.names = append(o.names, name)
	}
	for _, name := range base.Names() {
		if !encoderTensor(name) {
			continue
		}
		if o.mine[name] {
			o.both[name] = f.Difference
			continue
		}
		if !f.Difference {
			o.names = append(o.names, name)
		}
	}
	slices.Sort(o.names)
	update, err := f.update(o)
	return o, update, err
}

// encoderTensor reports whether a UNet's tensor belongs to the part that a ControlNet has too.
func encoderTensor(name string) bool {
	return slices.ContainsFunc([]string{"conv_in.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block."}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// update is the products of a Control-LoRA; nil for none.
func (f *File) update(o *over) (*kernels.Update, error) {
	if len(f.Lora) == 0 {
		return nil, nil
	}
	u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	for _, l := range f.Lora {
		if l.Down == "" {
			return nil, fmt.Errorf("tensor %s has no tensor .down beside it", l.Up)
		}
		up, rank, err := factor(f.stored, l.Up)
		if err != nil {
			return nil, err
		}
		down, _, err := factor(f.stored, l.Down)
		if err != nil {
			return nil, err
		}
		u.LowRank[l.Tensor] = []kernels.LowRank{{Up: up, Down: down, Rank: rank, Scale: 1}}
	}
	if err := u.Check(o); err != nil {
		return nil, fmt.Errorf("the Control-LoRA does not fit the model's UNet: %w", err)
	}
	return u, nil
}

// factor reads a factor of a product, and its second dimension.
func factor(src kernels.Source, name string) (kernels.Factor, int, error) {
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		return kernels.Factor{}, 0, err
	}
	if len(shape) < 2 {
		return kernels.Factor{}, 0, fmt.Errorf("tensor %s is %v: must have two dimensions or more", name, shape)
	}
	return kernels.Factor{DType: dtype, Data: data}, shape[1], nil
}

// Names implements kernels.Source.
func (o *over) Names() []string { return slices.Clone(o.names) }

// Describe implements kernels.Source.
func (o *over) Describe(name string) (kernels.DType, []int, error) {
	if o.mine[name] {
		return o.File.Describe(name)
	}
	return o.base.Describe(name)
}

// Tensor implements kernels.Source. A sum is computed in float32 and has the type of the difference.
func (o *over) Tensor(name string) (kernels.DType, []int, []byte, error) {
	if !o.mine[name] {
		return o.base.Tensor(name)
	}
	dtype, shape, data, err := o.File.Tensor(name)
	if err != nil || !o.both[name] {
		return dtype, shape, data, err
	}
	baseType, baseShape, base, err := o.base.Tensor(name)
	if err != nil {
		return 0, nil, nil, err
	}
	if kernels.Elements(shape) != kernels.Elements(baseShape) {
		return 0, nil, nil, fmt.Errorf("tensor %s is %v, a difference to the UNet's, which is %v: must be alike", name, shape, baseShape)
	}
	a, b := kernels.Factor{DType: dtype, Data: data}, kernels.Factor{DType: baseType, Data: base}
	sum := make([]byte, 0, len(data))
	for i := range a.Len() {
		v := a.At(i) + b.At(i)
		switch dtype {
		case kernels.F16:
			sum = binary.LittleEndian.AppendUint16(sum, kernels.ToF16(v))
		case kernels.BF16:
			sum = binary.LittleEndian.AppendUint16(sum, kernels.ToBF16(v))
		default:
			sum = binary.LittleEndian.AppendUint32(sum, math.Float32bits(v))
		}
	}
	return dtype, shape, sum, nil
}

// Storage implements kernels.Source.
func (o *over) Storage(name string) kernels.Storage {
	switch {
	case o.both[name]:
		return kernels.Made
	case o.mine[name]:
		return o.File.Storage(name)
	}
	return o.base.Storage(name)
}

// Release implements kernels.Source: the file's own memory; the base's is the UNet's to give back.
func (o *over) Release() error { return o.File.Release() }
