package sdxl

import "testing"

// TestInpaintPartIsAll has a part around the mask that is the whole image, computed at another size than the image's:
// the result has the image's size, and what the mask leaves out is the image's own.
func TestInpaintPartIsAll(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	source, mask := opaque(gradient(90, 75)), opaque(leftHalf(90, 75))
	for _, keep := range []bool{true, false} {
		r := inpainted(func(r *Request) {
			r.Image, r.Mask, r.Width, r.Height, r.MaskPadding, r.KeepUnmasked = source, mask, 48, 40, new(75), &keep
		})
		got := generated(t, m, r).Images[0]
		if got.Rect != source.Rect {
			t.Fatalf("the result has %v, want the image's %v", got.Rect, source.Rect)
		}
		if keep {
			outside(t, "the part is all", got, source, mask)
		}
	}
}
