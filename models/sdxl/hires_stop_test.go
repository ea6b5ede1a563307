package sdxl

import (
	"image"
	"slices"
	"testing"
)

// TestHiresPreviewsAndStop: previews are of both passes and change nothing, and Stop and ErrInterrupt end either pass after
// each of its steps, the first one's last too.
func TestHiresPreviewsAndStop(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := small()
	r.Steps, r.Hires = 3, &Hires{Steps: 3}
	want := generated(t, m, r).Images[0]
	type shown struct{ step, width int }
	var previews []shown
	previewed := r
	previewed.Preview = &Preview{Every: 2, Func: func(step int, images []*image.NRGBA) {
		previews = append(previews, shown{step, images[0].Rect.Dx()})
	}}
	if got := generated(t, m, previewed).Images[0]; !slices.Equal(got.Pix, want.Pix) {
		t.Error("previews change the image")
	}
	if !slices.Equal(previews, []shown{{2, 6}, {4, 12}, {6, 12}}) {
		t.Errorf("previews %v", previews)
	}
	for at := 1; at <= 6; at++ {
		for _, by := range []string{"Stop", "OnStep"} {
			r := r
			stop := make(chan struct{})
			if by == "Stop" {
				r.Stop = stop
			}
			r.Progress = func(p Progress) {
				if p.Step == at {
					close(stop)
				}
			}
			r.OnStep = func(step int, _ *Tensor) error {
				if by == "OnStep" && step == at {
					return ErrInterrupt
				}
				return nil
			}
			got := generated(t, m, r)
			width, p := 96, got.Parameters.Interrupted
			if at <= 3 {
				width = 48
			}
			if done := at == 6; got.Images[0].Rect.Dx() != width || got.Steps != at || done != (p == nil) || p != nil && *p != (Interruption{at, 6}) {
				t.Errorf("%s at step %d: %d pixels wide after %d steps, interrupted %+v", by, at, got.Images[0].Rect.Dx(), got.Steps, p)
			}
		}
	}
}
