package worker

import (
	"bytes"
	"context"
	"image"
	"image/draw"
	"image/jpeg"
	"testing"
	"testing/synctest"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// A preview is a JPEG as large as it came, or of 512 pixels at its longer side.
func TestPreviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := []image.Point{{128, 96}, {512, 512}, {1024, 768}, {640, 1280}, {4096, 1}}
		want := []image.Point{{128, 96}, {512, 512}, {512, 384}, {256, 512}, {512, 1}}
		begin := make(chan struct{})
		r := newRig(t, 1, func(_ int, _ context.Context, q sdxl.Request) error {
			<-begin
			for step, size := range sizes {
				img := image.NewNRGBA(image.Rectangle{Max: size})
				draw.Draw(img, img.Rect, image.NewUniform(image.White), image.Point{}, draw.Src)
				q.Preview.Func(step+1, []*image.NRGBA{img})
				synctest.Wait() // the last one of an image takes the place of those that nobody took
			}
			return nil
		})
		id := r.submitTask(t, func(task *Task) { task.PreviewEvery = 1 })
		events, err := r.queue.Watch(t.Context(), id, 0)
		if err != nil {
			t.Fatal(err)
		}
		close(begin)
		seen := 0
		for e := range events {
			if e.Kind != job.KindPreview {
				continue
			}
			img, err := jpeg.Decode(bytes.NewReader(e.Preview))
			if err != nil || e.Step != seen+1 || e.PreviewType != "image/jpeg" {
				t.Fatalf("%v, %s of step %d after %d previews", err, e.PreviewType, e.Step, seen)
			}
			if got := img.Bounds().Size(); got != want[seen] {
				t.Errorf("a preview of %v is sent as one of %v, want %v", sizes[seen], got, want[seen])
			}
			if r, g, b, _ := img.At(0, 0).RGBA(); min(r, g, b) < 0xf800 {
				t.Errorf("a white preview of %v begins with %x %x %x", sizes[seen], r, g, b)
			}
			seen++
		}
		if seen != len(sizes) {
			t.Errorf("%d previews, want %d", seen, len(sizes))
		}
	})
}
