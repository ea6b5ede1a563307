package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
)

const latentsTensor = "latents"

// readLatents reads the tensor "latents" of a safetensors file: F32, [N, C, H, W].
func readLatents(path string) (_ *sdxl.Latents, err error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-latents: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stored, shape, _, err := f.Stored(latentsTensor)
	switch {
	case err != nil:
		names, more := f.Names(), ""
		if len(names) > 4 {
			names, more = names[:4], " …"
		}
		return nil, fmt.Errorf("-latents %s: no tensor %q, it holds: %s%s", path, latentsTensor, strings.Join(names, ", "), more)
	case stored != "F32":
		return nil, fmt.Errorf("-latents %s: tensor %q is %s: must be F32", path, latentsTensor, stored)
	case len(shape) != 4:
		return nil, fmt.Errorf("-latents %s: tensor %q is %v: must have 4 dimensions, [n, channels, height/8, width/8]", path, latentsTensor, shape)
	}
	_, _, data, err := f.Tensor(latentsTensor)
	if err != nil {
		return nil, fmt.Errorf("-latents: %w", err)
	}
	x := &sdxl.Latents{Shape: [4]int(shape), Data: make([]float32, len(data)/4)}
	for i := range x.Data {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if d := float64(v); math.IsNaN(d) || math.IsInf(d, 0) {
			return nil, fmt.Errorf("-latents %s: tensor %q holds %v: must be finite", path, latentsTensor, v)
		}
		x.Data[i] = v
	}
	return x, nil
}

// encodeLatents returns the file that readLatents reads.
func encodeLatents(x *sdxl.Latents) ([]byte, error) {
	data := make([]byte, 0, 4*len(x.Data))
	for _, v := range x.Data {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	var file bytes.Buffer
	err := weights.Encode(&file, []weights.Tensor{weights.NewTensor(latentsTensor, kernels.F32, x.Shape[:], data)}, nil)
	return file.Bytes(), err
}
