package sdxl

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestHiresT2IAdapters: an adapter steers both passes, and one that does not go with the second's size is refused before
// the first.
func TestHiresT2IAdapters(t *testing.T) {
	t.Parallel()
	dir := adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors"))
	m := newModels(t).open("tiny")
	r := small()
	r.Width, r.Height, r.LatentsOnly = 64, 64, true
	r.T2IAdapters = []T2IAdapter{{Path: filepath.Join(dir, "colour"), Image: gradient(64, 64)}}
	r.Hires = &Hires{Width: 96, Height: 96, Steps: 2}
	steered := generated(t, m, r)
	r.Hires = &Hires{Width: 72, Height: 72, Steps: 2}
	steps := 0
	r.OnStep = func(int, *Tensor) error { steps++; return nil }
	_, err := m.Generate(t.Context(), r)
	if bad := (*RequestError)(nil); !errors.As(err, &bad) || bad.Field != "t2i_adapters[0].path" || steps != 0 {
		t.Errorf("after %d steps: %v", steps, err)
	}
	r.T2IAdapters, r.OnStep = nil, nil
	r.Hires = &Hires{Width: 96, Height: 96, Steps: 2}
	if d, err := golden.Distance(generated(t, m, r).Latents.Data, steered.Latents.Data); err != nil || d < 0.01 {
		t.Errorf("moved by %v, %v", d, err)
	}
}
