package weights

import (
	"errors"
	"fmt"
	"hash"

	"github.com/goxl/goxl/kernels"
)

// Fingerprint writes what identifies a component's weights to a hash: names, types and shapes of all tensors and, of
// those that lie in files or in memory, the first and last 4 KiB of each, as they are stored if src has a method Raw such
// as [File.Raw]. So two file layouts of the same weights have one fingerprint. Weights that are computed are identified
// by their names, types and shapes alone.
func Fingerprint(h hash.Hash, src kernels.Source) error {
	stored, inFiles := src.(interface {
		Raw(name string) ([]byte, error)
	})
	for _, name := range src.Names() {
		dtype, shape, err := src.Describe(name)
		var unused *DTypeError
		if errors.As(err, &unused) {
			continue // of a type that no model takes, it is not used
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %v %v\n", name, dtype, shape)
		var data []byte
		switch {
		case inFiles: // what is made of them, of float8 say, needs not be made
			data, err = stored.Raw(name)
		case src.Storage(name) == kernels.Made:
			continue
		default:
			_, _, data, err = src.Tensor(name)
		}
		if err != nil {
			return err
		}
		n := min(len(data), sampleBytes)
		h.Write(data[:n]) // a hash returns no error
		h.Write(data[len(data)-n:])
	}
	return nil
}
