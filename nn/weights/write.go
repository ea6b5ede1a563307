package weights

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/goxl/goxl/kernels"
)

// Tensor describes a tensor whose data is computed when it is needed.
type Tensor struct {
	Name  string
	DType kernels.DType // F32, F16 or BF16
	Shape []int
	Data  func() ([]byte, error) // little-endian, dense
}

// NewTensor returns a tensor with the given data.
func NewTensor(name string, dtype kernels.DType, shape []int, data []byte) Tensor {
	return Tensor{Name: name, DType: dtype, Shape: shape, Data: func() ([]byte, error) { return data, nil }}
}

// Tensors describes every tensor of a source, for [Write]. Synthetic weights are computed when they are written, and
// not kept.
func Tensors(src kernels.Source) ([]Tensor, error) {
	if s, ok := src.(*SyntheticSource); ok {
		return s.tensors()
	}
	var list []Tensor
	for _, name := range src.Names() {
		dtype, shape, _, err := src.Tensor(name)
		if err != nil {
			return nil, err
		}
		list = append(list, Tensor{Name: name, DType: dtype, Shape: shape, Data: func() ([]byte, error) {
			_, _, data, err := src.Tensor(name)
			return data, err
		}})
	}
	return list, nil
}

// bytes is the length of the data by type and shape.
func (t Tensor) bytes() (int64, error) {
	if storedAs(t.DType) < 0 {
		return 0, fmt.Errorf("tensor %s: element type %v; allowed: fp32, fp16, bf16", quote(t.Name), t.DType)
	}
	if len(t.Shape) > maxRank {
		return 0, fmt.Errorf("tensor %s: shape %v; allowed: at most %d dimensions", quote(t.Name), t.Shape, maxRank)
	}
	n := int64(t.DType.Size())
	for _, d := range t.Shape {
		if d < 0 || d > maxDim || d > 0 && n > 1<<62/int64(d) {
			return 0, fmt.Errorf("tensor %s: shape %v; allowed: dimensions from 0 to %d", quote(t.Name), t.Shape, maxDim)
		}
		n *= int64(d)
	}
	return n, nil
}

// read computes the data and checks its length.
func (t Tensor) read() ([]byte, error) {
	want, err := t.bytes()
	if err != nil {
		return nil, err
	}
	data, err := t.Data()
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", quote(t.Name), err)
	}
	if int64(len(data)) != want {
		return nil, fmt.Errorf("tensor %s: %d bytes of data, but shape %v of %v takes %d", quote(t.Name), len(data), t.Shape, t.DType, want)
	}
	return data, nil
}

// Encode writes a safetensors file to w, tensors in the order of the reference implementation, by element type, the
// widest first, then by name, so that the bytes are the same. Data is computed one tensor at a time. A tensor that
// can't be stored is an error before anything is written.
func Encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(storedAs(b.DType), storedAs(a.DType)), cmp.Compare(a.Name, b.Name))
	})
	header, err := makeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := writeData(w, t); err != nil {
			return err
		}
	}
	return nil
}

// Write is [Encode] to a file, which appears under its name when it is complete and on disk, and replaces an existing
// one.
func Write(path string, tensors []Tensor, metadata map[string]string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, err)
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := Encode(w, tensors, metadata); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeData(w io.Writer, t Tensor) error {
	data, err := t.read()
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// makeHeader returns the length and the JSON, padded with spaces so that the data starts at a multiple of 8.
func makeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 8))
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	put := func(prefix byte, key string, value any) error {
		b.WriteByte(prefix)
		for i, v := range []any{key, value} {
			if i == 1 {
				b.WriteByte(':')
			}
			if err := enc.Encode(v); err != nil {
				return err
			}
			b.Truncate(b.Len() - 1) // Encode ends in a newline
		}
		return nil
	}
	sep := byte('{')
	if len(metadata) > 0 {
		if err := put(sep, metadataKey, metadata); err != nil {
			return nil, err
		}
		sep = ','
	}
	seen := map[string]bool{metadataKey: true}
	var at int64
	for _, t := range tensors {
		if seen[t.Name] || !utf8.ValidString(t.Name) || len(t.Name) > maxName {
			return nil, fmt.Errorf("tensor %s: the name is reserved, used twice, not UTF-8 or longer than %d bytes", quote(t.Name), maxName)
		}
		seen[t.Name] = true
		n, err := t.bytes()
		if err != nil {
			return nil, err
		}
		err = put(sep, t.Name, struct {
			DType   string   `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{elementTypes[storedAs(t.DType)].name, append([]int{}, t.Shape...), [2]int64{at, at + n}})
		if err != nil {
			return nil, err
		}
		sep, at = ',', at+n
	}
	if sep == '{' {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-8 > maxHeader {
		return nil, fmt.Errorf("header of %d bytes; allowed: at most %d", b.Len()-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), nil
}
