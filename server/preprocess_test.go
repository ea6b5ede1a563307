package server

import (
	"image"
	"image/color"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// The control image is the one that a ControlNet gets, of an image that is here or in the body, and is not kept.
func TestPreprocess(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.MaxPixels = 128 * 128 })
	data := photo(t, 96, 64)
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		t.Fatal(err)
	}
	kept := decodeUpload(t, b.upload("image/png", data))
	before := b.imageCount(t)
	for _, c := range []struct {
		fields, preprocessor string
		size                 sdxl.Size
	}{
		{`"preprocessor":"canny"`, "canny", sdxl.Size{Height: 64, Width: 96}},
		{`"preprocessor":"canny:20:60","width":"48","height":80`, "canny:20:60", sdxl.Size{Height: 80, Width: 48}},
		{`"preprocessor":"tile_resample:2","width":64`, "tile_resample:2", sdxl.Size{Height: 64, Width: 64}},
		{`"preprocessor":"none","height":32`, "", sdxl.Size{Height: 32, Width: 96}},
		{`"preprocessor":null`, "", sdxl.Size{Height: 64, Width: 96}},
	} {
		want, err := sdxl.ControlImage(img, c.preprocessor, c.size)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range []string{kept, inBase64(data)} {
			w := b.do("POST", "/v1/preprocess", `{"image":"`+of+`",`+c.fields+`}`)
			if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" {
				t.Errorf("%s: %d %s", c.fields, w.Code, w.Body)
				continue
			}
			got, _, err := imagefile.Decode(w.Body.Bytes(), sdxl.MaxSide)
			if err != nil || got.Rect != want.Rect || !slices.Equal(got.Pix, want.Pix) {
				t.Errorf("%s: %v, or another image than %v", c.fields, err, want.Rect)
			}
		}
	}
	for body, says := range map[string]string{
		`{}`: `"type":"missing","loc":["body","image"]`,
		`{"image":"` + kept + `","preprocessor":"depth"}`:  `"loc":["body","preprocessor"],"msg":"Value error, must be one of canny`,
		`{"image":"` + kept + `","width":0}`:               `"loc":["body","width"],"msg":"Input should be greater than or equal to 1"`,
		`{"image":"` + kept + `","width":2048,"height":9}`: `"loc":["body","width"],"msg":"Value error, 2048×9 is 18432 pixels: must be at most 16384`,
		`{"image":"!"}`: `"loc":["body","image"]`,
		`{"image":"` + inBase64(photo(t, 200, 100)) + `"}`:          `"loc":["body","image"],"msg":"Value error, 200×100 is 20000 pixels`,
		`{"image":"` + kept + `","preprocessor":"canny:1:2:3:4:5"}`: `"loc":["body","preprocessor"]`,
	} {
		if w := b.do("POST", "/v1/preprocess", body); w.Code != 422 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%.80s: %d %.400s, want %s", body, w.Code, w.Body, says)
		}
	}
	if w := b.do("POST", "/v1/preprocess", `{"image":"11111111-1111-4111-8111-111111111111"}`); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := b.imageCount(t); n != before {
		t.Errorf("%d files, want %d", n, before)
	}
}

// photo is an image with edges.
func photo(t *testing.T, width, height int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.NRGBA{uint8(3 * x), uint8(5 * y), 60, 255}
			if (x/17+y/13)%2 == 0 {
				c = color.NRGBA{uint8(200 - x), 220, uint8(2 * y), 255}
			}
			img.SetNRGBA(x, y, c)
		}
	}
	data, err := imagefile.Encode(img, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
