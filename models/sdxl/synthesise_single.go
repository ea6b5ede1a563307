package sdxl

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// SynthesiseFile writes the synthetic model of a name (see SyntheticNames) as a checkpoint in one safetensors file, its
// weights in dtype. A tiny one, whose widths are not the published ones, has its tokenizers and what no shape shows in
// the file's metadata. On an error, the end of ctx among them, file is as it was.
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

// hidden are the keys of configurations that no tensor of the component shows, and that differ from the published ones in a tiny model.
var hidden = []string{"addition_time_embed_dim", "attention_head_dim", "norm_num_groups", "num_attention_heads", "sample_size"}

// addFiles puts what does not follow from the tensors of a model folder into a single file's metadata.
func addFiles(metadata map[string]string, fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == indexFile || strings.HasPrefix(name, "scheduler/") {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err == nil && strings.HasSuffix(name, "/config.json") {
			var config map[string]any
			if err := json.Unmarshal(data, &config); err != nil {
				return err
			}
			maps.DeleteFunc(config, func(key string, _ any) bool { return !slices.Contains(hidden, key) })
			data, err = json.Marshal(config)
		}
		metadata[singlefile.MetadataPrefix+name] = string(data)
		return err
	})
}
