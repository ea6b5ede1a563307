package sdxl

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// SynthesiseFile writes the synthetic model of a name (see SyntheticNames) as a checkpoint in one safetensors file, its
// weights in dtype. A tiny one, whose widths are not the published ones, has its configurations and tokenizers in the
// file's metadata. On an error, the end of ctx among them, file is as it was.
func SynthesiseFile(ctx context.Context, name string, dtype kernels.DType, file string) error {
	if !slices.Contains(SyntheticNames(), name) {
		return fmt.Errorf("no synthetic model %q: must be one of %s", name, strings.Join(SyntheticNames(), ", "))
	}
	fsys, err := fs.Sub(synthetic, "synthetic/"+name)
	if err != nil {
		return err
	}
	tensors, err := singleTensors(fsys, dtype)
	if err != nil {
		return err
	}
	metadata := map[string]string{"format": "pt"}
	if strings.HasPrefix(name, "tiny") {
		if err := addFiles(metadata, fsys); err != nil {
			return err
		}
	}
	return weights.Write(file, interruptible(ctx, tensors), metadata)
}

// singleTensors are all tensors of a synthetic model under a single file's names.
func singleTensors(fsys fs.FS, dtype kernels.DType) (all []weights.Tensor, err error) {
	_, lacking := fs.Stat(fsys, singlefile.TextEncoder)
	for component, read := range componentShapes {
		data, err := fs.ReadFile(fsys, component+"/config.json")
		if err != nil {
			continue // a refiner's first encoder
		}
		shapes, err := read(data, component+"/config.json")
		if err != nil {
			return nil, err
		}
		tensors, err := singlefile.Tensors(component, weights.Synthetic(component, shapes, dtype), lacking != nil)
		if err != nil {
			return nil, err
		}
		all = append(all, tensors...)
	}
	return all, nil
}

// addFiles puts a model folder's files into a single file's metadata, but for those that follow from its tensors.
func addFiles(metadata map[string]string, fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == indexFile || strings.HasPrefix(name, "scheduler/") {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		metadata[singlefile.MetadataPrefix+name] = string(data)
		return err
	})
}
