package lora

import (
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Container is an open file of named tensors, such as a [weights.File].
type Container interface {
	kernels.Source
	// Path names the file in errors.
	Path() string
	// Metadata is the free text of the file's header, nil if there is none.
	Metadata() map[string]string
	// Stored is a tensor's element type by the safetensors format, its shape and its bytes.
	Stored(name string) (dtype string, shape []int, bytes int64, err error)
	// Raw is a tensor's data as it is stored.
	Raw(name string) ([]byte, error)
	Close() error
}

// File is an adapter file. It is safe for concurrent use.
type File struct{ Container }

// Open reads the header of an adapter file in safetensors format.
func Open(path string) (*File, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	return New(f), nil
}

// New takes an open file over, which it closes in Close.
func New(c Container) *File { return &File{c} }

// bundled begins the names of embeddings that a file brings along, which [embedding.Bundled] reads.
const bundled = "bundle_emb."

// Targets are the tensors of a model that may be changed: by component ("unet", "text_encoder", "text_encoder_2"), then
// by name in diffusers' layout, their shapes.
type Targets map[string]map[string][]int

// TargetsOf lists the tensors of components that a model can take: those of float types.
func TargetsOf(components map[string]kernels.Source) (Targets, error) {
	t := Targets{}
	for component, src := range components {
		shapes := map[string][]int{}
		for _, name := range src.Names() {
			_, shape, err := src.Describe(name)
			if isUnused(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			shapes[name] = slices.Clone(shape)
		}
		t[component] = shapes
	}
	return t, nil
}
