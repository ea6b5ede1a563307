package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

const latentsTensor = "latents"

// readLatents reads the tensor "latents" of a safetensors file: F32, [N, C, H, W].
func readLatents(flag, path string) (x *sdxl.Tensor, err error) {
	f, err := openTensors(flag, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.read(latentsTensor, []string{"n", "channels", "height/8", "width/8"})
}

// readEmbeddings reads prompt embeddings of a safetensors file, under diffusers' names: F32.
func readEmbeddings(path string) (e *sdxl.Embeddings, err error) {
	f, err := openTensors("embeddings", path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	e = &sdxl.Embeddings{}
	for _, t := range []struct {
		to       **sdxl.Tensor
		name     string
		axes     []string
		optional bool
	}{
		{&e.Prompt, "prompt_embeds", []string{"n", "tokens", "width"}, false},
		{&e.Pooled, "pooled_prompt_embeds", []string{"n", "width"}, false},
		{&e.Negative, "negative_prompt_embeds", []string{"n", "tokens", "width"}, true},
		{&e.NegativePooled, "negative_pooled_prompt_embeds", []string{"n", "width"}, true},
	} {
		if t.optional && !slices.Contains(f.Names(), t.name) {
			continue
		}
		if *t.to, err = f.read(t.name, t.axes); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// tensorFile is a safetensors file that a flag names.
type tensorFile struct {
	*weights.File
	flag, path string
}

func openTensors(flag, path string) (*tensorFile, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	return &tensorFile{f, flag, path}, nil
}

// read reads a tensor of finite float32 numbers with these axes.
func (f *tensorFile) read(name string, axes []string) (*sdxl.Tensor, error) {
	stored, shape, _, err := f.Stored(name)
	switch {
	case err != nil:
		names, more := f.Names(), ""
		if len(names) > 4 {
			names, more = names[:4], " …"
		}
		return nil, fmt.Errorf("-%s %s: no tensor %q, it holds: %s%s", f.flag, f.path, name, strings.Join(names, ", "), more)
	case stored != "F32":
		return nil, fmt.Errorf("-%s %s: tensor %q is %s: must be F32", f.flag, f.path, name, stored)
	case len(shape) != len(axes):
		return nil, fmt.Errorf("-%s %s: tensor %q is %v: must have %d dimensions, [%s]", f.flag, f.path, name, shape, len(axes), strings.Join(axes, ", "))
	}
	_, _, data, err := f.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", f.flag, err)
	}
	x := &sdxl.Tensor{Shape: shape, Data: make([]float32, len(data)/4)}
	for i := range x.Data {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if d := float64(v); math.IsNaN(d) || math.IsInf(d, 0) {
			return nil, fmt.Errorf("-%s %s: tensor %q holds %v: must be finite", f.flag, f.path, name, v)
		}
		x.Data[i] = v
	}
	return x, nil
}

// encodeLatents returns the file that readLatents reads.
func encodeLatents(x *sdxl.Tensor) ([]byte, error) {
	data := make([]byte, 0, 4*len(x.Data))
	for _, v := range x.Data {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	var file bytes.Buffer
	err := weights.Encode(&file, []weights.Tensor{weights.NewTensor(latentsTensor, kernels.F32, x.Shape, data)}, nil)
	return file.Bytes(), err
}
