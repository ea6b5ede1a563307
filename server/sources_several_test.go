package server

import (
	"encoding/json"
	"errors"
	"image"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// severalInputs is a task of a base with an image, a mask, a control image and image prompts, of which some are the same.
func severalInputs(t *testing.T, b *bench, image_, mask, prompt string) worker.Task {
	t.Helper()
	blank := sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 64}}
	output, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	task := worker.Task{Outputs: []string{output}, Job: engine.Job{Name: b.config.Name, Model: engine.Base, Request: sdxl.Request{
		Prompt: "a", Seed: new(uint64(1)), Image: blank, Mask: blank,
		Controls:   []sdxl.Control{{Path: filepath.Join(b.config.ControlDir, "canny"), Image: blank}},
		IPAdapters: []sdxl.IPAdapter{{Path: filepath.Join(b.config.IPAdapterDir, "ip.bin"), Images: []image.Image{blank, blank}}},
	}}, Images: map[string]string{
		"image": image_, "mask": mask, "controls[0].image": image_, "ip_adapters[0].images[0]": prompt, "ip_adapters[0].images[1]": prompt,
	}}
	if _, err := b.resolve(&fields{}, &task.Job); err != nil {
		t.Fatal(err)
	}
	return task
}

// Images of a job that waits stay, however old they are. Those that came with its request go with it, those that were
// uploaded by themselves do not.
func TestSeveralInputs(t *testing.T) {
	b := loadedBench(t, func(c *Config) {
		c.Keep, c.ControlDir, c.IPAdapterDir = time.Hour, t.TempDir(), t.TempDir()
	})
	var computed []string
	b.base.take = func(j engine.Job) {
		for _, of := range j.Request.Images() {
			if of.Image.Bounds().Dx() == 64 {
				computed = append(computed, of.Field)
			}
		}
	}
	upload := b.red(t, 64, 64)
	inside := []source{{upload: smallPNG(t), format: blob.PNG}, {upload: smallPNG(t), format: blob.PNG}}
	for i := range inside {
		var err error
		if inside[i].id, err = blob.NewID(); err != nil {
			t.Fatal(err)
		}
	}
	end := b.occupy(t)
	x := &exchange{r: httptest.NewRequest("POST", "/", nil), visitor: visitor{all: true}}
	for _, id := range []string{upload, upload, inside[0].id} {
		b.hold(x, id)
	}
	task := severalInputs(t, b, upload, inside[0].id, inside[1].id)
	_, err := b.keep(x, inside)
	j, jerr := b.newJob(task)
	if err = errors.Join(err, jerr); err == nil {
		j, _, err = b.submit(x, j)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.letGo(x)
	if len(b.sources.held) != 0 {
		t.Errorf("%d images are held for ever", len(b.sources.held))
	}
	old := time.Now().Add(-2 * time.Hour)
	all := []string{upload, inside[0].id, inside[1].id}
	for _, id := range all {
		if err := os.Chtimes(b.path(id), old, old); err != nil {
			t.Fatal(err)
		}
	}
	there := func(when string, want ...string) {
		t.Helper()
		for _, id := range all {
			if _, err := os.Stat(b.path(id)); (err == nil) != slices.Contains(want, id) {
				t.Errorf("%s: %d of %v: %v", when, slices.Index(all, id), want, err)
			}
		}
	}
	if err := errors.Join(b.removeOrphans(t.Context()), b.removeUnused(all), b.expire(t.Context())); err != nil {
		t.Error(err)
	}
	there("while the job waits", all...)
	end()
	if v := b.finished(t, j.ID); v.State != job.Done || len(v.Inputs) != 5 {
		t.Errorf("%+v", v)
	}
	if want := []string{"image", "mask", "controls[0].image", "ip_adapters[0].images[0]", "ip_adapters[0].images[1]"}; !slices.Equal(computed, want) {
		t.Errorf("computed with %q, want %q", computed, want)
	}
	there("afterwards", all...)
	b.purged(t, j.ID)
	there("after the job was removed", upload)
}

// What all images have together is limited where a job is resolved, however they came.
func TestSeveralInputsTogether(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.ControlDir, c.IPAdapterDir = t.TempDir(), t.TempDir() })
	task := severalInputs(t, b, "a", "b", "c")
	for _, field := range []string{"mask", "controls[0].image", "ip_adapters[0].images[0]", "ip_adapters[0].images[1]"} {
		if _, err := b.resolveAgain(&task); err != nil {
			t.Fatal(err)
		}
		if err := task.Job.Request.SetImage(field, sdxl.Blank{Size: sdxl.Size{Height: sdxl.MaxSide, Width: sdxl.MaxSide}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.resolveAgain(&task)
	var bad *sdxl.RequestError
	if !errors.As(err, &bad) || bad.Field != "ip_adapters[0].images[1]" || !strings.Contains(bad.Allowed, "at most 268435456") {
		t.Errorf("%v", err)
	}
}

// An image that is gone when its job is computed is named by what it was for.
func TestOneOfSeveralIsGone(t *testing.T) {
	b := loadedBench(t, withModels(t))
	start, control := b.red(t, 64, 64), b.red(t, 64, 64)
	end := b.occupy(t)
	j := b.postJob(t, `{"prompt":"a","image":"`+start+`","controls":[{"model":"union","image":"`+start+`"},{"model":"canny","image":"`+control+`"}]}`)
	if err := os.Remove(b.path(control)); err != nil {
		t.Fatal(err)
	}
	end()
	if v := b.finished(t, j.ID); v.State != job.Failed || v.Error.Kind != worker.KindNoImage || v.Error.Message != "Image not found: controls[1].image" {
		t.Errorf("%+v, %+v", v, v.Error)
	}
}

// An image of a waiting job that another one took the place of is called by its field where it can't be used.
func TestOneOfSeveralIsReplaced(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.MaxPixels, c.ControlDir, c.IPAdapterDir = 128*128, t.TempDir(), t.TempDir() })
	for _, c := range []struct {
		field string
		size  sdxl.Size
		named string
	}{
		{"image", sdxl.Size{Height: 256, Width: 128}, "image"}, {"image", sdxl.Size{Height: 64, Width: 4}, "image"},
		{"ip_adapters[0].images[1]", sdxl.Size{Height: 1, Width: 200}, "ip_adapters[0].images[1]"},
		{"mask", sdxl.Size{Height: 500, Width: 500}, ""}, {"controls[0].image", sdxl.Size{Height: 500, Width: 500}, ""},
	} {
		task := severalInputs(t, b, "a", "b", "c")
		if err := task.Job.Request.SetImage(c.field, sdxl.Blank{Size: c.size}); err != nil {
			t.Fatal(err)
		}
		_, err := b.resolveAgain(&task)
		if c.named == "" {
			if err != nil {
				t.Errorf("%s of %+v: %v", c.field, c.size, err)
			}
			continue
		}
		why := worker.Failure(err)
		if f := jobFailure(why); f.kind != invalid || len(f.problems) != 1 || pathText(f.problems[0].Loc[1:]) != c.named {
			detail, _ := json.Marshal(f.problems)
			t.Errorf("%s of %+v: %v, %s", c.field, c.size, why, detail)
		}
	}
}
