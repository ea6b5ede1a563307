package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/sdxl"
)

// hashed is the image of tools/reference/resample.py.
func hashed(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height * 3 {
		img.Pix[i/3*4+i%3] = uint8(uint64(i) * 2654435761 >> 13)
	}
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 255
	}
	return img
}

// The hashes are those of A1111's resize_image with Pillow 13.0.0, by tools/reference/resample.py.
func TestSDResize(t *testing.T) {
	want := map[int][]string{
		sdStretch: {"e9f9c97c57069213", "472a296e8c9b5b40", "4edee15187b0d2f5", "7f418af3c9edd6a7", "37684f5796d390a1", "aa2d57c41c521591"},
		sdCrop:    {"0346112b9b2307d1", "5caf69f9bf144f59", "ea81f50c03814a4a", "d1905e8ee96f0d9d", "37684f5796d390a1", "aa2d57c41c521591"},
		sdFill:    {"5cdc1938dff47b4e", "d2450e50e57fee33", "8d17f9cffd98f36d", "9fd42b807a8b402f", "37684f5796d390a1", "aa2d57c41c521591"},
	}
	for mode, hashes := range want {
		for i, size := range []image.Point{{64, 64}, {64, 32}, {96, 24}, {24, 96}, {37, 23}, {74, 46}} {
			out := sdResize(mode, hashed(37, 23), size.X, size.Y)
			h := sha256.New()
			for i := 0; i < len(out.Pix); i += 4 {
				h.Write(out.Pix[i : i+3])
			}
			if got := fmt.Sprintf("%x", h.Sum(nil))[:16]; out.Bounds().Size() != size || got != hashes[i] || !out.Opaque() {
				t.Errorf("mode %d, %v: %s, want %s", mode, size, got, hashes[i])
			}
		}
	}
	for _, mode := range []int{sdCrop, sdFill} { // a side of no pixel becomes one
		if out := sdResize(mode, hashed(1, 1000), 8, 8); out.Bounds().Size() != image.Pt(8, 8) {
			t.Errorf("%v", out.Bounds())
		}
	}
}

// The engine gets the image as it is after resize_mode.
func TestSDInitImage(t *testing.T) {
	b := sdBench(t, nil)
	var got image.Image
	b.base.run = func(_ context.Context, r sdxl.Request) error {
		got = r.Image
		return nil
	}
	source := hashed(37, 23)
	encoded, err := imagefile.Encode(source, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(encoded)
	w := b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+text+`"],"steps":2,"width":64,"height":32,"resize_mode":2,"include_init_images":true}`)
	a := decodeSD(t, w)
	if diff := cmp.Diff(sdResize(sdFill, source, 64, 32), got); diff != "" {
		t.Errorf("-want +got:\n%.400s", diff)
	}
	if a.info.Width != 64 || a.info.Height != 32 || a.info.DenoisingStrength == nil || *a.info.DenoisingStrength != 0.75 {
		t.Errorf("%+v", a.info)
	}
	if list, _ := a.Parameters["init_images"].([]any); len(list) != 1 || list[0] != text {
		t.Errorf("init_images: %.100v", a.Parameters["init_images"])
	}
	a = decodeSD(t, b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+text+`"],"steps":2,"width":64,"height":32}`))
	if v, there := a.Parameters["init_images"]; v != nil || !there {
		t.Errorf("init_images: %.100v", v)
	}
}

