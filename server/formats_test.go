package server

import (
	"bytes"
	"context"
	"image"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// A job's images are of the format and quality that it asks for, say how they were made, and are there to begin with.
func TestOutputFormats(t *testing.T) {
	b := loadedBench(t, nil)
	b.base.give = func(j engine.Job, img *image.NRGBA) (*sdxl.Result, error) {
		for i := 0; i < len(img.Pix); i += 4 { // what a quality is seen by
			img.Pix[i] = byte(i * i / 7)
		}
		return &sdxl.Result{Images: []*image.NRGBA{img}, Parameters: j.Parameters}, nil
	}
	var started sdxl.Request
	b.refiner.run = func(_ context.Context, r sdxl.Request) error {
		started = r
		return nil
	}
	for _, c := range []struct{ name, format, media, ending, key string }{
		{"png", "PNG", "image/png", ".png", "parameters"},
		{"jpeg", "JPEG", "image/jpeg", ".jpg", "UserComment"},
		{"webp", "WebP", "image/webp", ".webp", "UserComment"},
	} {
		last := 0
		for _, quality := range []string{"10", "90", "null", "100"} {
			v := b.finished(t, b.postJob(t, `{"prompt":"a cat, 猫","seed":7,"output_format":"`+c.name+`","output_quality":`+quality+`}`).ID)
			if len(v.Images) != 1 || v.Images[0].Type != c.media {
				t.Fatalf("%+v", v)
			}
			w := b.do("GET", v.Images[0].URL, "")
			data := bytes.Clone(w.Body.Bytes())
			if w.Header().Get("Content-Type") != c.media || !strings.HasSuffix(w.Header().Get("Content-Disposition"), c.ending+`"`) {
				t.Errorf("%v", w.Header())
			}
			if format, err := imagefile.Format(data); format != c.format || err != nil {
				t.Errorf("%s: the file is %s, %v", c.name, format, err)
			}
			texts, err := imagefile.Texts(data)
			if err != nil || texts[0].Key != c.key || !strings.HasPrefix(texts[0].Value, "a cat, 猫\nSteps: ") || !strings.Contains(texts[0].Value, ", Seed: 7, ") {
				t.Errorf("%s: %v, %v", c.name, texts, err)
			}
			switch n := len(data); {
			case c.name == "png", last == 0:
			case quality == "null" && n != last, quality != "null" && n <= last:
				t.Errorf("%s of quality %s: %d bytes, before it %d", c.name, quality, n, last)
			}
			last = len(data)
			if again := b.finished(t, b.postJob(t, `{"prompt":"b","image":"`+v.Images[0].ID+`"}`).ID); len(again.Images) != 1 || started.Image.Bounds().Size() != image.Pt(64, 32) {
				t.Errorf("image-to-image of a %s: %+v", c.name, again)
			}
		}
	}
}
