package weights

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestRaw(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Write(path, []Tensor{NewTensor("a", kernels.F16, []int{3}, []byte{1, 2, 3, 4, 5, 6})}, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Raw("a")
	if err != nil || !bytes.Equal(raw, []byte{1, 2, 3, 4, 5, 6}) {
		t.Errorf("raw bytes %v, %v", raw, err)
	}
	var missing *NameError
	if _, err := f.Raw("b"); !errors.As(err, &missing) {
		t.Errorf("a tensor that is not there: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Raw("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
