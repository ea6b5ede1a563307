package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

func (s *Server) generate(x *exchange) error {
	if err := s.ready(); err != nil {
		return err
	}
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	var r sdxl.Request
	var warning string
	err = s.withEngine(func(engine Engine) (err error) {
		if r, warning, err = s.generateRequest(f, engine.Info()); err != nil {
			return err
		}
		if err := s.check(engine, r); err != nil {
			if engine.Lost() != nil { // it says nothing about the request
				return &failure{kind: deviceLost, err: err}
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.draw(x, func(w *worker) (work, error) {
		return work{compute: w.engine.Generate, request: r, warning: warning}, nil
	})
}

func (s *Server) refine(x *exchange) error {
	if err := s.ready(); err != nil {
		return err
	}
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	source, r, err := s.refineRequest(f)
	if err != nil {
		return err
	}
	if s.config.LoadRefiner == nil {
		return &failure{kind: noRefiner}
	}
	if _, err := s.store.find(source); err != nil {
		return err
	}
	return s.draw(x, func(w *worker) (work, error) {
		refiner, err := s.openRefiner(w)
		if err != nil {
			return work{}, err
		}
		if r.Image, err = s.store.load(source); err != nil {
			return work{}, err
		}
		r.Width, r.Height = r.Image.Bounds().Dx(), r.Image.Bounds().Dy()
		info := refiner.Info()
		f.fill(&r, info)
		s.limitSize(f, &r)
		if err := f.err(); err != nil {
			return work{}, err
		}
		warning := s.limitSteps(f, &r, info, []sdxl.Cost{refiner.Cost()})
		if err := f.err(); err != nil {
			return work{}, err
		}
		if err := s.check(refiner, r); err != nil {
			return work{}, err
		}
		return work{compute: refiner.Generate, request: r, source: source, warning: warning}, nil
	})
}

// work is an image to compute, its request checked.
type work struct {
	compute func(context.Context, sdxl.Request) (*sdxl.Result, error) // a method of an engine
	request sdxl.Request
	source  string // id of the image that it is made from, "" if there is none
	warning string // what the client is to be told of the request, "" if nothing
}

// bytes is about the most that the PNG can take: three bytes a pixel, and the texts of the longest request.
func (w *work) bytes() int64 {
	return 3*int64(w.request.Width)*int64(w.request.Height) + 2*maxBody
}

// draw waits for a worker, has prepare say what is to be computed, computes it, and answers with the image's id when the
// image is on disk. Nothing is computed before there is a file for it. The worker is free as soon as the image is
// computed: the PNG is made, written and answered beside the next computation.
func (s *Server) draw(x *exchange, prepare func(*worker) (work, error)) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	s.drawing.Add(1)
	defer s.drawing.Add(-1)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopped, func() { cancel(context.Cause(s.stopped)) })()

	began := time.Now()
	index, err := s.queue.acquire(ctx)
	x.spent.wait = time.Since(began)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx, s.workers[index], id, prepare, &x.spent)
	if err != nil {
		return err
	}
	defer s.encoders.release()
	defer c.file.discard()
	data, err := s.encode(c.result, c.work)
	if err != nil {
		return err
	}
	x.id = id
	if err := c.file.commit(data); err != nil {
		return err
	}
	x.spent.encode = time.Since(c.done)
	if c.warning != "" {
		c.result.Warnings = append([]string{c.warning}, c.result.Warnings...)
	}
	warnings := distinct(c.result.Warnings)
	x.warned = len(warnings)
	s.config.Log.Debug("image", slog.String("id", id), slog.Any("warnings", warnings))
	return x.reply(http.StatusOK, struct {
		ID       string   `json:"id"`
		Warnings []string `json:"warnings,omitempty"`
	}{id, warnings})
}

// computed is an image between the device and the disk: an encoder is held for it, and its file waits.
type computed struct {
	work
	result *sdxl.Result
	done   time.Time // when the device had computed it
	file   *pending
}

// compute computes an image on a worker that the caller acquired, and releases that. After success the caller has an
// encoder to release and a file to commit or discard.
func (s *Server) compute(ctx context.Context, w *worker, id string, prepare func(*worker) (work, error), spent *durations) (c computed, err error) {
	defer s.release(w) // last, while an image that finds no encoder free holds up the device
	began := time.Now()
	limited, stop := s.limitTime(ctx)
	defer stop()
	c.work, err = prepare(w)
	if err := ended(limited, w, err); err != nil {
		return c, err
	}
	if c.file, err = s.store.begin(id, c.bytes()); err != nil {
		return c, err
	}
	kept := false
	defer func() {
		if !kept { // a panic of the engine too
			c.file.discard()
		}
	}()
	c.result, err = c.work.compute(limited, c.request)
	c.done = time.Now()
	spent.compute = c.done.Sub(began)
	if err = ended(limited, w, err); err == nil {
		err = s.encoders.acquire(ctx)
	}
	kept = err == nil
	return c, err
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

// ended is the error of what a worker did within ctx. Once ctx has ended, whatever came of it, nobody would learn the
// id.
func ended(ctx context.Context, w *worker, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && w.engine.Lost() != nil {
		return &failure{kind: deviceFailed, err: err}
	}
	return err
}

// encode makes the PNG of a result.
func (s *Server) encode(result *sdxl.Result, of work) ([]byte, error) {
	if n := len(result.Images); n != 1 {
		return nil, fmt.Errorf("the engine gave %d pictures: must be 1", n)
	}
	img := result.Images[0]
	return imagefile.Encode(img, imagefile.Parameters{Parameters: result.Parameters, Source: of.source, Version: s.config.Version}.Texts())
}

// openRefiner loads a worker's refiner at its first use. Its caller holds the worker, so that no two load at once; a load
// that failed is tried again by the next.
func (s *Server) openRefiner(w *worker) (Engine, error) {
	if w.refiner != nil {
		return w.refiner, nil
	}
	refiner, err := s.config.LoadRefiner(w.engine)
	if err != nil {
		return nil, fmt.Errorf("loading the refiner: %w", err)
	}
	info := refiner.Info()
	s.config.Log.Info("refiner loaded", w.attrs(slog.String("model", info.Path), slog.Int64("parameters", info.Parameters))...)
	w.mu.Lock()
	w.refiner = refiner
	w.mu.Unlock()
	return refiner, nil
}
