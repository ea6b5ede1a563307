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

// Size is a size that a configuration has, and the dimension of the tensor that bears it out.
type Size struct {
	key    string
	n      int
	tensor string
	axis   int
}

// NewSize is the size n under a key of the configuration, of an axis of the tensor.
func NewSize(key string, n int, tensor string, axis int) Size { return Size{key, n, tensor, axis} }

// Sizes checks that each size is at most its dimension. A tensor that is not there, or of another rank, is left to
// binding.
func (b *Bounds) Sizes(sizes ...Size) error {
	for _, s := range sizes {
		_, shape, err := b.src.Describe(s.tensor)
		if err != nil || s.axis >= len(shape) {
			continue
		}
		if s.n > shape[s.axis] {
			return &ConfigError{File: b.file, Key: s.key, Value: fmt.Sprint(s.n), Allowed: fmt.Sprintf("at most %d, since %s is %v", shape[s.axis], s.tensor, shape)}
		}
	}
	return nil
}

// Refuse returns the error that a key's value asks for something that does not exist.
func (b *Bounds) Refuse(key string, value any, allowed string, args ...any) error {
	return &ConfigError{File: b.file, Key: key, Value: shorten(fmt.Sprint(value)), Allowed: fmt.Sprintf(allowed, args...)}
}
