package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Component is the weights of one component of a model folder, one file or several shards. It is a [kernels.Source] and a
// [kernels.Releaser], safe for concurrent use; see [File] for how long its data is valid.
type Component struct {
	path  string // the file or the index
	files []*File
	owner map[string]*File // tensor → shard
	names []string
}

// OpenComponent opens weights by their path: a safetensors file, or a shard index (a file whose name ends in .json) beside its shards.
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

// openShards opens the shards that an index names. Tensors that the index does not name are left out, as diffusers does.
func openShards(index string) (_ *Component, err error) {
	weightMap, err := readIndex(index)
	if err != nil {
		return nil, err
	}
	opened := &Component{path: index, owner: map[string]*File{}, names: slices.Sorted(maps.Keys(weightMap))}
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	shards := map[string]*File{}
	for _, shard := range slices.Compact(slices.Sorted(maps.Values(weightMap))) {
		f, err := Open(filepath.Join(filepath.Dir(index), shard))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &FileError{File: index, What: fmt.Sprintf("shard %s is missing", quote(shard)), Err: fs.ErrNotExist}
		}
		if err != nil {
			return nil, err
		}
		shards[shard] = f
		opened.files = append(opened.files, f)
	}
	for name, shard := range weightMap {
		f := shards[shard]
		if _, _, _, err := f.Stored(name); err != nil {
			return nil, &FileError{File: index, Tensor: name, What: fmt.Sprintf("shard %s does not have it", quote(shard)), Err: err}
		}
		opened.owner[name] = f
	}
	return opened, nil
}

// readIndex reads the weight_map of a shard index: tensor → file beside the index.
func readIndex(path string) (map[string]string, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	members, err := parseObject(data, path)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(members, func(m member) bool { return m.key == "weight_map" })
	if i < 0 {
		return nil, &ConfigError{File: path, Key: "weight_map", Allowed: "missing; an index needs it"}
	}
	var weightMap map[string]string
	if err := json.Unmarshal(members[i].value, &weightMap); err != nil || len(weightMap) == 0 {
		return nil, &ConfigError{File: path, Key: "weight_map", Value: shortJSON(members[i].value), Allowed: "an object of at least one tensor name and its file name"}
	}
	for _, shard := range weightMap {
		if isPickleName(shard) {
			return nil, &ConfigError{File: path, Key: "weight_map", Value: quote(shard), Allowed: "safetensors files; this is a pickle, " + convert}
		}
		if !plainName(shard) || !strings.HasSuffix(shard, ".safetensors") {
			return nil, &ConfigError{File: path, Key: "weight_map", Value: quote(shard), Allowed: "the name of a .safetensors file in the same folder"}
		}
	}
	return weightMap, nil
}

// plainName tells whether a name stays in its folder on every system.
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

// Describe implements [kernels.Describer].
func (c *Component) Describe(name string) (kernels.DType, []int, error) {
	f, ok := c.owner[name]
	if !ok {
		return 0, nil, &NameError{Source: c.path, Tensor: name}
	}
	return f.Describe(name)
}

// Stored describes a tensor as [File.Stored] does.
func (c *Component) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	f, ok := c.owner[name]
	if !ok {
		return "", nil, 0, &NameError{Source: c.path, Tensor: name}
	}
	return f.Stored(name)
}

// Release gives the memory of the pages read so far back to the system.
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
