package weights

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestStorage: a file's tensors lie in its pages, those of a file in memory stay there, and what can't be used where it
// lies is copied. Renaming changes nothing.
func TestStorage(t *testing.T) {
	header := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"ids":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}`
	padded := func(odd int) []byte { // the data begins at a multiple of 8, or not
		return raw(header+strings.Repeat(" ", (8-len(header)%8)%8+odd), 16)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		what string
		odd  int
		open func(name string, data []byte) (kernels.Source, error)
		want kernels.Storage
	}{
		{"in a mapped file", 0, func(name string, data []byte) (kernels.Source, error) { return OpenComponent(name) }, kernels.Mapped},
		{"at an odd address of a mapped file", 1, func(name string, data []byte) (kernels.Source, error) { return Open(name) }, kernels.Made},
		{"in memory", 0, func(name string, data []byte) (kernels.Source, error) { return Parse(name, data) }, kernels.Kept},
		{"made", 0, func(string, []byte) (kernels.Source, error) {
			return Synthetic("unet", map[string][]int{"a": {2}}, kernels.F32), nil
		}, kernels.Made},
	} {
		if c.want == kernels.Mapped && !mapping {
			c.want = kernels.Kept
		}
		name := filepath.Join(dir, c.what+".safetensors")
		data := padded(c.odd)
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		src, err := c.open(name, data)
		if err != nil {
			t.Fatal(err)
		}
		other := Rename(src, func(s string) string { return "x." + s })
		for what, got := range map[string]kernels.Storage{"itself": src.Storage("a"), "renamed": other.Storage("x.a")} {
			if got != c.want {
				t.Errorf("%s, %s: %d, want %d", c.what, what, got, c.want)
			}
		}
		for what, got := range map[string]kernels.Storage{
			"an unknown tensor": src.Storage("none"), "the old name": other.Storage("a"), "a type that no model takes": src.Storage("ids"),
		} {
			if got != kernels.Made {
				t.Errorf("%s, %s: %d, want %d", c.what, what, got, kernels.Made)
			}
		}
		if closer, ok := src.(interface{ Close() error }); ok {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
			if got := src.Storage("a"); got != kernels.Made {
				t.Errorf("%s, closed: %d", c.what, got)
			}
		}
	}
}
