package server

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// An animation is computed from by its first frame, which the job says with the field that has it.
func TestAnimatedImage(t *testing.T) {
	b := loadedBench(t, nil)
	data, err := os.ReadFile("../internal/imagefile/testdata/animated_part.webp")
	if err != nil {
		t.Fatal(err)
	}
	var v imageView
	if w := b.upload("image/webp", data); json.Unmarshal(w.Body.Bytes(), &v) != nil || w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := b.finished(t, b.postJob(t, `{"prompt":"a","image":"`+v.ID+`"}`).ID)
	if got.State != "done" || !slices.Contains(got.Warnings, "image is an animation, of which the first frame is used") {
		t.Errorf("%+v", got)
	}
}
