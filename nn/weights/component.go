package weights

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Component is the weights of one component of a model folder, one file or several shards; those that are quantised
// with scales are dequantised, see [Dequantise]. It is a [kernels.Source], safe for concurrent use; see [File] for how
// long its data is valid.
type Component struct {
	set            *fileSet
	kernels.Source // set, or what it stands for
}

// OpenComponent opens weights by their path: a safetensors file, or a shard index (a file whose name ends in .json)
// beside its shards.
func OpenComponent(path string) (*Component, error) {
	set, err := openFiles(path)
	if err != nil {
		return nil, err
	}
	src, err := Dequantise(set)
	if err != nil {
		set.Close()
		return nil, err
	}
	return &Component{set: set, Source: src}, nil
}

func openFiles(path string) (*fileSet, error) {
	if strings.HasSuffix(path, ".json") {
		return openShards(path)
	}
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	s := &fileSet{path: path, files: []*File{f}, owner: map[string]*File{}, names: f.Names()}
	for _, name := range s.names {
		s.owner[name] = f
	}
	return s, nil
}

// Path is the weights file, or the index of the shards.
func (c *Component) Path() string { return c.set.path }

// Files are the files behind the component, for what [File] says of each. The component closes them.
func (c *Component) Files() []*File { return slices.Clone(c.set.files) }

// Stored describes a tensor as [File.Stored] does, the bookkeeping of a quantisation included.
func (c *Component) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	return c.set.Stored(name)
}

// Raw returns a tensor's bytes as [File.Raw] does.
func (c *Component) Raw(name string) ([]byte, error) { return c.set.Raw(name) }

// Metadata is the free text of all files; where two have the same key, the first one's counts.
func (c *Component) Metadata() map[string]string { return c.set.Metadata() }

// Close unmaps every file. Tensors got before are invalid from then on.
func (c *Component) Close() error { return c.set.Close() }

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
