package server

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/auth"
)

const sdTwo = `{"prompt":"p","steps":4,"width":64,"height":64,"n_iter":2}`

// Images that A1111's API keeps no longer than its answer count, after a restart too, and those that came to nothing
// don't, though both their records are gone.
func TestImagesNotKeptCount(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, ImagesPerDay: 5})
	synctest.Test(t, func(t *testing.T) {
		change := func(c *Config) { c.Tokens = m.path }
		b := sdBench(t, change)
		anna := m.bearer("anna")
		left := func(want string) {
			t.Helper()
			if w := b.ask("GET", "/v1/session", "", anna...); !strings.Contains(w.Body.String(), `"images_per_day":{"limit":5,"left":`+want+`}`) {
				t.Errorf("%s, want %s left", w.Body, want)
			}
		}
		txt2img := func(status int) *httptest.ResponseRecorder {
			t.Helper()
			w := b.ask("POST", "/sdapi/v1/txt2img", sdTwo, anna...)
			if w.Code != status {
				t.Errorf("%d %.300s, want %d", w.Code, w.Body, status)
			}
			return w
		}
		b.base.run = func(context.Context, sdxl.Request) error { return errors.New("failed") }
		txt2img(500)
		failed := decodeJob(t, b.ask("POST", "/v1/jobs", `{"prompt":"a"}`, anna...), 202)
		synctest.Wait()
		if w := b.ask("DELETE", "/v1/jobs/"+failed.ID+"?purge=true", "", anna...); w.Code != 204 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		left("5")
		ran := 0
		b.base.run = func(context.Context, sdxl.Request) error { ran++; return nil }
		txt2img(200)
		left("3")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		before := b.config
		b = sdBench(t, func(c *Config) { change(c); c.Journal, c.Images = before.Journal, before.Images })
		b.base.run = func(context.Context, sdxl.Request) error { ran++; return nil }
		left("3")
		txt2img(200)
		left("1")
		// One image is left of the two: none is computed, and that one stays.
		limited(t, txt2img(429), 5, "1 of 5 are left, the request is for 2")
		limited(t, b.ask("POST", "/v1/images/generations", `{"prompt":"a","n":2}`, anna...), 5, "1 of 5 are left, the request is for 2")
		left("1")
		if ran != 4 {
			t.Errorf("%d images were computed, want 4", ran)
		}
	})
}

// A request of OpenAI's for more jobs at once than its user may have is refused as such: there is no use in coming
// again.
func TestMoreAtOnceThanMay(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, Jobs: 2})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	w := b.ask("POST", "/v1/images/generations", `{"prompt":"a","n":3}`, m.bearer("anna")...)
	const want = `{"error":{"message":"n: Input should be less than or equal to 2, your jobs at once, got 3","type":"invalid_request_error","param":"n","code":"invalid_value"}}`
	if w.Code != 400 || w.Body.String() != want || w.Header().Get("Retry-After") != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	generated(t, b.ask("POST", "/v1/images/generations", `{"prompt":"a","n":2}`, m.bearer("anna")...))
}

// Images that are enlarged count as those that are generated, and wait in the same queue.
func TestUpscaledImagesCount(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, ImagesPerDay: 3})
	b := upscaleBench(t, func(c *Config) { c.Tokens = m.path })
	photo := inBase64(colouredPNG(t, 8, 8, 1))
	job := `{"task":"upscale","upscaler":"nearest","image":"` + photo + `"}`
	two := `{"imageList":[{"data":"` + photo + `"},{"data":"` + photo + `"}],"upscaler_1":"x3"}`
	for i, c := range []struct {
		path, body string
		status     int
	}{
		{"/v1/jobs", job, 202}, {"/sdapi/v1/extra-batch-images", two, 200}, {"/v1/jobs", job, 429}, {"/sdapi/v1/extra-batch-images", two, 429},
		{"/sdapi/v1/extra-single-image", `{"image":"` + photo + `","upscaler_1":"Lanczos"}`, 200}, // which is no job
	} {
		if w := b.ask("POST", c.path, c.body, m.bearer("anna")...); w.Code != c.status {
			t.Errorf("%d: %s: %d %.300s, want %d", i, c.path, w.Code, w.Body, c.status)
		}
	}
	b = upscaleBench(t, func(c *Config) { c.Queue = 0 })
	end := b.occupy(t)
	before := b.imageCount(t)
	for path, body := range map[string]string{"/v1/jobs": job, "/sdapi/v1/extra-batch-images": two} {
		if w := b.do("POST", path, body); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %.300s beside a queue that is full", path, w.Code, w.Body)
		}
	}
	if n := b.imageCount(t); n != before {
		t.Errorf("%d images, want %d", n, before)
	}
	end()
}
