package sdxl

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/resample"
)

// TestControlResize: an image that steers gets the size in its own way, whatever way the image beside it goes, and its
// preprocessor sees it so.
func TestControlResize(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	dir := adapterFolders(t, golden.Open(t, testdata+"/goldens/t2iadapter.safetensors"))
	hint := opaque(gradient(90, 40))
	latents := func(change func(*Request)) []float32 {
		r := small()
		r.LatentsOnly, r.Controls = true, []Control{{Path: g.folder("full"), Image: hint}}
		change(&r)
		return generated(t, m, r).Latents.Data
	}
	for _, c := range []struct {
		name   string
		change func(r *Request, image bool)
	}{
		{"text-to-image", func(*Request, bool) {}},
		{"preprocessor", func(r *Request, _ bool) { r.Controls[0].Preprocessor = "canny:10:20" }},
		{"another size of the image", func(r *Request, _ bool) { r.Image, r.Resize, r.Strength = gradient(64, 64), ResizeCrop, 1 }},
		{"second pass", func(r *Request, _ bool) { r.Hires = &Hires{Scale: 1, Steps: 2} }},
		{"T2I-Adapter", func(r *Request, resized bool) {
			r.Width, r.Height = 64, 64
			r.T2IAdapters, r.Controls = []T2IAdapter{{Path: filepath.Join(dir, "colour"), Image: hint, Resize: ResizeFill}}, nil
			if resized {
				r.T2IAdapters[0] = T2IAdapter{Path: filepath.Join(dir, "colour"), Image: resample.Fill(hint, 64, 64)}
			}
		}},
	} {
		got := latents(func(r *Request) { r.Controls[0].Resize = ResizeFill; c.change(r, false) })
		want := latents(func(r *Request) { r.Controls[0].Image = resample.Fill(hint, 48, 40); c.change(r, true) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: the control image is not resized its own way", c.name)
		}
	}
	if slices.Equal(latents(func(*Request) {}), latents(func(r *Request) { r.Controls[0].Resize = ResizeCrop })) {
		t.Error("the way changes nothing")
	}
	r := small()
	r.Controls = []Control{{Path: g.folder("full"), Image: hint, Resize: "squeeze"}}
	var bad *RequestError
	if _, err := m.Generate(t.Context(), r); !errors.As(err, &bad) || bad.Field != controlsField {
		t.Errorf("squeeze: %v", err)
	}
}
