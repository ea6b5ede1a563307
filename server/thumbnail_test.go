package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

// red gives the id of a red image of a size.
func (b *bench) red(t *testing.T, width, height int, header ...string) string {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(color.NRGBA{200, 30, 20, 255}), image.Point{}, draw.Src)
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	w := b.upload("image/png", file.Bytes(), header...)
	var v imageView
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return v.ID
}

// A thumbnail is a small JPEG of the image, by its longer side.
func TestThumbnail(t *testing.T) {
	b := loadedBench(t, nil)
	for _, c := range []struct {
		image         image.Point
		query         string
		width, height int
	}{
		{image.Pt(1024, 768), "", 256, 192},
		{image.Pt(768, 1024), "?size=512", 384, 512},
		{image.Pt(1000, 3), "?size=16", 16, 1},
		{image.Pt(64, 40), "?size=1024", 64, 40}, // it is not made larger
	} {
		w := b.do("GET", "/download/"+b.red(t, c.image.X, c.image.Y)+"/thumbnail"+c.query, "")
		img, err := jpeg.Decode(w.Body)
		if err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" {
			t.Fatalf("%v: %d %v, %v", c, w.Code, w.Header(), err)
		}
		if got := img.Bounds().Size(); got != image.Pt(c.width, c.height) {
			t.Errorf("%v%s is %v, want %d×%d", c.image, c.query, got, c.width, c.height)
		}
		if r, g, b, _ := img.At(0, 0).RGBA(); r>>8 < 190 || r>>8 > 210 || g>>8 > 45 || b>>8 > 35 {
			t.Errorf("%v: the colour is %d %d %d", c, r>>8, g>>8, b>>8)
		}
	}
	made := id(t, b.do("POST", "/generate", `{"prompt":"Tr0ub4dor"}`))
	if w := b.do("GET", "/download/"+made+"/thumbnail", ""); w.Code != 200 || strings.Contains(w.Body.String(), "Tr0ub4dor") {
		t.Errorf("%d, or the thumbnail has the prompt", w.Code)
	}
	for path, want := range map[string]string{
		made + "/thumbnail?size=15":                      `422 {"detail":[{"type":"greater_than_equal","loc":["query","size"]`,
		made + "/thumbnail?size=1025":                    `422 {"detail":[{"type":"less_than_equal","loc":["query","size"]`,
		made + "/thumbnail?size=x":                       `422 {"detail":[{"type":"int_parsing","loc":["query","size"]`,
		"11111111-1111-4111-8111-111111111111/thumbnail": `404 {"detail":"Image not found"}`,
		"..%2fjobs.db/thumbnail":                         `404 {"detail":"Image not found"}`,
		b.big(t, 100) + "/thumbnail":                     `500 {"detail":`,
	} {
		w := b.do("GET", "/download/"+path, "")
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, want) || w.Header().Get("Cache-Control") != "" {
			t.Errorf("%s: %s %v, want %s", path, got, w.Header(), want)
		}
	}
}

// A browser keeps a thumbnail, and asks with its tag after that; another size and another image have other tags.
func TestThumbnailIsKept(t *testing.T) {
	b := loadedBench(t, nil)
	made, other := b.red(t, 64, 64), b.red(t, 64, 60)
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		return b.ask("GET", "/download/"+path, "", header...)
	}
	h := get(made + "/thumbnail").Header()
	tag := h.Get("Etag")
	if h.Get("Cache-Control") != "private, max-age=31536000, immutable" || !strings.Contains(h.Get("Vary"), "Cookie") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", h)
	}
	for _, path := range []string{other + "/thumbnail", made + "/thumbnail?size=32", made} {
		if got := get(path).Header().Get("Etag"); got == tag || got == "" {
			t.Errorf("%s has the tag %s too", path, got)
		}
	}
	for header, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x" , ` + tag: 304, "*": 304, `"x"`: 200, "": 200} {
		w := get(made+"/thumbnail", "If-None-Match", header)
		if w.Code != want || (w.Body.Len() == 0) != (want == 304) || w.Header().Get("Etag") != tag {
			t.Errorf("If-None-Match %s: %d with %d bytes, want %d", header, w.Code, w.Body.Len(), want)
		}
	}
	if err := os.Remove(b.path(made)); err != nil {
		t.Fatal(err)
	}
	if w := get(made+"/thumbnail", "If-None-Match", tag); w.Code != 404 {
		t.Errorf("of an image that was removed: %d", w.Code)
	}
}

// Thumbnails are for those who may have the image.
func TestThumbnailOwner(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "bert", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	path := "/download/" + b.red(t, 64, 64, m.bearer("anna")...) + "/thumbnail"
	tag := b.ask("GET", path, "", m.bearer("anna")...).Header().Get("Etag")
	for name, want := range map[string]int{"anna": 304, "bert": 404, "ops": 304} {
		if w := b.ask("GET", path, "", append(m.bearer(name), "If-None-Match", tag)...); w.Code != want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, want)
		}
	}
	if w := b.ask("GET", path, ""); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}

// A thumbnail waits while as many images are decoded as may be, no longer than its client does.
func TestThumbnailWaits(t *testing.T) {
	b := loadedBench(t, nil)
	made := b.red(t, 64, 64)
	for range mostDecoded {
		b.decoding <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan *httptest.ResponseRecorder, 2)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		go func() { answered <- b.doContext(ctx, "GET", "/download/"+made+"/thumbnail", "") }()
	}
	cancel()
	if w := <-answered; w.Code == 200 {
		t.Errorf("%d while %d images are decoded", w.Code, mostDecoded)
	}
	<-b.decoding
	if w := <-answered; w.Code != 200 {
		t.Errorf("%d once there is room", w.Code)
	}
}
