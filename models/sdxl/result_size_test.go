package sdxl

import (
	"image"
	"testing"
)

// The size of a result is known before it is computed, of whatever a request asks for.
func TestResultSize(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for name, change := range map[string]func(*Request){
		"text": func(r *Request) { r.Image, r.Mask, r.MaskInvert = nil, nil, false },
		"second": func(r *Request) {
			r.Image, r.Mask, r.MaskInvert, r.Hires = nil, nil, false, &Hires{Scale: 1.5, Steps: 1}
		},
		"image":  func(r *Request) { r.Mask, r.MaskInvert = nil, false },
		"mask":   func(*Request) {},
		"border": func(r *Request) { r.Mask, r.Outpaint = nil, Border{Left: 16, Bottom: 8} },
		"part":   func(r *Request) { r.Image, r.Mask, r.MaskPadding = gradient(90, 51), leftHalf(90, 51), new(0) },
		"larger": func(r *Request) { r.Image, r.MaskPadding, r.Width, r.Height = gradient(90, 51), new(4), 64, 64 },
		"all":    func(r *Request) { r.MaskPadding, r.Outpaint = new(4), Border{Top: 8, Right: 24} },
		"no steps": func(r *Request) {
			r.Mask, r.MaskInvert, r.MaskPadding = image.NewGray(image.Rect(0, 0, 48, 40)), false, new(4)
		},
	} {
		r := inpainted(change)
		r.Steps, r.Strength = 2, 0
		if r.Image != nil {
			r.Strength = 0.7
		}
		p, err := m.Spec().Resolve(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var size Size
		if r.Image != nil {
			size = Size{r.Image.Bounds().Dy(), r.Image.Bounds().Dx()}
		}
		got := generated(t, m, r).Images[0].Rect.Size()
		if want := p.ResultSize(size); got.X != want.Width || got.Y != want.Height {
			t.Errorf("%s: %v, want %+v", name, got, want)
		}
	}
}
