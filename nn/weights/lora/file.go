package lora

import (
	"slices"
	"strings"
	"sync"

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
	// SHA256 is the hash of the content in hexadecimal.
	SHA256() (string, error)
	Close() error
}

// File is an adapter file. It is safe for concurrent use.
type File struct {
	Container
	hash func() (string, error)
}

// Open reads the header of an adapter file in safetensors format.
func Open(path string) (*File, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	return New(f), nil
}

// New takes an open file over, which it closes in Close.
func New(c Container) *File { return &File{Container: c, hash: sync.OnceValues(c.SHA256)} }

// Hash is the SHA-256 of the file's content in hexadecimal. It reads the file once, the first time.
func (f *File) Hash() (string, error) { return f.hash() }

// bundled begins the names of embeddings that a file brings along: bundle_emb.NAME.TENSOR (OneTrainer).
const bundled = "bundle_emb."

// Embeddings returns the textual inversions bundled with the adapter by their name in a prompt, nil if there are none.
// The tensors of each have the names that a file of its own would give them, clip_l and clip_g say.
func (f *File) Embeddings() map[string]kernels.Source {
	var all map[string]kernels.Source
	for _, key := range f.Names() {
		name, _, ok := embedding(key)
		if !ok || all[name] != nil {
			continue
		}
		if all == nil {
			all = map[string]kernels.Source{}
		}
		all[name] = weights.Rename(f.Container, func(key string) string {
			if owner, tensor, ok := embedding(key); ok && owner == name {
				return tensor
			}
			return ""
		})
	}
	return all
}

// embedding splits the name of a bundled embedding's tensor.
func embedding(key string) (name, tensor string, ok bool) {
	rest, ok := strings.CutPrefix(key, bundled)
	if !ok {
		return "", "", false
	}
	// A name may hold dots; what follows it is one of the forms of an embedding file.
	for _, end := range []string{".clip_l", ".clip_g"} {
		if name, ok := strings.CutSuffix(rest, end); ok && name != "" {
			return name, end[1:], true
		}
	}
	for _, mark := range []string{".string_to_param.", ".emb_params"} {
		if i := strings.Index(rest, mark); i > 0 {
			return rest[:i], rest[i+1:], true
		}
	}
	name, tensor, ok = strings.Cut(rest, ".")
	return name, tensor, ok && name != "" && tensor != ""
}

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
