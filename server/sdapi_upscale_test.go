package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
)

// sdExtraImages decodes the images of an answer, with what was done and the texts of the first.
func sdExtraImages(t *testing.T, w *httptest.ResponseRecorder) (images []*image.NRGBA, info string, texts map[string]string) {
	t.Helper()
	var answer struct {
		Image  string
		Images []string
		Info   string `json:"html_info"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("%d %.400s", w.Code, w.Body)
	}
	if answer.Image != "" {
		answer.Images = append(answer.Images, answer.Image)
	}
	texts = map[string]string{}
	for i, text := range answer.Images {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		img, all, err := imagefile.Decode(data, sdxl.MaxSide)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
		for _, text := range all {
			if i == 0 {
				texts[text.Key] = text.Value
			}
		}
	}
	return images, strings.TrimSuffix(strings.TrimPrefix(answer.Info, "<p>"), "</p>"), texts
}

// A1111's upscalers have the models of the folder that can be used, by which its clients enlarge as the library does, and
// nothing of that is left behind.
func TestSDUpscale(t *testing.T) {
	b := upscaleBench(t, nil)
	var list []sdUpscaler
	if err := json.Unmarshal(b.do("GET", "/sdapi/v1/upscalers", "").Body.Bytes(), &list); err != nil || len(list) != 5 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, want := range []sdUpscaler{
		{Name: "more/x4", ModelName: new("SRVGGNetCompact"), ModelPath: new("more/x4.pth"), Scale: 4}, {Name: "x3", ModelName: new("SRVGGNetCompact"), ModelPath: new("x3.pth"), Scale: 3},
	} {
		if got := list[3+i]; got.Name != want.Name || got.Scale != want.Scale || *got.ModelName != *want.ModelName || *got.ModelPath != *want.ModelPath {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	const made = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 5"
	img, data := patternedPNG(t, 40, 30, made)
	exact := func(upscaler string, width, height int) *image.NRGBA {
		return b.upscaledBy(t, sdxl.Upscaling{Upscaler: upscaler, Width: width, Height: height, Resize: sdxl.ResizeStretch}, img).Images[0]
	}
	blended := exact("x3.pth", 96, 72)
	resample.Blend(blended, exact("more/x4.pth", 96, 72), 0.75)
	for fields, c := range map[string]struct {
		want *image.NRGBA
		info string
	}{
		`"upscaler_1":"x3"`: {exact("x3.pth", 80, 56), "Postprocess upscale by: 2, Postprocess upscaler: x3"},
		`"upscaler_1":"more/x4","upscaling_resize":"6.5"`: {exact("more/x4.pth", 256, 192), "Postprocess upscale by: 6.5, Postprocess upscaler: more/x4"},
		`"upscaler_1":"x3","upscaler_2":"more/x4","extras_upscaler_2_visibility":0.75,"upscaling_resize":2.4`: {blended,
			"Postprocess upscale by: 2.4, Postprocess upscaler: x3, Postprocess upscaler 2: more/x4"},
		`"upscaler_1":"x3","resize_mode":1,"upscaling_resize_w":64,"upscaling_resize_h":64`: {
			resample.Crop(exact("x3.pth", 80, 64), 64, 64), "Postprocess upscale to: 64x64, Postprocess upscaler: x3, Postprocess crop to: 64x64"},
		`"upscaler_1":"Lanczos","upscaler_2":"x3"`: {resample.Lanczos(resample.Lanczos(img, 80, 60), 80, 56), "Postprocess upscale by: 2, Postprocess upscaler: Lanczos"},
	} {
		images, info, texts := sdExtraImages(t, b.do("POST", "/sdapi/v1/extra-single-image", `{"image":"`+inBase64(data)+`",`+fields+`}`))
		if info != c.info || len(images) != 1 || images[0].Rect != c.want.Rect || !slices.Equal(images[0].Pix, c.want.Pix) {
			t.Errorf("%s: %q, or other pixels of %v, want %q of %v", fields, info, images[0].Rect, c.info, c.want.Rect)
		}
		if len(texts) != 2 || texts["parameters"] != made || texts["postprocessing"] != c.info {
			t.Errorf("%s: texts %q", fields, texts)
		}
	}
	other, second := patternedPNG(t, 24, 40, "")
	item := func(data []byte) string { return `{"data":"` + inBase64(data) + `","name":"a.png"}` }
	images, _, _ := sdExtraImages(t, b.do("POST", "/sdapi/v1/extra-batch-images", `{"upscaler_1":"x3","imageList":[`+item(data)+`,`+item(second)+`,`+item(data)+`]}`))
	first := exact("x3.pth", 80, 56)
	img = other
	wants := []*image.NRGBA{first, exact("x3.pth", 48, 80), first}
	if len(images) != 3 {
		t.Fatalf("%d images of three", len(images))
	}
	for i, want := range wants {
		if !slices.Equal(images[i].Pix, want.Pix) {
			t.Errorf("image %d of a batch is another one", i)
		}
	}
	if n := b.imageCount(t); n != 0 {
		t.Errorf("%d images are left", n)
	}
	if page := b.do("GET", "/v1/jobs", "").Body.String(); strings.Contains(page, `"id"`) {
		t.Errorf("jobs are left: %s", page)
	}
}

// What can't be enlarged is an error of A1111's field.
func TestSDUpscaleErrors(t *testing.T) {
	b := upscaleBench(t, func(c *Config) { c.MaxPixels = 64 * 64 })
	_, data := patternedPNG(t, 40, 30, "")
	for fields, says := range map[string]string{
		`"upscaler_1":"x9"`:                        `Upscaler not found: upscaler_1 is \"x9\": must be one of None, Lanczos, Nearest, damaged, more/x4, x3`,
		`"upscaler_1":"x3","upscaler_2":"../x3"`:   `Upscaler not found: upscaler_2`,
		`"upscaler_1":"damaged"`:                   `"loc":["body","upscaler_1"],"msg":"Value error, must be one of lanczos, nearest, or an ESRGAN file: damaged.pth: `,
		`"upscaler_1":"x3","upscaling_resize":400`: `"loc":["body","image"],"msg":"Value error, the result has 16000×12000 pixels`,
		`"upscaler_1":"x3","upscaling_resize":9`:   `"loc":["body","upscaling_resize"],"msg":"Value error, the result of 360×264 is 95040 pixels: must be at most 65536"`,
		`"upscaler_1":"x3","resize_mode":1,"upscaling_resize_w":400,"upscaling_resize_h":264,"image":"aGVsbG8="`: `"loc":["body","image"],"msg":"Value error, must be an image: `,
		`"upscaler_1":"x3","resize_mode":1,"upscaling_resize_w":400`:                                             `"loc":["body","upscaling_resize_w"]`,
	} {
		w := b.do("POST", "/sdapi/v1/extra-single-image", `{"image":"`+inBase64(data)+`",`+fields+`}`)
		if w.Code != 422 && w.Code != 400 || !strings.Contains(w.Body.String(), says) || strings.Contains(w.Body.String(), b.config.UpscalerDir) || w.Body.Len() > 2000 {
			t.Errorf("%s: %d %.500s, want %s", fields, w.Code, w.Body, says)
		}
	}
	if n := b.imageCount(t); n != 0 {
		t.Errorf("%d images are left", n)
	}
}

// The job of a client that hangs up ends with it, and /progress hears of the one that is enlarged.
func TestSDUpscaleHangsUp(t *testing.T) {
	b := upscaleBench(t, nil)
	slow := esrgan.Config{Kind: esrgan.RRDB, Features: 64, Growth: 32, Blocks: 12, Doublings: 2, Unshuffle: 1}
	if err := esrgan.Synthesise(slow, kernels.F32, filepath.Join(b.config.UpscalerDir, "slow.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, data := patternedPNG(t, 256, 256, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	answered := b.start(ctx, "/sdapi/v1/extra-single-image", `{"upscaler_1":"slow","image":"`+inBase64(data)+`"}`)
	for !strings.Contains(b.do("GET", "/sdapi/v1/progress", "").Body.String(), `"job":"extras"`) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-answered
	for b.imageCount(t) > 0 { // the file that the result was to have goes once the computation has ended
		if time.Since(began) > 15*time.Second {
			t.Fatalf("%d images are left", b.imageCount(t))
		}
		time.Sleep(time.Millisecond)
	}
}
