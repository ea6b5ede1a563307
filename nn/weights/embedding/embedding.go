// Package embedding reads textual inversions: files of vectors that stand in a prompt for what they were trained on.
//
// SDXL's have vectors for both text encoders, under the names clip_l and clip_g. Two files with a tensor of one encoder
// each, as diffusers' load_textual_inversion takes them, make one embedding; see [Embedding.Join]. A file of another
// model is named. A LoRA may bring embeddings of its own; see [Bundled].
package embedding

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Embedding is the vectors of a textual inversion.
type Embedding struct {
	Name string
	L, G Vectors // of CLIP ViT-L and of OpenCLIP ViT-bigG; a file may lack one of them
}

// Vectors is a matrix [N, Width]; the zero value is none.
type Vectors struct {
	N, Width int
	Data     []float32
}

// Widths of text encoders' embeddings.
const (
	WidthL = 768
	WidthG = 1280
)

// others are the models whose embeddings have one tensor of a width. One of WidthL is Stable Diffusion 1.5's or half of
// SDXL's, which only what else there is of its name can tell.
var others = map[int]string{1024: "Stable Diffusion 2", 4096: "a model with a T5 text encoder, such as Flux or SD3"}

// DefaultName is the name that prompts give an embedding without one: the file's without its extension.
func DefaultName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// Open reads a file. Errors about its content are a [*weights.FileError].
func Open(path, name string) (*Embedding, error) {
	file, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return Read(file, path, name)
}

// Read takes an embedding from a source; file is what errors call it. If name is "", it is file's own.
func Read(src kernels.Source, file, name string) (*Embedding, error) {
	if name == "" {
		name = DefaultName(file)
	}
	e := &Embedding{Name: name}
	bad := func(what, allowed string) error { return &weights.FileError{File: file, What: what, Allowed: allowed} }
	const allowed = "the embedding of an SDXL model, with the tensors clip_l [n, 768] and clip_g [n, 1280], or one tensor of one of these widths"
	var single []string
	for _, tensor := range src.Names() {
		var to *Vectors
		switch tensor {
		case "clip_l":
			to = &e.L
		case "clip_g":
			to = &e.G
		default:
			single = append(single, tensor)
			continue
		}
		v, err := read(src, file, tensor)
		if err != nil {
			return nil, err
		}
		*to = v
	}
	if e.L.N+e.G.N > 0 {
		return e, nil // beside them are counters, as of training
	}
	if len(single) == 0 {
		return nil, bad("no tensors", allowed)
	}
	if slices.ContainsFunc(single, isAdapter) {
		return nil, bad("this is a LoRA or a model, not an embedding", allowed)
	}
	if len(single) > 1 && !slices.ContainsFunc(single, isParameter) {
		return nil, bad(fmt.Sprintf("the tensors %s", strings.Join(shorten(single), ", ")), allowed)
	}
	at := max(0, slices.IndexFunc(single, isParameter))
	v, err := read(src, file, single[at])
	if err != nil {
		return nil, err
	}
	switch other := others[v.Width]; {
	case v.Width == WidthL:
		e.L = v
		return e, nil
	case v.Width == WidthG:
		e.G = v
		return e, nil
	case other != "":
		return nil, bad(fmt.Sprintf("an embedding of %s, of %d vectors of %d numbers", other, v.N, v.Width), allowed)
	}
	return nil, bad(fmt.Sprintf("one tensor, %q, of %d vectors of %d numbers", single[at], v.N, v.Width), allowed)
}

// Join takes over the vectors that another file has for the text encoder that this one lacks. It reports whether each of
// the two has vectors for an encoder of its own; otherwise it changes nothing.
func (e *Embedding) Join(other *Embedding) bool {
	switch {
	case e.L.N > 0 && e.G.N == 0 && other.L.N == 0 && other.G.N > 0:
		e.G = other.G
	case e.L.N == 0 && e.G.N > 0 && other.L.N > 0 && other.G.N == 0:
		e.L = other.L
	default:
		return false
	}
	return true
}

// isParameter reports whether a tensor is the one that A1111 keeps vectors in.
func isParameter(name string) bool {
	return name == "emb_params" || strings.HasPrefix(name, "string_to_param")
}

// isAdapter reports whether a tensor belongs to something larger.
func isAdapter(name string) bool {
	return strings.HasPrefix(name, "lora_") || strings.Contains(name, ".weight") || strings.Contains(name, "lora_A")
}

func shorten(names []string) []string {
	if len(names) > 3 {
		return append(slices.Clone(names[:3]), fmt.Sprintf("and %d more", len(names)-3))
	}
	return names
}

// read takes a tensor [N, Width], or [Width].
func read(src kernels.Source, file, name string) (Vectors, error) {
	bad := func(what, allowed string) (Vectors, error) {
		return Vectors{}, &weights.FileError{File: file, Tensor: name, What: what, Allowed: allowed}
	}
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		return Vectors{}, err
	}
	if len(shape) == 1 {
		shape = []int{1, shape[0]}
	}
	if len(shape) != 2 || shape[0] < 1 || shape[1] < 1 {
		return bad(fmt.Sprintf("shape %v", shape), "[vectors, width], one vector or more")
	}
	if dtype != kernels.F32 && dtype != kernels.F16 && dtype != kernels.BF16 {
		return bad(fmt.Sprintf("element type %v", dtype), "F16, BF16 or F32")
	}
	stored := kernels.Factor{DType: dtype, Data: data}
	v := Vectors{N: shape[0], Width: shape[1], Data: make([]float32, shape[0]*shape[1])}
	for i := range v.Data {
		v.Data[i] = stored.At(i)
		if x := v.Data[i]; x-x != 0 {
			return bad(fmt.Sprintf("%v at %d", x, i), "finite numbers")
		}
	}
	return v, nil
}
