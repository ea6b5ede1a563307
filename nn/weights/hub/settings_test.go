package hub

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Who needs no weights downloads none, and the model is not taken for a complete one: who needs them downloads the rest.
func TestSettings(t *testing.T) {
	s := newServer(t, pipeline())
	c, n := s.client(), parsed(t, testRepo)
	none := weights.Variant{Precision: kernels.F16, None: true}
	dir, err := c.Ensure(t.Context(), n, none)
	if err != nil {
		t.Fatal(err)
	}
	settings := slices.DeleteFunc(wanted(s.files), func(path string) bool { return strings.HasSuffix(path, ".safetensors") })
	complete(t, s, c, dir, settings)
	if got, err := c.FindSettings(n); err != nil || got != dir {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := c.Find(n); !errors.Is(err, ErrNotCached) {
		t.Errorf("a model without weights is there: %v", err)
	}
	s.seen() // so far
	if again, err := c.Ensure(t.Context(), n, none); err != nil || again != dir {
		t.Errorf("%s, %v", again, err)
	}
	if asked := s.seen(); len(asked) > 0 {
		t.Errorf("asked again: %v", asked)
	}
	if dir, err = c.Ensure(t.Context(), n, half); err != nil {
		t.Fatal(err)
	}
	complete(t, s, c, dir, wanted(s.files))
	if got, err := c.Ensure(t.Context(), n, none); err != nil || got != dir {
		t.Errorf("%s, %v", got, err)
	}
}
