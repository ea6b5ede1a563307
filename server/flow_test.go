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
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
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
	if n := b.refinerLoads.Load(); n != 1 {
		t.Errorf("the refiner was loaded %d times", n)
	}
}

// Pictures of an earlier process are found, and HEAD and ranges work on them.
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
	if _, err := later.store.find(made); err != nil {
		t.Error(err)
	}
}

// Each picture without a seed, or with -1, gets its own, which is in its text.
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
		data, err := os.ReadFile(b.store.path(id(t, b.do("POST", path, body))))
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
		fresh, err := newID()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.store.path(fresh), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return `{"id":"` + fresh + `","prompt":"a"}`
	}
	for name, prepare := range map[string]func(t *testing.T, b *bench) (path, body string){
		"engine": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) { return nil, errors.New(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"panic": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) { panic(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"no picture": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) { return &sdxl.Result{}, nil }
			return "/generate", `{"prompt":"a"}`
		},
		"id": func(_ *testing.T, b *bench) (string, string) {
			b.newID = func() (string, error) { return "", errors.New(secret) }
			return "/generate", `{"prompt":"a"}`
		},
		"refiner": func(t *testing.T, b *bench) (string, string) {
			err := errors.New(secret)
			b.refinerErr.Store(&err)
			return "/refine", `{"id":"` + id(t, b.do("POST", "/generate", `{"prompt":"a"}`)) + `","prompt":"a"}`
		},
		"empty file": func(t *testing.T, b *bench) (string, string) { return "/refine", corrupt(t, b, nil) },
		"cut file": func(t *testing.T, b *bench) (string, string) {
			whole, err := os.ReadFile(b.store.path(id(t, b.do("POST", "/generate", `{"prompt":"a"}`))))
			if err != nil {
				t.Fatal(err)
			}
			return "/refine", corrupt(t, b, whole[:len(whole)-30])
		},
		"huge file": func(t *testing.T, b *bench) (string, string) {
			var data bytes.Buffer
			if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, sdxl.MaxSide+1, 1))); err != nil {
				t.Fatal(err)
			}
			return "/refine", corrupt(t, b, data.Bytes())
		},
		"something else was cancelled": func(_ *testing.T, b *bench) (string, string) {
			b.base.give = func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) { return nil, context.Canceled }
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

			b.base.give, b.newID = nil, newID
			b.refinerErr.Store(nil)
			made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
			id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
		})
	}
}

// What the engine can't do is the client's error.
func TestRequestErrors(t *testing.T) {
	refused := &sdxl.RequestError{Field: "height", Value: 8, Allowed: "a multiple of 64"}
	const want = `{"detail":[{"type":"value_error","loc":["body","height"],"msg":"Value error, must be a multiple of 64","input":8}]}`
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	calls := b.base.calls.Load()
	b.base.check = func(sdxl.Request, bool) error { return refused }
	b.refiner.check = b.base.check
	for path, body := range map[string]string{"/generate": `{"prompt":"a"}`, "/refine": `{"id":"` + made + `","prompt":"a"}`} {
		if w := b.do("POST", path, body); w.Code != 422 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if b.base.calls.Load() != calls || b.refiner.calls.Load() != 0 {
		t.Error("what Check refused was computed")
	}
	b.base.check = nil
	b.base.run = nil
	b.base.give = func(sdxl.Request, *image.NRGBA) (*sdxl.Result, error) { return nil, fmt.Errorf("late: %w", refused) }
	if w := b.do("POST", "/generate", `{"prompt":"a"}`); w.Code != 422 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWithoutRefiner(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.LoadRefiner = nil })
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	w := b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`)
	if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "-refiner") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWatermark(t *testing.T) {
	for _, on := range []bool{true, false} {
		b := loadedBench(t, func(c *Config) { c.Watermark = on })
		var base, refined sdxl.Request
		b.base.check = func(r sdxl.Request, _ bool) error { base = r; return nil }
		b.refiner.check = func(r sdxl.Request, _ bool) error { refined = r; return nil }
		made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
		id(t, b.do("POST", "/refine", `{"id":"`+made+`","prompt":"a"}`))
		if base.Watermark != on || refined.Watermark != on {
			t.Errorf("watermark %v: %v, %v", on, base.Watermark, refined.Watermark)
		}
	}
}

// Every kind has an answer with words.
func TestAnswers(t *testing.T) {
	for k := internal; k <= clientGone; k++ {
		a, ok := answers[k]
		if !ok || a.status < 400 || a.detail == "" || (a.retry > 0) != (a.status == http.StatusServiceUnavailable) {
			t.Errorf("kind %d: %+v", k, a)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	load := func(int) (Engine, error) { return nil, errors.New("unused") }
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for says, c := range map[string]Config{
		"Load is nil":                            {Images: "x"},
		"Images is empty":                        {Load: load},
		"Queue is -1":                            {Load: load, Images: t.TempDir(), Queue: -1},
		"Drain -1s":                              {Load: load, Images: t.TempDir(), Drain: -1e9},
		"folder of images":                       {Load: load, Images: file},
		"AllowedHosts has \"a:80\"":              {Load: load, Images: t.TempDir(), AllowedHosts: []string{"a:80"}},
		"MaxPixels is -1: must be 0 to 67108864": {Load: load, Images: t.TempDir(), MaxPixels: -1},
		"MaxSteps is 1001: must be 0 to 1000":    {Load: load, Images: t.TempDir(), MaxSteps: 1001},
		"MaxBatch is 65: must be 0 to 64":        {Load: load, Images: t.TempDir(), MaxBatch: 65},
		"RequestTimeout is -1s":                  {Load: load, Images: t.TempDir(), RequestTimeout: -1e9},
		"BodyTimeout is -1s and":                 {Load: load, Images: t.TempDir(), BodyTimeout: -1e9},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
