package server

import (
	"cmp"
	"encoding/base64"
	"image"
	"image/color"
	"net/http/httptest"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// seeThrough is a PNG whose left half is transparent, and a strip in the middle half so.
func seeThrough(t *testing.T, width, height int) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(painted(t, width, height, func(x, _ int) color.NRGBA {
		switch {
		case x < width/2:
			return color.NRGBA{255, 255, 255, 0}
		case x < width/2+4:
			return color.NRGBA{0, 0, 0, 100}
		}
		return color.NRGBA{255, 255, 255, 255}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every way to send a mask comes to the same: its transparent pixels are repainted, on the base, and the rest stays.
func TestOpenAIMask(t *testing.T) {
	b := loadedBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	data, mask := tinyPNG(t), seeThrough(t, 96, 64)
	file := part{"image", "a.png", string(data)}
	kept := decodeUpload(t, b.upload("image/png", mask))
	encoded, image64 := base64.StdEncoding.EncodeToString(mask), base64.StdEncoding.EncodeToString(data)
	prompt := part{"prompt", "", "a"}
	body := func(mask string) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder {
			return b.do("POST", "/v1/images/edits", `{"prompt":"a","image":"`+image64+`","mask":`+mask+`}`)
		}
	}
	small := seeThrough(t, 48, 32)
	for name, c := range map[string]struct {
		send   func() *httptest.ResponseRecorder
		change func(r *sdxl.Request)
		width  int
	}{
		"file": {send: func() *httptest.ResponseRecorder {
			return b.postForm(t, nil, file, prompt, part{"mask", "m.png", string(mask)})
		}},
		"form id":  {send: func() *httptest.ResponseRecorder { return b.postForm(t, nil, file, prompt, part{"mask", "", kept}) }},
		"data URL": {send: body(`{"image_url":"data:image/png;base64,` + encoded + `"}`)},
		"own URL":  {send: body(`{"image_url":"http://example.com/download/` + kept + `"}`)},
		"file id":  {send: body(`{"file_id":"` + kept + `"}`)},
		"text":     {send: body(`"` + encoded + `"`)},
		"fields": {send: func() *httptest.ResponseRecorder {
			return b.postForm(t, nil, file, prompt, part{"mask", "m.png", string(mask)}, part{"mask_blur", "", "3"}, part{"inpaint_fill", "", "noise"}, part{"strength", "", "0.5"}, part{"mask_padding", "", "8"})
		}, change: func(r *sdxl.Request) {
			r.MaskBlur, r.InpaintFill, r.Strength, r.MaskPadding = 3, sdxl.FillNoise, 0.5, new(8)
		}},
		"another size": {send: func() *httptest.ResponseRecorder {
			return b.postForm(t, nil, file, prompt, part{"mask", "m.png", string(small)})
		}, width: 48},
	} {
		files := b.imageCount(t)
		a := generated(t, c.send())
		r, p := got.Request, got.Parameters
		want := sdxl.Request{}
		if c.change != nil {
			c.change(&want)
		}
		width := cmp.Or(c.width, 96)
		if r.Mask == nil || r.Mask.Bounds() != image.Rect(0, 0, width, width*2/3) || p.Task != sdxl.Inpaint || got.Model != engine.Base {
			t.Fatalf("%s: %v on %s, %+v", name, r.Mask, got.Model, p)
		}
		for x, value := range map[int]uint8{0: 255, width/2 - 1: 255, width/2 + 1: 155, width/2 + 5: 0, width - 1: 0} {
			if v := color.GrayModel.Convert(r.Mask.At(x, 7)).(color.Gray).Y; v != value {
				t.Errorf("%s: the mask's pixel %d is %d, want %d", name, x, v, value)
			}
		}
		if r.MaskBlur != want.MaskBlur || r.InpaintFill != want.InpaintFill || r.Strength != want.Strength || or(r.MaskPadding, -1) != or(want.MaskPadding, -1) {
			t.Errorf("%s: %+v, want %+v", name, r, want)
		}
		if a.Size != "96x64" || len(a.Data) != 1 || b.imageCount(t) <= files {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
