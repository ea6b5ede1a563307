package weights

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Component is the weights of one component of a model folder, one file or several shards. It is a
// [kernels.Source], safe for concurrent use; see [File] for how long its data is valid.
type Component struct {
	path  string // the file or the index
	files []*File
	owner map[string]*File // by tensor
	names []string
}

// OpenComponent opens weights by their path: a safetensors file, or a shard index (a file whose name ends in .json)
// beside its shards.
func OpenComponent(path string) (*Component, error) {
	if strings.HasSuffix(path, ".json") {
		return openShards(path)
	}
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	c := &Component{path: path, files: []*File{f}, owner: map[string]*File{}, names: f.Names()}
	for _, name := range c.names {
		c.owner[name] = f
	}
	return c, nil
}

// plainName reports whether a name stays in its folder on every system.
func plainName(name string) bool {
	return name != "" && !strings.ContainsAny(name, "/\\:\x00") && filepath.IsLocal(name) && name != "."
}

// readSmall reads a JSON file and refuses one that is too large to be one.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxJSON {
		return nil, &ConfigError{File: path, Allowed: fmt.Sprintf("not a regular file of at most %d bytes", maxJSON)}
	}
	return os.ReadFile(path)
}

// Path is the safetensors file, or the index of the shards.
func (c *Component) Path() string { return c.path }

// Files are the files behind the component, for what [File] says of each. The component closes them.
func (c *Component) Files() []*File { return slices.Clone(c.files) }

// Names lists every tensor, sorted.
func (c *Component) Names() []string { return slices.Clone(c.names) }

// Tensor returns a tensor as [File.Tensor] does.
func (c *Component) Tensor(name string) (kernels.DType, []int, []byte, error) {
	f, ok := c.owner[name]
	if !ok {
		return 0, nil, nil, &NameError{Source: c.path, Tensor: name}
	}
	return f.Tensor(name)
}

// Describe implements [kernels.Source].
func (c *Component) Describe(name string) (kernels.DType, []int, error) {
	f, ok := c.owner[name]
	if !ok {
		return 0, nil, &NameError{Source: c.path, Tensor: name}
	}
	return f.Describe(name)
}

// Storage implements [kernels.Source].
func (c *Component) Storage(name string) kernels.Storage {
	if f, ok := c.owner[name]; ok {
		return f.Storage(name)
	}
	return kernels.Made
}

// Stored describes a tensor as [File.Stored] does.
func (c *Component) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	f, ok := c.owner[name]
	if !ok {
		return "", nil, 0, &NameError{Source: c.path, Tensor: name}
	}
	return f.Stored(name)
}

// Release is that of every file.
func (c *Component) Release() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Release())
	}
	return errors.Join(errs...)
}

// Close unmaps every file. Tensors got before are invalid from then on.
func (c *Component) Close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
