package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// keepImage puts an image of one colour into the API's folder.
func (f *front) keepImage(width, height int, c color.NRGBA) string {
	f.t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.Set(i%width, i/width, c)
	}
	var file bytes.Buffer
	id, err := blob.NewID()
	err = errors.Join(err, png.Encode(&file, img))
	p, berr := f.images.Begin(id, blob.PNG, int64(file.Len()))
	if err = errors.Join(err, berr); err == nil {
		err = p.Commit(file.Bytes())
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// A job with several images goes to the worker that has the files which it names, with the content that they have at the
// server; one that lacks a file, or has another, refuses it. Each image goes to the object store once.
func TestInputsAndFiles(t *testing.T) {
	spec, err := sdxl.ReadSpec("synth:tiny", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]engine.Specs{"tiny": {Base: spec}}
	folders := func(content string, missing string) worker.Shared {
		t.Helper()
		s := worker.Shared{ControlDir: t.TempDir(), IPAdapterDir: t.TempDir(), UpscalerDir: t.TempDir()}
		for _, file := range []string{
			filepath.Join(s.ControlDir, "canny.safetensors"), filepath.Join(s.IPAdapterDir, "ip.safetensors"),
			filepath.Join(s.IPAdapterDir, "image_encoder", "config.json"), filepath.Join(s.UpscalerDir, "x4.pth"),
		} {
			if missing != "" && strings.HasSuffix(file, missing) {
				continue
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	b := newBroker(t)
	f := newFront(t, b)
	f.shared = folders("right", "")
	red, blue := color.NRGBA{200, 0, 0, 255}, color.NRGBA{0, 0, 200, 255}
	one, two := f.keepImage(16, 8, red), f.keepImage(64, 64, blue)
	submit := func() string {
		return f.submit(func(j *job.Job, task *worker.Task) {
			small, large := sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 16}}, sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 64}}
			r := &task.Job.Request
			task.Job.Name, r.Seed = "tiny", new(uint64(3))
			r.Controls = []sdxl.Control{{Path: filepath.Join(f.shared.ControlDir, "canny.safetensors"), Image: small}}
			r.IPAdapters = []sdxl.IPAdapter{{Path: filepath.Join(f.shared.IPAdapterDir, "ip.safetensors"), Images: []image.Image{large}, Mask: small}}
			r.Hires = &sdxl.Hires{Upscaler: filepath.Join(f.shared.UpscalerDir, "x4.pth"), Scale: 1}
			task.Images = map[string]string{"controls[0].image": one, "ip_adapters[0].images[0]": two, "ip_adapters[0].mask": one}
			task.Files = f.shared.Fingerprints(task.Job)
			for _, of := range r.Images() {
				j.Inputs = append(j.Inputs, job.Blob{Role: of.Field, ID: task.Images[of.Field]})
			}
			p, err := spec.Resolve(*r)
			if err == nil {
				j.Parameters, err = json.Marshal(p)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	busy := submit()
	submitted, _, err := f.queue.Job(busy)
	if err != nil {
		t.Fatal(err)
	}
	wrong := []worker.Shared{{}, folders("right", "canny.safetensors"), folders("right", "x4.pth"), folders("right", "config.json"), folders("other", "")}
	for i, says := range []string{
		"controls is canny.safetensors: must be a file in the folder of ControlNets of the server", "it lacks controls canny.safetensors",
		"it lacks hires.upscaler x4.pth", "it lacks ip_adapters ip.safetensors's image encoder", "it has another file of controls canny.safetensors",
	} {
		why := worker.Check(submitted, specs, wrong[i])
		if why == nil || why.Kind != worker.KindOtherModel || why.Message != "The worker can't compute the job: "+says {
			t.Errorf("%v, want %s", why, says)
		}
	}
	var refused, spoiled, right atomic.Int64
	var got atomic.Pointer[sdxl.Request]
	hire := func(s worker.Shared, e *sleeper) {
		t.Helper()
		newHand(t, b, handOptions{name: "worker", shared: s, engine: e, refuse: func(j job.Job) *job.Error {
			why := worker.Check(j, specs, s)
			if why != nil {
				refused.Add(1)
			}
			return why
		}})
	}
	free := make(chan struct{})
	hire(folders("right", ""), &sleeper{count: &right, step: func(j engine.Job) error {
		got.Store(&j.Request)
		<-free
		return nil
	}})
	f.until(busy, "running", func(j job.Job, _ job.Live) bool { return j.State == job.Running && got.Load() != nil })
	for _, s := range wrong {
		hire(s, &sleeper{count: &spoiled})
	}
	id := submit()
	waitFor(t, func() string { return "a worker does not refuse the job" }, func() bool { return refused.Load() == int64(len(wrong)) })
	close(free)
	f.done(busy)
	f.done(id)
	if right.Load() != 2 || spoiled.Load() != 0 {
		t.Errorf("computed %d times by the worker that can, %d times by others", right.Load(), spoiled.Load())
	}
	r := got.Load()
	for _, of := range r.Images() {
		want := red
		if of.Field == "ip_adapters[0].images[0]" {
			want = blue
		}
		if got := of.Image.At(3, 3); got != want {
			t.Errorf("%s: a pixel is %v, want %v", of.Field, got, want)
		}
	}
	if r.Controls[0].Image != r.IPAdapters[0].Mask {
		t.Error("an image of two fields was loaded twice")
	}
	spare := f.submit(func(j *job.Job, _ *worker.Task) { j.Model, j.Inputs = "spare", submitted.Inputs })
	l, err := f.queue.Take(t.Context(), job.Taker{Can: func(j *job.Job) bool { return j.ID == spare }})
	if err != nil {
		t.Fatal(err)
	}
	names, err := f.api.sendInputs(&run{id: "run", job: l.Job(), lease: l})
	if want := []string{object(spare, "run", one), object(spare, "run", two)}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v, want %v", names, err, want)
	}
	l.Fail(stopping(), nil)
	l.Released()
}
