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
	engine, err := s.ready()
	if err != nil {
		return err
	}
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	r, err := s.generateRequest(f, engine.Info())
	if err != nil {
		return err
	}
	if err := engine.Check(r, false); err != nil {
		return err
	}
	return s.draw(x, func(ctx context.Context) ([]byte, error) {
		result, err := engine.Generate(ctx, r)
		return s.encode(result, err, r, "", engine)
	})
}

func (s *Server) refine(x *exchange) error {
	engine, err := s.ready()
	if err != nil {
		return err
	}
	f, err := s.readFields(x)
	if err != nil {
		return err
	}
	source, r, err := s.refineRequest(f, engine.Info())
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
	return s.draw(x, func(ctx context.Context) ([]byte, error) {
		refiner, err := s.openRefiner(engine)
		if err != nil {
			return nil, err
		}
		if r.Image, err = s.store.load(path); err != nil {
			return nil, err
		}
		if err := refiner.Check(r, true); err != nil {
			return nil, err
		}
		result, err := refiner.Refine(ctx, r)
		return s.encode(result, err, r, source, refiner)
	})
}

// draw waits for its turn, computes one PNG, and answers with its id when it is on disk.
func (s *Server) draw(x *exchange, compute func(context.Context) ([]byte, error)) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopped, func() { cancel(context.Cause(s.stopped)) })()

	leave, err := s.queue.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	data, err := compute(ctx)
	if ctx.Err() != nil { // whatever came of it, nobody would learn the id
		return context.Cause(ctx)
	}
	if err != nil {
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

// openRefiner loads the refiner at its first use. Its caller has the queue's turn, so that no two load at once; a load that failed is
// tried again by the next.
func (s *Server) openRefiner(base Engine) (Engine, error) {
	s.mu.Lock()
	refiner := s.refiner
	s.mu.Unlock()
	if refiner != nil {
		return refiner, nil
	}
	refiner, err := s.config.LoadRefiner(base)
	if err != nil {
		return nil, fmt.Errorf("loading the refiner: %w", err)
	}
	info := refiner.Info()
	s.config.Log.Info("refiner loaded", slog.String("model", info.Path), slog.Int64("parameters", info.Parameters))
	s.mu.Lock()
	s.refiner = refiner
	s.mu.Unlock()
	return refiner, nil
}
