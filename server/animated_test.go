package server

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
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

// A1111's API, which has images encoded anew before a job gets them, says it too, by its own fields.
func TestSDAnimatedImage(t *testing.T) {
	b := unitBench(t)
	data, err := os.ReadFile("../internal/imagefile/testdata/animated_part.webp")
	if err != nil {
		t.Fatal(err)
	}
	moving, still := inBase64(data), inBase64(colouredPNG(t, 64, 64, 9))
	const says = " is an animation, of which the first frame is used"
	for body, want := range map[string][]string{
		`{"init_images":["` + moving + `"]}`:                                      {"init_images[0]" + says},
		`{"init_images":["` + still + `"],"mask":"` + moving + `"}`:               {"mask" + says},
		`{"init_images":["` + moving + `"],"mask":"` + leftWhite(t, 8, 8) + `"}`:  {"image" + says},
		strings.TrimSpace(units(still, `{"model":"canny","image":"`+moving+`"}`)): {"alwayson_scripts.ControlNet.args[0].image" + says},
		`{"init_images":["` + still + `"]}`:                                       {},
	} {
		if a := decodeSD(t, b.do("POST", "/sdapi/v1/img2img", body)); !slices.Equal(a.info.Warnings, want) {
			t.Errorf("%.60s: warnings %q, want %q", body, a.info.Warnings, want)
		}
	}
	w := b.do("POST", "/sdapi/v1/extra-batch-images", `{"imageList":[{"data":"`+still+`"},{"data":"`+moving+`"}],"upscaler_1":"Lanczos","upscaling_resize":1}`)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Lanczos, image 2"+says) {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
}
