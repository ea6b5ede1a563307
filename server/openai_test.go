package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/color"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// tinyPNG is an image of 96×64 pixels.
func tinyPNG(t testing.TB) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 96, 64))
	for i := range 96 * 64 {
		img.SetNRGBA(i%96, i/96, color.NRGBA{uint8(i), uint8(i / 96), 7, 255})
	}
	data, err := imagefile.Encode(img, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// generated reads an answer that must be 200.
func generated(t *testing.T, w *httptest.ResponseRecorder) (a openAIImages) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); w.Code != 200 || err != nil || len(a.Data) == 0 {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	return a
}

// The answer has OpenAI's shape, and images by URL or in base64 of every format.
func TestOpenAIGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		time.Sleep(time.Until(time.Unix(1_000_000_000, 0)))
		b.newID = func() (string, error) { return "11111111-1111-4111-8111-111111111111", nil }
		w := b.do("POST", "/v1/images/generations", `{"prompt":"a cat","seed":7}`)
		body, parameters, _ := strings.Cut(w.Body.String(), `,"parameters":`)
		const want = `{"created":1000000000,"data":[{"url":"http://example.com/download/11111111-1111-4111-8111-111111111111","id":"11111111-1111-4111-8111-111111111111","seed":7}],` +
			`"background":"opaque","output_format":"png","size":"64x32",` +
			`"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0,"input_tokens_details":{"image_tokens":0,"text_tokens":0}}`
		if diff := cmp.Diff(want, body); w.Code != 200 || diff != "" || !strings.Contains(parameters, `"seed":7,`) {
			t.Errorf("%d (-want +got):\n%s\n%s", w.Code, diff, parameters)
		}
		if got := w.Header().Values(ignoredHeader); len(got) > 0 {
			t.Errorf("%s: %v", ignoredHeader, got)
		}
	})
	b := loadedBench(t, nil)
	for name, format := range map[string]string{"png": "PNG", "jpeg": "JPEG", "webp": "WebP"} {
		a := generated(t, b.do("POST", "/v1/images/generations",
			`{"prompt":"a","model":"fake-base","size":"96x64","response_format":"b64_json","output_format":"`+name+`","num_inference_steps":3,"scheduler":"ddim","guidance_scale":"2.5"}`))
		data, err := base64.StdEncoding.DecodeString(a.Data[0].Base64)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := imagefile.Format(data); got != format || err != nil || a.OutputFormat != name || a.Data[0].URL != "" || a.Size != "96x64" {
			t.Errorf("%s is %s of %s, %v; %+v", name, got, a.Size, err, a.Data[0])
		}
		if !bytes.Equal(data, b.do("GET", "/download/"+a.Data[0].ID, "").Body.Bytes()) {
			t.Errorf("%s: another image can be downloaded", name)
		}
		if p := a.Parameters; p.Steps != 3 || p.Scheduler != "ddim" || p.Guidance != 2.5 {
			t.Errorf("%+v", p)
		}
	}
	sizes := map[string]int{}
	for _, compression := range []string{"0", "50", "100"} {
		a := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","size":"256x256","output_format":"jpeg","output_compression":`+compression+`}`))
		sizes[compression] = b.do("GET", "/download/"+a.Data[0].ID, "").Body.Len()
	}
	if !(sizes["0"] < sizes["100"]) {
		t.Errorf("bytes by output_compression: %v", sizes)
	}
}

