package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job/blob"
)

// A job and its images are there for as long as Config.Keep says, and gone after that; an image that a later job began
// with stays as long as that job.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runOn(t, newPipes(), func(c *Config) { c.Keep = 48 * time.Hour })
		synctest.Wait()
		first := r.finished(t, r.postJob(t, plain).ID)
		time.Sleep(47 * time.Hour)
		second := r.finished(t, r.postJob(t, `{"prompt":"a","image":"`+first.Images[0].ID+`"}`).ID)
		status := func(path string) int { return r.do("GET", path, "").Code }
		if got := status("/v1/jobs/" + first.ID); got != 200 {
			t.Errorf("after 47 hours: %d", got)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if w := r.do("GET", "/v1/jobs/"+first.ID, ""); w.Code != 410 || w.Body.String() != `{"detail":"The job has expired"}` {
			t.Errorf("after 49 hours: %d %s", w.Code, w.Body)
		}
		if a, b := status(first.Images[0].URL), status(second.Images[0].URL); a != 200 || b != 200 {
			t.Errorf("an image that another job has: %d, and that job's: %d", a, b)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if a, b, c := status("/v1/jobs/"+second.ID), status(first.Images[0].URL), status(second.Images[0].URL); a != 410 || b != 404 || c != 404 {
			t.Errorf("after 97 hours: %d, images %d and %d", a, b, c)
		}
		if n := r.imageCount(t); n != 0 {
			t.Errorf("%d files", n)
		}
		r.end()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}

// The oldest jobs go where their images take more than KeepBytes.
func TestKeepBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runOn(t, newPipes(), func(c *Config) { c.KeepBytes = 1 })
		synctest.Wait()
		r.finished(t, r.postJob(t, plain).ID)
		time.Sleep(2 * retentionCheck)
		synctest.Wait()
		if n := r.imageCount(t); n != 0 {
			t.Errorf("%d files", n)
		}
		r.end()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}

// An upload that no job uses goes when its time is over. Images that were there before the journal have that time from
// its first start.
func TestOrphans(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "images")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	earlier, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-1000 * time.Hour)
	file := filepath.Join(folder, earlier+".png")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, old, old)); err != nil {
		t.Fatal(err)
	}
	b := loadedBench(t, func(c *Config) { c.Images, c.Keep = folder, time.Hour })
	b.images = folder
	var data bytes.Buffer
	if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	var uploaded []string
	for range 2 {
		var v imageView
		if err := json.Unmarshal(b.upload("image/png", data.Bytes()).Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		uploaded = append(uploaded, v.ID)
	}
	used := b.finished(t, b.postJob(t, `{"prompt":"a","image":"`+uploaded[0]+`"}`).ID)
	if err := b.removeOrphans(t.Context()); err != nil || b.imageCount(t) != 4 {
		t.Errorf("%v, %d files, want 4", err, b.imageCount(t))
	}
	for _, id := range append(uploaded, used.Images[0].ID) {
		if err := os.Chtimes(b.path(id), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.removeOrphans(t.Context()); err != nil || b.imageCount(t) != 3 {
		t.Errorf("%v, %d files, want 3", err, b.imageCount(t))
	}
	if w := b.do("GET", "/download/"+uploaded[1], ""); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}