// Upscalers are Pillow's, and the texts of an image stay with it.
func TestSDExtras(t *testing.T) {
	b := sdBench(t, nil)
	source := hashed(37, 23)
	encoded, err := imagefile.Encode(source, []imagefile.Text{{Key: "parameters", Value: "p\nSteps: 1, Seed: 2, Size: 37x23"}, {Key: "other", Value: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(encoded)
	blended := resample.Lanczos(resample.Lanczos(source, 74, 46), 72, 40)
	for i, v := range resample.Lanczos(resample.Nearest(source, 74, 46), 72, 40).Pix {
		blended.Pix[i] = uint8(float64(blended.Pix[i]) + 0.25*(float64(v)-float64(blended.Pix[i])))
	}
	for _, c := range []struct {
		fields string
		want   *image.NRGBA
		info   string
	}{
		{``, source, ""},
		{`,"upscaler_1":"Lanczos"`, resample.Lanczos(resample.Lanczos(source, 74, 46), 72, 40), "Postprocess upscale by: 2, Postprocess upscaler: Lanczos"},
		{`,"upscaler_1":"Lanczos","upscaler_2":"Nearest","extras_upscaler_2_visibility":0.25`, blended, "Postprocess upscale by: 2, Postprocess upscaler: Lanczos, Postprocess upscaler 2: Nearest"},
		{`,"upscaler_1":"Lanczos","upscaler_2":"Nearest"`, resample.Lanczos(resample.Lanczos(source, 74, 46), 72, 40), "Postprocess upscale by: 2, Postprocess upscaler: Lanczos"},
		{`,"upscaler_2":"Nearest","extras_upscaler_2_visibility":1`, source, ""},
		{`,"upscaler_1":"Nearest","upscaling_resize":4.5`, resample.Lanczos(resample.Nearest(source, 166, 103), 160, 96), "Postprocess upscale by: 4.5, Postprocess upscaler: Nearest"},
		{`,"upscaler_1":"Nearest","upscaling_resize":0.5`, resample.Lanczos(source, 16, 8), "Postprocess upscale by: 0.5, Postprocess upscaler: Nearest"},
		{`,"upscaler_1":"Nearest","upscaling_resize":1.02`, resample.Lanczos(source, 32, 16), "Postprocess upscale by: 1.02, Postprocess upscaler: Nearest"},
		{`,"upscaler_1":"Lanczos","resize_mode":1,"upscaling_resize_w":74,"upscaling_resize_h":23,"upscaling_crop":false`,
			resample.Lanczos(resample.Lanczos(source, 74, 46), 72, 40), "Postprocess upscale to: 74x23, Postprocess upscaler: Lanczos"},
		{`,"upscaler_1":"Lanczos","resize_mode":1,"upscaling_resize_w":64,"upscaling_resize_h":24`, nil,
			"Postprocess upscale to: 64x24, Postprocess upscaler: Lanczos, Postprocess crop to: 64x24"},
	} {
		w := b.do("POST", "/sdapi/v1/extra-single-image", `{"image":"data:image/png;base64,`+text+`"`+c.fields+`}`)
		var answer struct {
			Image string
			Info  string `json:"html_info"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Info != "<p>"+c.info+"</p>" {
			t.Errorf("%s: %d %.300s", c.fields, w.Code, w.Body)
			continue
		}
		data, err := base64.StdEncoding.DecodeString(answer.Image)
		if err != nil {
			t.Fatal(err)
		}
		img, texts, err := imagefile.Decode(data, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == nil {
			if img.Bounds().Size() != image.Pt(64, 24) {
				t.Errorf("%s: %v", c.fields, img.Bounds())
			}
		} else if !bytes.Equal(img.Pix, c.want.Pix) || img.Bounds() != c.want.Bounds() {
			t.Errorf("%s: other pixels, %v", c.fields, img.Bounds())
		}
		want := []imagefile.Text{{Key: "parameters", Value: "p\nSteps: 1, Seed: 2, Size: 37x23"}, {Key: "other", Value: "x"}}
		if c.info != "" {
			want = append(want, imagefile.Text{Key: "postprocessing", Value: c.info})
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.fields, diff)
		}
	}
	w := b.do("POST", "/sdapi/v1/extra-batch-images", `{"upscaler_1":"Nearest","imageList":[{"data":"`+text+`","name":"a"},{"data":"`+text+`","name":"b"}]}`)
	var batch struct {
		Images []string
		Info   string `json:"html_info"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &batch); err != nil || len(batch.Images) != 2 || batch.Images[0] != batch.Images[1] || batch.Info == "" {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
}

// An image says how it was made, in A1111's words.
func TestSDPNGInfo(t *testing.T) {
	b := sdBench(t, nil)
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"a, b","negative_prompt":"n","seed":3,"steps":2,"width":64,"height":72,"sampler_name":"Euler a"}`))
	w := b.do("POST", "/sdapi/v1/png-info", `{"image":"`+a.Images[0]+`"}`)
	var info struct {
		Info       string
		Items      map[string]string
		Parameters map[string]any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if info.Info != a.info.Infotexts[0] || info.Items["prompt"] != "a, b" || info.Items["parameters"] != "" {
		t.Errorf("%+v", info)
	}
	for key, want := range map[string]any{
		"Prompt": "a, b", "Negative prompt": "n", "Steps": "2", "Sampler": "Euler a", "Schedule type": "Automatic", "Seed": "3", "Size-1": "64", "Size-2": "72",
		"Clip skip": "1", "Hires resize-1": 0.0, "RNG": "CPU",
	} {
		if info.Parameters[key] != want {
			t.Errorf("%s: %v, want %v", key, info.Parameters[key], want)
		}
	}
	// It can be made again by its infotext.
	again := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"infotext":`+quote(info.Info)+`}`))
	if again.Images[0] != a.Images[0] || again.info.Infotexts[0] != info.Info {
		t.Errorf("%s, want %s", again.info.Infotexts[0], info.Info)
	}
	var plain bytes.Buffer
	if err := jpeg.Encode(&plain, hashed(8, 8), nil); err != nil {
		t.Fatal(err)
	}
	w = b.do("POST", "/sdapi/v1/png-info", `{"image":"`+base64.StdEncoding.EncodeToString(plain.Bytes())+`"}`)
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil || info.Info != "" || info.Parameters["Prompt"] != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