// Each of n images is what a request for one with its seed makes; a client that hangs up leaves none behind.
func TestOpenAIMany(t *testing.T) {
	b := loadedBench(t, nil)
	a := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","seed":18446744073709551615,"n":3,"response_format":"b64_json"}`))
	var seeds []uint64
	for _, d := range a.Data {
		seeds = append(seeds, d.Seed)
		alone := generated(t, b.do("POST", "/v1/images/generations", `{"prompt":"a","response_format":"b64_json","seed":`+strconv.FormatUint(d.Seed, 10)+`}`))
		if alone.Data[0].Base64 != d.Base64 {
			t.Errorf("the image of seed %d is another alone", d.Seed)
		}
	}
	if diff := cmp.Diff([]uint64{1<<64 - 1, 0, 1}, seeds); diff != "" {
		t.Errorf("seeds (-want +got):\n%s", diff)
	}

	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, nil)
		began, stopped := held(b.base)
		ctx, hangUp := context.WithCancel(t.Context())
		answered := b.start(ctx, "/v1/images/generations", `{"prompt":"a","n":4}`)
		<-began
		hangUp()
		<-answered
		<-stopped
		synctest.Wait()
		page, err := b.journal.List(job.Filter{Limit: 10})
		if err != nil || len(page.Jobs) != 4 {
			t.Fatalf("%d jobs, %v", len(page.Jobs), err)
		}
		for _, j := range page.Jobs {
			if j.State != job.Cancelled || !j.Attached || j.API != "/v1/images/generations" {
				t.Errorf("%+v", j)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // one of them can't wait
		b := loadedBench(t, func(c *Config) { c.Queue = 1 })
		held(b.base)
		w := b.do("POST", "/v1/images/generations", `{"prompt":"a","n":3}`)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"type":"server_error","param":null,"code":"queue_full"`) {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		synctest.Wait() // the first one may have begun before it was cancelled
		if stats := b.queue.Stats(); stats.Waiting+stats.Computing != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// Fields without an effect are named, in a header and with the reason.
func TestOpenAIIgnored(t *testing.T) {
	b := loadedBench(t, nil)
	for body, want := range map[string]struct {
		header   string
		warnings []string
	}{
		`{"prompt":"a","quality":"auto","background":"opaque","user":null,"n":1,"stream":false,"size":"auto","model":null,"priority":3,"task":"text-to-image"}`: {"", nil},
		`{"prompt":"a","quality":"hd","style":"vivid","user":"u","moderation":"low","background":"transparent"}`: {"quality, background, moderation, style, user",
			[]string{"quality has no effect", "background: images are opaque", "moderation has no effect", "style has no effect", "user has no effect"}},
		`{"prompt":"a","strength":0.5,"preview_every":3,"nonsense":{"a":[1]},"a b\r\nX-A: c":1,"tiling":null}`: {"nonsense, preview_every, strength",
			[]string{"fields without an effect here: a b\r\nX-A: c, nonsense, preview_every, strength"}},
		`{"prompt":"a","partial_images":2}`:                        {"partial_images", []string{"partial_images: there are none without stream"}},
		`{"prompt":"a","output_compression":50}`:                   {"output_compression", []string{"output_compression has no effect on PNG, which loses nothing"}},
		`{"prompt":"a","output_quality":50,"output_format":"png"}`: {"output_quality", []string{"output_quality has no effect on PNG, which loses nothing"}},
		`{"prompt":"a","output_compression":50,"output_quality":9,"output_format":"webp"}`: {"output_compression",
			[]string{"output_compression has no effect beside output_quality"}},
	} {
		w := b.do("POST", "/v1/images/generations", body)
		header := w.Header()
		a := generated(t, w)
		if diff := cmp.Diff(want.warnings, a.Warnings); diff != "" || header.Get(ignoredHeader) != want.header || len(header.Values("X-A")) > 0 {
			t.Errorf("%s: %q, %v", body, header.Get(ignoredHeader), diff)
		}
	}
	var many strings.Builder
	for i := range 1000 {
		many.WriteString(`,"x` + strconv.Itoa(i) + `":1`)
	}
	w := b.do("POST", "/v1/images/generations", `{"prompt":"a"`+many.String()+`}`)
	if n := len(w.Header().Get(ignoredHeader)); n > 300 {
		t.Errorf("the header has %d bytes", n)
	}
	if a := generated(t, w); len(a.Warnings[0]) > 400 || !strings.HasSuffix(a.Warnings[0], " and 968 more") {
		t.Errorf("%q", a.Warnings)
	}
}

const unknownModelAnswer = `{"error":{"message":"model: the model does not exist: must be 'fake-base' or 'fake-refiner', got \"dall-e-3\"",` +
	`"type":"invalid_request_error","param":"model","code":"model_not_found"}}`

// Errors have OpenAI's shape and status, and name the field, its value, and what is allowed.
func TestOpenAIErrors(t *testing.T) {
	b := loadedBench(t, nil)
	b.base.run = func(context.Context, sdxl.Request) error {
		return &sdxl.RequestError{Field: "seed", Value: 3, Allowed: "another"}
	}
	of := func(message, param, code string) string {
		text, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		return `{"error":{"message":` + string(text) + `,"type":"invalid_request_error","param":` + param + `,"code":` + code + `}}`
	}
	const value, missing = `"invalid_value"`, `"missing_required_parameter"`
	photo := sdPNG(t, 8, 8)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"generations", `{"prompt":"a","model":"dall-e-3"}`, 404, unknownModelAnswer},
		{"generations", `{"prompt":"a","model":"fake-refiner"}`, 400,
			of(`model: this refiner makes images from images alone: use /v1/images/edits, got "fake-refiner"`, `"model"`, value)},
		{"generations", `{}`, 400, of("prompt: Field required", `"prompt"`, missing)},
		{"generations", `{"prompt":7}`, 400, of("prompt: Input should be a valid string, got 7", `"prompt"`, value)},
		{"generations", `{"prompt":"a",}`, 400, of("JSON decode error: invalid character '}' looking for beginning of object key string", "null", value)},
		{"generations", `[]`, 400, of("Input should be a valid dictionary or object to extract fields from", "null", value)},
		{"generations", ``, 400, of("Field required", "null", missing)},
		{"generations", `{"prompt":"a","n":11}`, 400, of("n: Input should be less than or equal to 10, got 11", `"n"`, value)},
		{"generations", `{"prompt":"a","n":2,"stream":true}`, 400, of("n: Input should be 1 with stream, got 2", `"n"`, value)},
		{"generations", `{"prompt":"a","size":"big"}`, 400, of(`size: must be "auto" or WIDTHxHEIGHT, as "1024x1024", got "big"`, `"size"`, value)},
		{"generations", `{"prompt":"a","size":"64x64","width":64}`, 400, of(`size: must be "auto" or left out beside width and height, got "64x64"`, `"size"`, value)},
		{"generations", `{"prompt":"a","size":"0065x064"}`, 400, of("width: Input should be a multiple of 8, got 65", `"width"`, value)},
		{"generations", `{"prompt":"a","size":"0x8"}`, 400, of("width: Input should be greater than or equal to 8, got 0", `"width"`, value)},
		{"generations", `{"prompt":"a","response_format":"file"}`, 400, of(`response_format: Input should be 'url' or 'b64_json', got "file"`, `"response_format"`, value)},
		{"generations", `{"prompt":"a","output_format":"gif"}`, 400, of(`output_format: Input should be 'png', 'jpeg' or 'webp', got "gif"`, `"output_format"`, value)},
		{"generations", `{"prompt":"a","output_compression":101}`, 400, of("output_compression: Input should be less than or equal to 100, got 101", `"output_compression"`, value)},
		{"generations", `{"prompt":"a","quality":"best"}`, 400,
			of(`quality: Input should be 'auto', 'low', 'medium', 'high', 'hd' or 'standard', got "best"`, `"quality"`, value)},
		{"generations", `{"prompt":"a","partial_images":4}`, 400, of("partial_images: Input should be less than or equal to 3, got 4", `"partial_images"`, value)},
		{"generations", `{"prompt":"a","scheduler":"nope","seed":-2}`, 400,
			of("seed: Input should be greater than or equal to -1, got -2; scheduler: Input should be 'euler', 'ddim' or 'heun', got \"nope\"", `"seed"`, value)},
		{"generations", `{"prompt":"a","loras":["x"]}`, 400, of(`loras[0]: this server has no folder of adapters (-lora-dir), got "x"`, `"loras[0]"`, value)},
		{"generations", `{"prompt":"a"}`, 400, of("seed: must be another, got 3", `"seed"`, value)}, // what the engine says
		{"edits", `{"prompt":"a"}`, 400, of("image: Field required", `"image"`, missing)},
		{"edits", `{"prompt":"a","images":[{"image_url":"data:,"},{"file_id":"x"}]}`, 400,
			of(`images: must be one image: there are 2, got [{"image_url":"data:,"},{"file_id":"x"}]`, `"images"`, value)},
		{"edits", `{"prompt":"a","images":[{}]}`, 400, of(`images: must be [{"image_url": URL}] or [{"file_id": ID}], got [{}]`, `"images"`, value)},
		{"edits", `{"prompt":"a","images":[{"image_url":"https://example.org/a.png"}]}`, 400,
			of(`images: must be a data URL, or that of an image of this server: it fetches nothing from others, got "https://example.org/a.png"`, `"images"`, value)},
		{"edits", `{"prompt":"a","images":[{"file_id":"11111111-1111-4111-8111-111111111111"}]}`, 404, of("Image not found", "null", `"image_not_found"`)},
		{"edits", `{"prompt":"a","image":"` + photo + `","mask":{"image_url":"data:,"}}`, 400,
			of(`mask: must be an image in base64 in a data URL, or the id of an image: the data URL has no ;base64,, got "data:,"`, `"mask"`, value)},
		{"edits", `{"prompt":"a","image":"` + photo + `","mask":{"image_url":"data:image/png;base64,` + photo + `"}}`, 400, strings.Replace(
			of("mask: Invalid mask image format - mask image missing alpha channel: its transparent pixels say what is edited", `"mask"`, `"invalid_mask_image_format"`),
			"invalid_request_error", "image_generation_user_error", 1)},
		{"edits", `{"prompt":"a","image":"` + photo + `","mask":{}}`, 400, of(`mask: must be {"image_url": URL} or {"file_id": ID}, got {}`, `"mask"`, value)},
		{"edits", `{"prompt":"a","image":"` + photo + `","mask":"http://example.org/x.png"}`, 400,
			of(`mask: must be a data URL, or that of an image of this server: it fetches nothing from others, got "http://example.org/x.png"`, `"mask"`, value)},
		{"edits", `{"prompt":"a","image":"` + photo + `","mask":{"file_id":"11111111-1111-4111-8111-111111111111"}}`, 404, of("Image not found: mask", "null", `"image_not_found"`)},
		{"generations", `{"prompt":"a","mask":"x"}`, 400, of(`mask: must be absent: /v1/images/edits takes a mask, got "x"`, `"mask"`, value)},
		{"variations", `{}`, 404, of("Not Found", "null", `"not_found"`)},
	} {
		if w := b.do("POST", "/v1/images/"+c.path, c.body); w.Code != c.status || w.Body.String() != c.want {
			t.Errorf("%s %s: %d\n got %s\nwant %s", c.path, c.body, w.Code, w.Body, c.want)
		}
	}
	if w := b.do("GET", "/v1/images/edits", ""); w.Code != 405 || w.Header().Get("Allow") != "POST" || w.Body.String() != of("Method Not Allowed", "null", `"method_not_allowed"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest("POST", "/v1/images/generations", strings.NewReader(plain))
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	if b.ServeHTTP(w, r); w.Code != 415 || w.Body.String() != of("Unsupported Media Type: must be application/json", "null", `"unsupported_media_type"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := newBench(t, nil).do("POST", "/v1/images/generations", plain); w.Code != 503 || w.Header().Get("Retry-After") != "5" ||
		w.Body.String() != `{"error":{"message":"The model is being loaded","type":"server_error","param":null,"code":"loading"}}` {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if strings.Contains(b.log.String(), "dall-e-3") {
		t.Error("the log has a text of a client's body")
	}
}

// No body makes the reader panic, and what it takes is within the limits and says what it ignores.
func FuzzOpenAIRequest(f *testing.F) {
	for _, body := range []string{
		`{"prompt":"a","size":"64x64","n":2,"output_format":"webp","output_compression":0,"quality":"hd","x":1}`,
		`{"prompt":"a","images":[{"image_url":"data:image/png;base64,AA=="}],"stream":true,"partial_images":3}`,
		`{"prompt":"a","images":[{"file_id":"11111111-1111-4111-8111-111111111111"}],"model":"fake-base"}`,
		`{"prompt":"a","image":[null],"images":7,"mask":null,"size":null}`,
	} {
		f.Add([]byte(body), true)
		f.Add([]byte(body), false)
	}
	s := newServer(Config{Schedulers: []string{"euler"}, MaxBatch: 1, Images: f.TempDir(), Specs: engine.Specs{Base: fakeBase(f)}})
	f.Fuzz(func(t *testing.T, body []byte, isEdit bool) {
		fields, p := parseFields(body, "application/json")
		if p != nil {
			return
		}
		given := len(fields.values)
		route := generation
		if isEdit {
			route = edit
		}
		q, err := s.openAIRequest(&exchange{r: httptest.NewRequest("POST", "/", nil), visitor: visitor{all: true}}, fields, route)
		if err != nil {
			if f := classify(err); f.kind == internal {
				t.Error(err)
			}
			return
		}
		if q.n < 1 || q.n > 10 || q.partial < 0 || q.partial > 3 || q.job.task.Job.Parameters.Images != 1 || len(q.ignored) > given || isEdit {
			t.Errorf("taken: %+v", q)
		}
	})
}
