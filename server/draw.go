package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/goxl/goxl/internal/picture"
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
	err = s.withEngine(func(engine Engine) (err error) {
		if r, err = s.generateRequest(f, engine.Info()); err != nil {
			return err
		}
		if err := engine.Check(r, false); err != nil {
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
	return s.draw(x, func(ctx context.Context, w *worker) ([]byte, error) {
		result, err := w.engine.Generate(ctx, r)
		return s.encode(result, err, r, "", w.engine)
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
	path, err := s.store.find(source)
	if err != nil {
		return err
	}
	return s.draw(x, func(ctx context.Context, w *worker) ([]byte, error) {
		refiner, err := s.openRefiner(w)
		if err != nil {
			return nil, err
		}
		if r.Image, err = s.store.load(path); err != nil {
			return nil, err
		}
		f.fill(&r, refiner.Info())
		if err := refiner.Check(r, true); err != nil {
			return nil, err
		}
		result, err := refiner.Refine(ctx, r)
		return s.encode(result, err, r, source, refiner)
	})
}

// draw waits for a worker, computes one PNG, and answers with its id when it is on disk.
func (s *Server) draw(x *exchange, compute func(context.Context, *worker) ([]byte, error)) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopped, func() { cancel(context.Cause(s.stopped)) })()

	index, err := s.queue.enter(ctx)
	if err != nil {
		return err
	}
	w := s.workers[index]
	defer s.leave(w)
	data, err := compute(ctx, w)
	if ctx.Err() != nil { // whatever came of it, nobody would learn the id
		return context.Cause(ctx)
	}
	if err != nil {
		if w.engine.Lost() != nil {
			err = &failure{kind: deviceFailed, err: err}
		}
		return err
	}
	x.id = id
	if err := s.store.write(s.store.path(id), data); err != nil {
		return err
	}
	return x.reply(http.StatusOK, map[string]string{"id": id})
}

// encode makes the PNG of a result.
func (s *Server) encode(result *sdxl.Result, err error, r sdxl.Request, source string, engine Engine) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	for _, w := range result.Warnings {
		s.config.Log.Warn("computing a picture", slog.String("warning", w))
	}
	if n := len(result.Images); n != 1 {
		return nil, fmt.Errorf("the engine gave %d pictures: must be 1", n)
	}
	img := result.Images[0]
	return picture.Encode(img, s.facts(r, img, source, engine.Info()).Texts())
}

// openRefiner loads a worker's refiner at its first use. Its caller has the worker's turn, so that no two load at once; a load that
// failed is tried again by the next.
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
