package sdxl

import (
	"slices"
	"testing"
)

// TestOnComputed: once the device has done its part it is free for another call, before the watermark is in the image.
func TestOnComputed(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := small()
	r.Width, r.Height, r.Watermark, r.ImagesPerPrompt = 256, 256, true, 2
	want, err := base.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	r.OnComputed = func() {
		calls++
		if _, err := base.Generate(t.Context(), small()); err != nil {
			t.Error(err)
		}
	}
	got, err := base.Generate(t.Context(), r)
	if err != nil || calls != 1 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	for i := range want.Images {
		if !slices.Equal(got.Images[i].Pix, want.Images[i].Pix) {
			t.Errorf("image %d is another one", i)
		}
	}
	if _, err := Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{Model: refiner}); err != nil || calls != 2 {
		t.Errorf("an ensemble: %d calls in all, %v", calls, err)
	}
	r.LatentsOnly = true
	if _, err := base.Generate(t.Context(), r); err != nil || calls != 2 {
		t.Errorf("latents alone: %d calls in all, %v", calls, err)
	}
}
