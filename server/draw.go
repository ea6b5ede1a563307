package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

func (s *Server) generate(x *exchange) error {
	f, err := s.readJob(x)
	if err != nil {
		return err
	}
	var w work
	if w.job, err = s.generateJob(f); err != nil {
		return err
	}
	if w.warning, err = s.resolve(f, &w.job); err != nil {
		return err
	}
	return s.answerImage(x, w)
}

func (s *Server) refine(x *exchange) error {
	f, err := s.readJob(x)
	if err != nil {
		return err
	}
	w := work{fields: f}
	if w.source, w.job, err = s.refineJob(f); err != nil {
		return err
	}
	size, err := s.store.size(w.source)
	if err != nil {
		return err
	}
	w.job.Request.Image = sdxl.Blank{Size: size}
	if w.warning, err = s.resolve(f, &w.job); err != nil {
		return err
	}
	return s.answerImage(x, w)
}

// readJob reads the body of a request for an image, if there is a device for it.
func (s *Server) readJob(x *exchange) (*fields, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	return s.readFields(x)
}

// work is an image to compute, its job resolved.
type work struct {
	job     engine.Job
	source  string  // id of the image that image-to-image begins with, "" for none
	fields  *fields // of a job with a source
	warning string  // for the client, of the request, "" if nothing
}

// bytes is about the most that the PNG can take: three bytes a pixel, and the texts of the longest request.
func (w *work) bytes() int64 {
	return 3*int64(w.job.Parameters.Width)*int64(w.job.Parameters.Height) + 2*maxBody
}

// loadSource decodes the image that image-to-image begins with, which the job has the size of until then.
func (s *Server) loadSource(w *work) (err error) {
	size := w.job.Request.Image.Bounds().Size()
	if w.job.Request.Image, err = s.store.load(w.source); err != nil {
		return err
	}
	if w.job.Request.Image.Bounds().Size() == size {
		return nil
	}
	// Another file took its place, or its orientation exchanges width and height.
	warning, err := s.resolve(w.fields, &w.job)
	if warning != "" { // else the one before, of steps that the job has by now, still holds
		w.warning = warning
	}
	return err
}

// answerImage waits for a worker, computes the image, and answers with its id and parameters when the image is on disk.
// Nothing is computed before there is a file for it. The worker is free as soon as its device has done its part: what
// the host still does for the image, the way of its pixels from another process, and the PNG, its file and the answer are
// beside the next computation.
func (s *Server) answerImage(x *exchange, task work) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopped, func() { cancel(context.Cause(s.stopped)) })()

	began := time.Now()
	index, err := s.queue.acquire(ctx)
	x.spent.wait = time.Since(began)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx, s.workers[index], id, task, &x.spent)
	if err != nil {
		return err
	}
	if err := s.keep(&c); err != nil {
		return err
	}
	x.id = id
	x.spent.encode = time.Since(c.done)
	if c.warning != "" {
		c.result.Warnings = append([]string{c.warning}, c.result.Warnings...)
	}
	warnings := distinct(c.result.Warnings)
	x.warned, x.preset = len(warnings), c.result.Parameters.PresetNote()
	s.config.Log.Debug("image", slog.String("id", id), slog.Any("warnings", warnings), slog.Any("parameters", c.result.Parameters))
	return x.reply(http.StatusOK, struct {
		ID         string          `json:"id"`
		Warnings   []string        `json:"warnings,omitempty"`
		Parameters sdxl.Parameters `json:"parameters"`
	}{id, warnings, c.result.Parameters})
}

// computed is an image between the device and the disk: an encoder is held for it, and its file waits.
type computed struct {
	work
	result *sdxl.Result
	done   time.Time // when the device had computed it
	file   *pending
}

// compute computes an image on a worker that the caller acquired, and releases that. After success the image is for
// keep, which has an encoder to release and a file to commit or discard.
func (s *Server) compute(ctx context.Context, w *worker, id string, task work, spent *durations) (c computed, err error) {
	// An image that finds no encoder free holds up the device. What is lost after the device was released is for who has
	// it then, or for nobody.
	release := sync.OnceFunc(func() { s.release(w) })
	defer release()
	if err := s.encoders.acquire(ctx); err != nil {
		return c, err
	}
	kept := false
	defer func() {
		if kept { // not after a panic of the engine either
			return
		}
		s.encoders.release()
		if c.file != nil {
			c.file.discard()
		}
	}()
	e, began := w.engine, time.Now()
	limited, stop := s.limitTime(ctx)
	defer stop()
	c.work = task
	if c.source != "" {
		if err := s.loadSource(&c.work); err != nil {
			return c, err
		}
	}
	if c.file, err = s.store.begin(id, c.bytes()); err != nil {
		return c, err
	}
	c.job.Request.OnComputed = release
	c.result, err = e.Generate(limited, c.job)
	err = ofFolder(err, s.config.LoRADir)
	c.job.Request.Image = nil // its pixels are not needed beside the next image's
	c.done = time.Now()
	spent.compute = c.done.Sub(began)
	err = ended(limited, e, err)
	kept = err == nil
	return c, err
}

// keep brings an image to the disk. Then it holds neither an encoder nor pixels and latents, however long its client
// takes for the answer.
func (s *Server) keep(c *computed) error {
	defer s.encoders.release()
	defer c.file.discard()
	data, err := s.encode(c.result, c.work)
	if err != nil {
		return err
	}
	c.result.Images, c.result.Latents = nil, nil
	return c.file.commit(data)
}

// distinct leaves out what was said before: each text encoder says that it cut the prompt.
func distinct(warnings []string) (list []string) {
	for _, w := range warnings {
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// ended is the error of what an engine did within ctx. Once ctx has ended, whatever came of it, nobody would learn the
// id.
func ended(ctx context.Context, e engine.Engine, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && e.Lost() != nil {
		return &failure{kind: deviceFailed, err: err}
	}
	return err
}

// encode makes the PNG of a result.
func (s *Server) encode(result *sdxl.Result, of work) ([]byte, error) {
	if n := len(result.Images); n != 1 {
		return nil, fmt.Errorf("the engine gave %d images: must be 1", n)
	}
	p := imagefile.Parameters{Parameters: result.Parameters, Source: of.source, Version: s.config.Version}
	return imagefile.Encode(result.Images[0], p.Texts())
}
