package server

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Every task and form of output reaches the engine, and what a job asks for in vain is answered before it is one.
func TestJobRequests(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.MaxBatch = 3 })
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	b.refiner.take = b.base.take
	b.base.give = func(j engine.Job, img *image.NRGBA) (*sdxl.Result, error) {
		images := slices.Repeat([]*image.NRGBA{img}, j.Parameters.Images)
		return &sdxl.Result{Images: images, Parameters: j.Parameters}, nil
	}
	b.refiner.give = b.base.give
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 64, 96))); err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(file.Bytes())
	made := b.finished(t, b.postJob(t, plain).ID).Images[0].ID
	for body, want := range map[string]struct {
		model  engine.Model
		task   sdxl.Task
		images int
		width  int
	}{
		`{"prompt":"a","n":3}`: {engine.Base, sdxl.TextToImage, 3, 64},
		`{"prompt":"a","num_images_per_prompt":"2","output_format":"jpeg"}`:          {engine.Base, sdxl.TextToImage, 2, 64},
		`{"prompt":"a","refiner":true}`:                                              {engine.Ensemble, sdxl.TextToImage, 1, 64},
		`{"prompt":"a","task":"ensemble","denoising_end":0.5}`:                       {engine.Ensemble, sdxl.TextToImage, 1, 64},
		`{"prompt":"a","image":"` + made + `"}`:                                      {engine.Refiner, sdxl.ImageToImage, 1, 64},
		`{"prompt":"a","task":"ensemble","image":"` + made + `","strength":1}`:       {engine.Ensemble, sdxl.ImageToImage, 1, 64},
		`{"prompt":"a","image":"` + made + `","mask":"` + made + `"}`:                {engine.Base, sdxl.Inpaint, 1, 64},
		`{"prompt":"a","image":"` + made + `","mask":"` + made + `","refiner":true}`: {engine.Refiner, sdxl.Inpaint, 1, 64},
		`{"prompt":"a","task":"image-to-image","image":"` + made + `","mask":"x"}`:   {engine.Refiner, sdxl.ImageToImage, 1, 64},
		`{"prompt":"a","id":"` + made + `","task":"image-to-image"}`:                 {engine.Refiner, sdxl.ImageToImage, 1, 64},
		`{"prompt":"a","image":"` + encoded + `","refiner":false,"n":2}`:             {engine.Base, sdxl.ImageToImage, 2, 64},
		`{"prompt":"a","image":"data:image/png;base64,` + encoded + `"}`:             {engine.Refiner, sdxl.ImageToImage, 1, 64},
		`{"prompt":"a","output_format":"jpeg","output_quality":5,"width":96}`:        {engine.Base, sdxl.TextToImage, 1, 96},
	} {
		v := b.finished(t, b.postJob(t, body).ID)
		if v.State != job.Done || len(v.Images) != want.images || got.Model != want.model || v.Task != string(want.task) || v.Images[0].Width != want.width {
			t.Errorf("%.70s: %+v by %s", body, v, got.Model)
			continue
		}
		for _, img := range v.Images {
			w := b.do("GET", img.URL, "")
			if strings.Contains(body, "jpeg") {
				texts, err := imagefile.Texts(w.Body.Bytes())
				if err != nil || len(texts) != 1 || !strings.HasPrefix(texts[0].Value, "a\n") {
					t.Errorf("%s: %v, %v", body, texts, err)
				}
				if _, err := jpeg.Decode(w.Body); err != nil || w.Header().Get("Content-Type") != "image/jpeg" || !strings.HasSuffix(w.Header().Get("Content-Disposition"), `.jpg"`) {
					t.Errorf("%s: %v %v", body, err, w.Header())
				}
			} else if _, err := png.Decode(w.Body); err != nil {
				t.Errorf("%s: %v", body, err)
			}
		}
		if img := got.Request.Image; strings.Contains(body, encoded) && (img == nil || img.Bounds().Dy() != 96 && want.task == sdxl.ImageToImage) {
			t.Errorf("%.70s: the engine got %v", body, img)
		}
	}
	for body, want := range map[string]string{
		`{"prompt":"a","task":"text-to-image","mask":"x","strength":0.5,"n":1,"num_images_per_prompt":1}`: "fields without an effect here: mask, strength",
		`{"prompt":"a","num_images_per_prompt":2,"refiner":null,"colour":null}`:                           "",
		`{"prompt":"a","task":"text-to-image","image":"x"}`:                                               "fields without an effect here: image",
	} {
		v := b.postJob(t, body)
		if strings.Join(v.Warnings, "; ") != want {
			t.Errorf("%s: %q, want %q", body, v.Warnings, want)
		}
		b.finished(t, v.ID)
	}
	if v := b.postJob(t, `{"prompt":"a","output_quality":50}`); len(v.Warnings) != 1 || v.Warnings[0] != "output_quality: PNG has none" {
		t.Errorf("%v", v.Warnings)
	} else {
		b.finished(t, v.ID)
	}
	before, calls := b.imageCount(t), b.base.calls.Load()
	for body, says := range map[string]string{
		`{"n":1}`:                                               `"loc":["body","prompt"]`,
		`{"prompt":"a","n":4}`:                                  `"loc":["body","n"],"msg":"Input should be less than or equal to 3"`,
		`{"prompt":"a","priority":101}`:                         `"loc":["body","priority"],"msg":"Input should be less than or equal to 100"`,
		`{"prompt":"a","task":"paint"}`:                         `'text-to-image', 'image-to-image', 'inpaint', 'ensemble' or 'upscale'`,
		`{"prompt":"a","model":"nope"}`:                         `"loc":["body","model"],"msg":"Input should be '`,
		`{"prompt":"a","output_format":"gif"}`:                  `'png', 'jpeg' or 'webp'`,
		`{"prompt":"a","output_quality":0}`:                     `"loc":["body","output_quality"]`,
		`{"prompt":"a","preview_every":-1}`:                     `"loc":["body","preview_every"]`,
		`{"prompt":"a","task":"image-to-image"}`:                `"type":"missing","loc":["body","image"]`,
		`{"prompt":"a","image":"!!"}`:                           `"loc":["body","image"],"msg":"Value error, must be the id of an image, or an image in base64`,
		`{"prompt":"a","image":"aGVsbG8="}`:                     `"loc":["body","image"]`,
		`{"prompt":"a","image":"data:,x"}`:                      `the data URL has no ;base64,`,
		`{"prompt":"a","image":"` + encoded + `","strength":7}`: `"loc":["body","strength"]`,
	} {
		if w := b.do("POST", "/v1/jobs", body); w.Code != 422 || !strings.Contains(w.Body.String(), says) || len(w.Body.String()) > 2000 {
			t.Errorf("%.70s: %d %.500s, want %s", body, w.Code, w.Body, says)
		}
	}
	if w := b.do("POST", "/v1/jobs", `{"prompt":"a","image":"11111111-1111-4111-8111-111111111111"}`); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := b.imageCount(t); n != before || b.base.calls.Load() != calls {
		t.Errorf("%d files, want %d; %d computations", n, before, b.base.calls.Load()-calls)
	}
}
