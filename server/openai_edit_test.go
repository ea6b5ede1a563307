package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"maps"
	"mime/multipart"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// part is one of a form; a file has a name.
type part struct{ name, file, data string }

// postForm sends a form to the route of edits.
func (b *bench) postForm(t *testing.T, header map[string]string, parts ...part) *httptest.ResponseRecorder {
	t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for _, p := range parts {
		into, err := m.CreateFormField(p.name)
		if p.file != "" {
			into, err = m.CreateFormFile(p.name, p.file)
		}
		if err == nil {
			_, err = into.Write([]byte(p.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/images/edits", &body)
	r.Header.Set("Content-Type", m.FormDataContentType())
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// Every way to send an image and the fields beside it comes to the same: image-to-image with the refiner's strength.
func TestOpenAIEdits(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Specs.Base = fakeBase(t) })
	var got engine.Job
	b.refiner.take = func(j engine.Job) { got = j }
	data := tinyPNG(t)
	encoded := base64.StdEncoding.EncodeToString(data)
	kept := decodeUpload(t, b.upload("image/png", data))
	file := part{"image", "a.png", string(data)}
	form := func(parts ...part) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder { return b.postForm(t, nil, parts...) }
	}
	body := func(text string) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder { return b.do("POST", "/v1/images/edits", text) }
	}
	prompt := part{"prompt", "", "[1, 2]"}
	for name, c := range map[string]struct {
		send     func() *httptest.ResponseRecorder
		strength float64
		ignored  string
	}{
		"form": {form(file, prompt, part{"model", "", "fake-refiner"}, part{"size", "", "96x64"}), 0.2, ""},
		"form image[]": {form(part{"image[]", "a.png", string(data)}, prompt, part{"strength", "", "0.7"}, part{"n", "", "1"},
			part{"num_inference_steps", "", "9"}), 0.7, ""},
		"form id":     {form(part{"image", "", kept}, prompt, part{"input_fidelity", "", "high"}, part{"size", "", "1024x1024"}), 0.2, "input_fidelity, size"},
		"form ids":    {form(part{"image[]", "", kept}, prompt), 0.2, ""},
		"form lists":  {form(file, prompt, part{"timesteps[]", "", "900"}, part{"timesteps[]", "", "100"}, part{"original_size", "", "[64, 96]"}, part{"x", "f", "y"}, part{"strength", "", "0.9"}), 0.9, "x"},
		"JSON URL":    {body(`{"prompt":"[1, 2]","images":[{"image_url":"data:image/png;base64,` + encoded + `"}]}`), 0.2, ""},
		"JSON id":     {body(`{"prompt":"[1, 2]","images":[{"file_id":"` + kept + `"}],"strength":0.4}`), 0.4, ""},
		"JSON own":    {body(`{"prompt":"[1, 2]","images":[{"image_url":"http://example.com/download/` + kept + `"}],"mask":null}`), 0.2, ""},
		"JSON base64": {body(`{"prompt":"[1, 2]","image":"` + encoded + `","colour":64}`), 0.2, "colour"},
		"JSON list":   {body(`{"prompt":"[1, 2]","image":["` + kept + `"]}`), 0.2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.send()
			if header := w.Header().Get(ignoredHeader); header != c.ignored {
				t.Errorf("%s: %q, want %q", ignoredHeader, header, c.ignored)
			}
			a := generated(t, w)
			p := got.Parameters
			if p.Task != sdxl.ImageToImage || p.Strength != c.strength || a.Size != "96x64" || p.Prompts[0].Prompt != "[1, 2]" {
				t.Errorf("%+v", p)
			}
			if got.Request.Image.Bounds() != image.Rect(0, 0, 96, 64) || len(a.Data) != 1 {
				t.Errorf("from %v: %+v", got.Request.Image.Bounds(), a.Data)
			}
			if name == "form lists" && (!slices.Equal(p.Timesteps, []float64{900, 100}) || p.OriginalSize != sdxl.Size{Height: 64, Width: 96}) {
				t.Errorf("%+v", p)
			}
			if name == "form image[]" && p.Steps != 9 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// decodeUpload is the id of an image that was kept.
func decodeUpload(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	_, rest, _ := strings.Cut(w.Body.String(), `"id":"`)
	return rest[:36]
}

// A form that can't be used is answered as a JSON body is, and leaves no image behind.
func TestOpenAIForms(t *testing.T) {
	b := loadedBench(t, nil)
	file := part{"image", "a.png", string(tinyPNG(t))}
	prompt := part{"prompt", "", "a"}
	got := map[string]string{}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"two":      b.postForm(t, nil, file, prompt, part{"image[]", "b.png", "x"}),
		"mask":     b.postForm(t, nil, file, prompt, part{"mask", "m.png", "x"}),
		"masks":    b.postForm(t, nil, file, prompt, part{"mask", "m.png", "x"}, part{"mask[]", "n.png", "y"}),
		"no image": b.postForm(t, nil, part{"image", "a.png", "hello"}, prompt),
		"none":     b.postForm(t, nil, prompt),
		"number":   b.postForm(t, nil, file, prompt, part{"strength", "", "much"}),
		"UTF-8":    b.postForm(t, nil, file, part{"prompt", "", "\xff"}),
		"many":     b.postForm(t, nil, slices.Repeat([]part{prompt}, 300)...),
		"foreign":  b.postForm(t, map[string]string{"Sec-Fetch-Site": "cross-site"}, file, prompt),
	} {
		message, _, _ := strings.Cut(strings.TrimPrefix(w.Body.String(), `{"error":{"message":"`), `","type":`)
		got[name] = strings.Join([]string{w.Result().Status[:3], message}, " ")
	}
	want := map[string]string{
		"two":      `400 image: must be one image: there are 2 or more, got \"(a file)\"`,
		"mask":     `400 mask: must be an image: not a PNG, JPEG or WebP image, got \"(a file)\"`,
		"masks":    `400 mask: must be one mask: there are 2 or more, got \"(a file)\"`,
		"no image": `400 image: must be an image: not a PNG, JPEG or WebP image, got \"(a file)\"`,
		"none":     "400 image: Field required",
		"number":   `400 strength: Input should be a valid number, unable to parse string as a number, got \"much\"`,
		"UTF-8":    "400 There was an error parsing the body",
		"many":     "400 There was an error parsing the body",
		"foreign":  "403 The request comes from another origin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers to %v (-want +got):\n%s", slices.Sorted(maps.Keys(got)), diff)
	}
	if n := b.imageCount(t); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// An edit holds its body no longer than until its image is on disk, and leaves none there if it can't wait.
func TestOpenAIEditWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Queue = 0 })
		began, _ := held(b.refiner)
		body := `{"prompt":"a","image":"` + base64.StdEncoding.EncodeToString(tinyPNG(t)) + `"` + strings.Repeat(" ", 2*smallBody) + `}`
		ctx, hangUp := context.WithCancel(t.Context())
		answered := b.start(ctx, "/v1/images/edits", body)
		<-began
		if n := len(b.large); n != 0 {
			t.Errorf("%d large bodies are held while the image is computed", n)
		}
		files := b.imageCount(t)
		if w := b.do("POST", "/v1/images/edits", body); w.Code != 503 || b.imageCount(t) != files {
			t.Errorf("%d %s; %d files, want %d", w.Code, w.Body, b.imageCount(t), files)
		}
		hangUp()
		<-answered
	})
}

// No form makes the reader panic, and what it reads is JSON.
func FuzzReadForm(f *testing.F) {
	for _, seed := range []string{
		"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=\"loras[]\"\r\n\r\n[\r\n--b\r\nContent-Disposition: form-data; name=\"[]\"\r\n\r\n[1]\r\n--b--",
		"--b\r\n\r\n\r\n--b--", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := readForm(body, "b")
		if err != nil {
			return
		}
		for name, value := range fields.values {
			if !json.Valid(value) {
				t.Errorf("%q is %q", name, value)
			}
		}
	})
}
