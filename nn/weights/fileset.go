package weights

import (
	"errors"
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// fileSet is the tensors of one file or of several shards, as they are stored. It is a [StoredSource].
type fileSet struct {
	path  string // the file or the index
	files []*File
	owner map[string]*File // by tensor
	names []string
}

// Path implements [StoredSource].
func (s *fileSet) Path() string { return s.path }

// Names lists every tensor, sorted.
func (s *fileSet) Names() []string { return slices.Clone(s.names) }

// Tensor returns a tensor as [File.Tensor] does.
func (s *fileSet) Tensor(name string) (kernels.DType, []int, []byte, error) {
	f, ok := s.owner[name]
	if !ok {
		return 0, nil, nil, &NameError{Source: s.path, Tensor: name}
	}
	return f.Tensor(name)
}

// Describe implements [kernels.Source].
func (s *fileSet) Describe(name string) (kernels.DType, []int, error) {
	f, ok := s.owner[name]
	if !ok {
		return 0, nil, &NameError{Source: s.path, Tensor: name}
	}
	return f.Describe(name)
}

// Storage implements [kernels.Source].
func (s *fileSet) Storage(name string) kernels.Storage {
	if f, ok := s.owner[name]; ok {
		return f.Storage(name)
	}
	return kernels.Made
}

// Stored describes a tensor as [File.Stored] does.
func (s *fileSet) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	f, ok := s.owner[name]
	if !ok {
		return "", nil, 0, &NameError{Source: s.path, Tensor: name}
	}
	return f.Stored(name)
}

// Raw returns a tensor's bytes as [File.Raw] does.
func (s *fileSet) Raw(name string) ([]byte, error) {
	f, ok := s.owner[name]
	if !ok {
		return nil, &NameError{Source: s.path, Tensor: name}
	}
	return f.Raw(name)
}

// Metadata implements [StoredSource].
func (s *fileSet) Metadata() map[string]string {
	all := map[string]string{}
	for _, f := range slices.Backward(s.files) {
		maps.Copy(all, f.metadata)
	}
	return all
}

// Release is that of every file.
func (s *fileSet) Release() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Release())
	}
	return errors.Join(errs...)
}

// Close unmaps every file. Tensors got before are invalid from then on.
func (s *fileSet) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
