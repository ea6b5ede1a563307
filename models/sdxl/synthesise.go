package sdxl

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/tokenizer"
)

// Synthesise writes the synthetic model of a name (see SyntheticNames) as a folder in diffusers layout, its weights in
// dtype. Nothing may be at dir but an empty folder. On an error, the end of ctx among them, nothing of the model stays.
// A full base takes 7 GB in fp16.
func Synthesise(ctx context.Context, name string, dtype kernels.DType, dir string) error {
	if !slices.Contains(SyntheticNames(), name) {
		return fmt.Errorf("no synthetic model %q: must be one of %s", name, strings.Join(SyntheticNames(), ", "))
	}
	fsys, err := fs.Sub(synthetic, "synthetic/"+name)
	if err != nil {
		return err
	}
	return synthesise(ctx, fsys, dtype, dir, func(component string) string { return component })
}

// synthesise completes the configurations in fsys with weights; seeds gives the name that a component's values are made
// from.
func synthesise(ctx context.Context, fsys fs.FS, dtype kernels.DType, dir string, seeds func(component string) string) error {
	return buildFolder(dir, func(building string) error {
		if err := os.CopyFS(building, fsys); err != nil {
			return err
		}
		for component, read := range componentShapes {
			if _, err := fs.Stat(fsys, component); err != nil {
				continue
			}
			data, err := fs.ReadFile(fsys, component+"/config.json")
			if err != nil {
				return err
			}
			shapes, err := read(data, component+"/config.json")
			if err != nil {
				return err
			}
			file := filepath.Join(building, filepath.FromSlash(weightsFile(component)))
			if err := writeSynthetic(ctx, file, seeds(component), shapes, dtype); err != nil {
				return err
			}
		}
		return writeVocabularies(building)
	})
}

// writeSynthetic writes a file of random weights.
func writeSynthetic(ctx context.Context, file, component string, shapes map[string][]int, dtype kernels.DType) error {
	tensors, err := weights.Tensors(weights.Synthetic(component, shapes, dtype))
	if err != nil {
		return err
	}
	return weights.Write(file, interruptible(ctx, tensors), map[string]string{"format": "pt"})
}

// buildFolder makes a folder, new or in the place of an empty one, of what build writes to one beside it. On an error
// nothing of it stays.
func buildFolder(dir string, build func(building string) error) (err error) {
	dir, exists, err := newFolder(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	building, err := os.MkdirTemp(parent, ".synth-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(building)
		}
	}()
	if err := build(building); err != nil {
		return err
	}
	if err := os.Chmod(building, 0o755); err != nil {
		return err
	}
	if exists { // os.Rename replaces no folder, an empty one neither
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return os.Rename(building, dir)
}

// componentShapes read the shapes of a component's tensors from its config.json.
var componentShapes = map[string]func(data []byte, file string) (map[string][]int, error){
	"text_encoder":   encoderShapes,
	"text_encoder_2": encoderShapes,
	"unet":           unetShapes,
	"vae":            vaeShapes,
}

// interruptible is tensors that are not computed once ctx has ended.
func interruptible(ctx context.Context, tensors []weights.Tensor) []weights.Tensor {
	for i, t := range tensors {
		tensors[i].Data = func() ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return t.Data()
		}
	}
	return tensors
}

// newFolder follows the links of dir, and reports whether a folder is there already. It refuses what is not an empty
// folder: a device or a file in its place must not be replaced.
func newFolder(dir string) (real string, exists bool, err error) {
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		if _, err := os.Lstat(dir); err == nil {
			return "", false, fmt.Errorf("%s is a link to nothing: a model is written to a new or empty folder", dir)
		}
		return dir, false, nil
	case err != nil:
		return "", false, err
	case info.Mode().IsRegular():
		return "", false, fmt.Errorf("%s is a regular file: a model is written to a new or empty folder", dir)
	case !info.IsDir():
		return "", false, fmt.Errorf("%s is a device, a pipe or a socket: a model is written to a new or empty folder", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false, err
	}
	if len(entries) > 0 {
		return "", false, fmt.Errorf("%s is not empty: a model is written to a new or empty folder", dir)
	}
	real, err = filepath.EvalSymlinks(dir)
	return real, true, err
}

// writeVocabularies gives CLIP's own vocabulary to the tokenizer folders that have none, which goxl needs no file for
// and others do.
func writeVocabularies(dir string) error {
	for _, folder := range []string{"tokenizer", "tokenizer_2"} {
		if _, err := os.Stat(filepath.Join(dir, folder)); err != nil || tokenizer.HasVocabulary(os.DirFS(dir), folder) {
			continue
		}
		files, err := tokenizer.CLIPFiles()
		if err != nil {
			return err
		}
		for name, data := range files {
			if err := os.WriteFile(filepath.Join(dir, folder, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func encoderShapes(data []byte, file string) (map[string][]int, error) {
	c, err := clip.ParseConfig(data, file)
	if err != nil {
		return nil, err
	}
	return nn.Shapes(clip.New(c)), nil
}

func unetShapes(data []byte, file string) (map[string][]int, error) {
	c, err := unet.ParseConfig(data, file)
	if err != nil {
		return nil, err
	}
	return nn.Shapes(unet.New(c)), nil
}

func vaeShapes(data []byte, file string) (map[string][]int, error) {
	c, err := vae.ParseConfig(data, file)
	if err != nil {
		return nil, err
	}
	return nn.Shapes(vae.New(c)), nil
}
