package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"os"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
)

// smallPNG is an image to begin with.
func smallPNG(t *testing.T) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// purged removes a job.
func (b *bench) purged(t *testing.T, id string) {
	t.Helper()
	if w := b.do("DELETE", "/v1/jobs/"+id+"?purge=true", ""); w.Code != 204 {
		t.Errorf("purge: %d %s", w.Code, w.Body)
	}
}

// An image that came inside of a job's request goes with the job, or with the last other one that began with it, and so
// does one that a job made. One that was uploaded stays.
func TestPurgeOfSources(t *testing.T) {
	b := loadedBench(t, nil)
	from := func(image string) jobView {
		t.Helper()
		return b.finished(t, b.postJob(t, `{"prompt":"a","image":"`+image+`"}`).ID)
	}
	there := func(what, id string, want bool) {
		t.Helper()
		if code := b.do("GET", "/download/"+id, "").Code; (code == 200) != want {
			t.Errorf("%s: %d, want it to be there: %v", what, code, want)
		}
	}
	inside := base64.StdEncoding.EncodeToString(smallPNG(t))
	alone := from(inside)
	there("the image of a request", alone.Inputs[0].ID, true)
	b.purged(t, alone.ID)
	there("the image of a request that was purged", alone.Inputs[0].ID, false)

	first := from(inside)
	image := first.Inputs[0].ID
	second := from(image)
	b.purged(t, first.ID)
	there("an image that another job has", image, true)
	third := from(image)
	b.purged(t, second.ID)
	there("an image that a third job has", image, true)
	b.purged(t, third.ID)
	there("an image whose last job was purged", image, false)

	made := b.finished(t, b.postJob(t, plain).ID)
	next := from(made.Images[0].ID)
	b.purged(t, made.ID)
	there("an output that another job has", made.Images[0].ID, true)
	b.purged(t, next.ID)
	there("an output whose last job was purged", made.Images[0].ID, false)

	upload := b.red(t, 64, 64)
	user, again := from(upload), from(upload)
	b.purged(t, user.ID)
	b.purged(t, again.ID)
	there("an upload", upload, true)
	if n := b.imageCount(t); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
}

// What retention finds unused while a request begins with it stays for the request's job, and goes if there is none.
func TestRetentionWhileSubmitting(t *testing.T) {
	for name, body := range map[string]string{
		"/v1/jobs": `{"prompt":"a","image":%q}`, "/refine": `{"prompt":"a","id":%q}`, "/v1/images/edits": `{"prompt":"a","image":%q}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := loadedBench(t, func(c *Config) { c.Keep, c.Queue = time.Hour, 1 })
			upload := b.red(t, 64, 64)
			old := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(b.path(upload), old, old); err != nil {
				t.Fatal(err)
			}
			looks := 0
			b.newID = func() (string, error) { // between the look for the image and the record of the job
				looks++
				if err := b.removeOrphans(t.Context()); err != nil {
					t.Error(err)
				}
				return blob.NewID()
			}
			w := b.do("POST", name, fmt.Sprintf(body, upload))
			if name == "/v1/jobs" {
				if v := b.finished(t, decodeJob(t, w, 202).ID); v.State != job.Done {
					t.Errorf("%+v", v)
				}
			} else if w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if err := b.removeOrphans(t.Context()); err != nil || b.imageCount(t) != 2 {
				t.Errorf("%v, %d files, want 2", err, b.imageCount(t))
			}
			if looks == 0 {
				t.Error("no look was had")
			}
		})
	}
	b := loadedBench(t, func(c *Config) { c.Keep, c.Queue = time.Hour, 1 })
	began, _ := held(b.base)
	running := b.postJob(t, plain)
	<-began
	waits := b.postJob(t, plain)
	upload := b.red(t, 64, 64)
	b.newID = func() (string, error) {
		if err := b.removeUnused([]string{upload}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(b.path(upload)); err != nil {
			t.Errorf("while a request begins with it: %v", err)
		}
		return blob.NewID()
	}
	if w := b.do("POST", "/v1/jobs", fmt.Sprintf(`{"prompt":"a","image":%q}`, upload)); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.do("GET", "/download/"+upload, ""); w.Code != 404 {
		t.Errorf("after the request was refused: %d", w.Code)
	}
	if len(b.sources.held) != 0 {
		t.Errorf("%d images are still held", len(b.sources.held))
	}
	for _, j := range []jobView{running, waits} {
		b.do("DELETE", "/v1/jobs/"+j.ID, "")
	}
}
