package weights

import (
	"fmt"
	"sort"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Bounds checks the counts and sizes of a configuration against the tensors of its checkpoint, before anything is
// allocated for them. Its errors are [*ConfigError].
type Bounds struct {
	file  string
	src   kernels.Source
	names []string
}

// NewBounds reads no data. file names the configuration in errors.
func NewBounds(src kernels.Source, file string) *Bounds {
	return &Bounds{file: file, src: src, names: src.Names()}
}

// Count checks that a list of modules, "unet.down_blocks" say, has an entry for each of n, and more besides.
func (b *Bounds) Count(key string, n, more int, list string) error {
	if have := b.entries(list); n < 0 || n > have-more {
		return &ConfigError{File: b.file, Key: key, Value: fmt.Sprint(n), Allowed: fmt.Sprintf("0 to %d, since the weights have %d of %s", max(0, have-more), have, list)}
	}
	return nil
}

// entries counts the different numbers that follow a path in the tensors' names: no number in a name makes it large.
func (b *Bounds) entries(path string) int {
	n, last := 0, ""
	prefix := path + "."
	for _, name := range b.names[sort.SearchStrings(b.names, prefix):] {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			break
		}
		index, _, _ := strings.Cut(rest, ".")
		if index != last && strings.Trim(index, "0123456789") == "" {
			n++
			last = index
		}
	}
	return n
}

// Has reports whether there is a tensor whose name is path or starts with it and a dot.
func (b *Bounds) Has(path string) bool {
	for _, name := range []string{path, path + "."} {
		if i := sort.SearchStrings(b.names, name); i < len(b.names) && (b.names[i] == path || strings.HasPrefix(b.names[i], path+".")) {
			return true
		}
	}
	return false
}

// Size checks that a size is at most a dimension of a tensor. A tensor that is not there, or of another rank, is left
// to binding.
func (b *Bounds) Size(key string, n int, tensor string, axis int) error {
	_, shape, err := b.src.Describe(tensor)
	if err != nil || axis >= len(shape) {
		return nil
	}
	if n > shape[axis] {
		return &ConfigError{File: b.file, Key: key, Value: fmt.Sprint(n), Allowed: fmt.Sprintf("at most %d, since %s is %v", shape[axis], tensor, shape)}
	}
	return nil
}

// Refuse returns the error that a key's value asks for something that does not exist.
func (b *Bounds) Refuse(key string, value any, allowed string, args ...any) error {
	return &ConfigError{File: b.file, Key: key, Value: shorten(fmt.Sprint(value)), Allowed: fmt.Sprintf(allowed, args...)}
}
