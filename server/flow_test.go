package server

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

var update = flag.Bool("update", false, "write testdata anew")

// transcript writes down an answer; of a PNG, its size, its first pixel and its texts.
func transcript(t *testing.T, request string, w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "> %s\n< %d\n", request, w.Code)
	for _, name := range []string{"Content-Type", "Content-Disposition"} {
		if v := w.Header().Get(name); v != "" {
			fmt.Fprintf(&b, "< %s: %s\n", name, v)
		}
	}
	if w.Header().Get("Content-Type") != "image/png" {
		fmt.Fprintf(&b, "%s\n\n", w.Body)
		return b.String()
	}
	img, texts, err := imagefile.Decode(w.Body.Bytes(), sdxl.MaxSide)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "%v of %v\n", img.Bounds(), img.At(0, 0))
	for _, text := range texts {
		fmt.Fprintf(&b, "%s: %q\n", text.Key, text.Value)
	}
	return b.String() + "\n"
}

// The whole flow, as testdata/flow.golden has it. To renew it: go test ./server -run TestFlow -update
func TestFlow(t *testing.T) {
	b := loadedBench(t, nil)
	ids := []string{"11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"}
	b.newID = func() (string, error) {
		id := ids[0]
		ids = ids[1:]
		return id, nil
	}
	b.newSeed = func() uint64 { return 1234 }
	var got strings.Builder
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/generate", `{"prompt":"a café"}`},
		{"GET", "/download/11111111-1111-4111-8111-111111111111", ""},
		{"POST", "/refine", `{"id":"11111111-1111-4111-8111-111111111111","prompt":"猫"}`},
		{"GET", "/download/22222222-2222-4222-8222-222222222222", ""},
		{"POST", "/refine", `{"id":"22222222-2222-4222-8222-222222222222","prompt":"p","negative_prompt":"","num_inference_steps":"7","guidance_scale":2.5,"seed":5,"strength":0.5,"scheduler":"ddim"}`},
		{"GET", "/download/33333333-3333-4333-8333-333333333333", ""},
	} {
		got.WriteString(transcript(t, strings.TrimSpace(c.method+" "+c.path+" "+c.body), b.do(c.method, c.path, c.body)))
	}
	golden := filepath.Join("testdata", "flow.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Images of an earlier process are found, and HEAD and ranges work on them.
func TestDownload(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", `{"prompt":"a","seed":3}`))
	later := loadedBench(t, func(c *Config) { c.Images = b.images })
	whole := later.do("GET", "/download/"+made, "")
	if img, err := png.Decode(whole.Body); err != nil || img.Bounds() != image.Rect(0, 0, 64, 32) {
		t.Errorf("%v, %v", img, err)
	}
	if w := later.do("HEAD", "/download/"+made, ""); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if _, _, err := later.store.Find(made); err != nil {
		t.Error(err)
	}
}

// Each image without a seed, or with -1, gets its own, which is in its text.
func TestRandomSeed(t *testing.T) {
	b := loadedBench(t, nil)
	source := id(t, b.do("POST", "/generate", `{"prompt":"a","seed":7}`))
	var seeds []string
	for i := range 12 {
		path, body := "/generate", `{"prompt":"a"}`
		switch i % 3 {
		case 1:
			body = `{"prompt":"a","seed":-1}`
		case 2:
			path, body = "/refine", `{"id":"`+source+`","prompt":"a","seed":"-1"}`
		}
		data, err := os.ReadFile(b.path(id(t, b.do("POST", path, body))))
		if err != nil {
			t.Fatal(err)
		}
		texts, err := imagefile.Texts(data)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(texts, func(t imagefile.Text) bool { return t.Key == "seed" })
		if slices.Contains(seeds, texts[i].Value) || len(texts[i].Value) > 16 {
			t.Errorf("seed %s after %v", texts[i].Value, seeds)
		}
		seeds = append(seeds, texts[i].Value)
	}
}

// What goes wrong inside is 500 and no more to the client, the reason to the log; the server goes on and leaves no partial file
// (newBench checks that).
func TestInnerFailures(t *testing.T) {
	const secret = "secret reason"
	corrupt := func(t *testing.T, b *bench, data []byte) string {
		fresh, err := blob.NewID()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.path(fresh), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return `{"id":"` + fresh + `","prompt":"a"}`
	}
	for name, prepare := range map[string]func(t *testing.T, b *bench) (path, body string){
		"engine": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(engine.Job, *image.NRGBA) (*sdxl.Result, error) { return nil, errors.New(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"panic": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(engine.Job, *image.NRGBA) (*sdxl.Result, error) { panic(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"no image": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(engine.Job, *image.NRGBA) (*sdxl.Result, error) { return &sdxl.Result{}, nil }
			return "/generate", `{"prompt":"a"}`
		},
		"id": func(_ *testing.T, b *bench) (string, string) {
			b.newID = func() (string, error) { return "", errors.New(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"empty file": func(t *testing.T, b *bench) (string, string) { return "/refine", corrupt(t, b, nil) },
		"cut file": func(t *testing.T, b *bench) (string, string) {
			whole, err := os.ReadFile(b.path(id(t, b.do("POST", "/generate", `{"prompt":"a"}`))))
			if err != nil {
				t.Fatal(err)
			}
			return "/refine", corrupt(t, b, whole[:len(whole)-30])
		},
		"something else was cancelled": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(engine.Job, *image.NRGBA) (*sdxl.Result, error) { return nil, context.Canceled }
			return "/generate", `{"prompt":"a"}`
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := loadedBench(t, nil)
			path, body := prepare(t, b)
			w := b.do("POST", path, body)
			if w.Code != http.StatusInternalServerError || w.Body.String() != `{"detail":"Internal Server Error"}` {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			log := b.log.String()
			if i := strings.LastIndex(log, "level=ERROR msg=request"); i < 0 || !strings.Contains(log[i:], "status=500") || !strings.Contains(log[i:], "error=") {
				t.Errorf("log:\n%s", log)
			}

			b.base.give, b.newID = nil, blob.NewID
			made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
			id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
		})
	}
}

// What the model can't do is the client's error, before it waits in the queue if its configurations show that.
func TestRequestErrors(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Queue = 0 })
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	defer b.occupy(t)()
	skipped := regexp.MustCompile(`^\{"detail":\[\{"type":"value_error","loc":\["body","clip_skip"\],"msg":"Value error, must be 0 to \d+","input":50\}\]\}$`)
	for body, path := range map[string]string{
		`{"prompt":"a","clip_skip":50}`:                                   "/generate",
		`{"prompt":"a","clip_skip":50,"refiner":true}`:                    "/generate",
		`{"id":"` + made + `","prompt":"a","clip_skip":50}`:               "/refine",
		`{"id":"` + made + `","prompt":"a","clip_skip":50,"refiner":"f"}`: "/refine",
	} {
		if w := b.do("POST", path, body); w.Code != 422 || !skipped.MatchString(w.Body.String()) {
			t.Errorf("%s %s: %d %s", path, body, w.Code, w.Body)
		}
	}
	if w := b.do("POST", "/generate", plain); w.Code != 503 {
		t.Errorf("a request that can be done: %d %s", w.Code, w.Body)
	}
	b = loadedBench(t, nil)
	b.base.give = func(engine.Job, *image.NRGBA) (*sdxl.Result, error) {
		return nil, fmt.Errorf("late: %w", &sdxl.RequestError{Field: "height", Value: 8, Allowed: "a multiple of 64"})
	}
	const late = `{"detail":[{"type":"value_error","loc":["body","height"],"msg":"Value error, must be a multiple of 64","input":8}]}`
	if w := b.do("POST", "/generate", `{"prompt":"a"}`); w.Code != 422 || w.Body.String() != late {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An image that is too large for any model is no source, and is not decoded.
func TestHugeSource(t *testing.T) {
	b := loadedBench(t, nil)
	fresh, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, sdxl.MaxSide+8, 64))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path(fresh), data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `{"detail":[{"type":"value_error","loc":["body","id"],"msg":"Value error, must be an image whose width is a multiple of 8 from 8 to 8192","input":"` + fresh + `"}]}`
	if w := b.do("POST", "/refine", `{"id":"`+fresh+`","prompt":"a"}`); w.Code != 422 || w.Body.String() != want {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
}

// Without a refiner, what needs one is 501, and the base does image-to-image where it is asked to.
func TestWithoutRefiner(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Specs.Refiner = nil })
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	for body, path := range map[string]string{`{"id":"` + made + `","prompt":"a"}`: "/refine", `{"prompt":"a","refiner":true}`: "/generate"} {
		if w := b.do("POST", path, body); w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "-refiner") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	calls := b.base.calls.Load()
	id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a","refiner":false}`))
	if b.base.calls.Load() != calls+1 {
		t.Error("the base did not compute")
	}
}

func TestWatermark(t *testing.T) {
	for _, on := range []bool{true, false} {
		b := loadedBench(t, func(c *Config) { c.Watermark = on })
		var got []bool
		b.base.take = func(j engine.Job) { got = append(got, j.Request.Watermark) }
		b.refiner.take = b.base.take
		made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
		id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
		if !slices.Equal(got, []bool{on, on}) {
			t.Errorf("watermark %v: %v", on, got)
		}
	}
}

// Every kind has an answer with words.
func TestAnswers(t *testing.T) {
	for k, a := range answers {
		if k == "" || a.status < 400 || a.detail == "" || (a.retry > 0) != (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests) {
			t.Errorf("kind %s: %+v", k, a)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	load := func(int) (engine.Engine, error) { return nil, errors.New("unused") }
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	specs := engine.Specs{Base: fakeBase(t)}
	for says, c := range map[string]Config{
		"Specs.Base is nil":                      {Load: load, Images: "x"},
		"Load is nil":                            {Specs: specs, Images: "x"},
		"Images is empty":                        {Specs: specs, Load: load},
		"Queue is -1":                            {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", Queue: -1},
		"Drain -1s":                              {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", Drain: -1e9},
		"Journal is empty":                       {Specs: specs, Load: load, Images: t.TempDir()},
		"the journal of jobs":                    {Specs: specs, Load: load, Images: t.TempDir(), Journal: t.TempDir()},
		"folder of images":                       {Specs: specs, Load: load, Images: file, Journal: "x"},
		"AllowedHosts has \"a:80\"":              {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", AllowedHosts: []string{"a:80"}},
		"MaxPixels is -1: must be 0 to 67108864": {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", MaxPixels: -1},
		"MaxSteps is 1001: must be 0 to 1000":    {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", MaxSteps: 1001},
		"MaxBatch is 65: must be 0 to 64":        {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", MaxBatch: 65},
		"RequestTimeout is -1s":                  {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", RequestTimeout: -1e9},
		"BodyTimeout is -1s and":                 {Specs: specs, Load: load, Images: t.TempDir(), Journal: "x", BodyTimeout: -1e9},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
