package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 10 * time.Second // for a request's header to arrive
	idleTimeout   = 2 * time.Minute  // between the requests of a connection
	maxHeader     = 32 << 10         // bytes
	drainAnswer   = 2 * time.Second  // for pace bytes of an answer while the server drains
	idleCheck     = 5 * time.Second  // between looks at the devices that compute nothing
	stopGrace     = 15 * time.Second // for a request to notice that its computation was stopped
)

// Load opens the model on every device. Until one has it, the server answers 503 to what needs it. Run calls it; only who uses the
// handler alone does.
func (s *Server) Load() error { return s.pool.Load() }

// Run listens at once, loads the model, and serves until ctx is done. Then it takes no more work, finishes what is
// queued within Config.Drain, and closes the models. It fails if the model can't be loaded, or if work was cut off, by
// that limit or by [Server.Stop]. It waits for no client: connections without a complete request end at once, downloads
// that nobody reads soon, and downloads that go on at the limit, without an error. It closes the listener. A server
// runs once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	conns := s.listener(l)
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		// For a request that net/http answers itself, as one with an unknown Expect: it waits for the body then.
		// Others begin a time of their own for that.
		ReadTimeout:    headerTimeout + s.config.BodyTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		// net/http answers "OPTIONS *" itself else, whatever the Host, and waits for its body.
		DisableGeneralOptionsHandler: true,

		ConnContext: connContext,
		ConnState:   conns.connState,
		ErrorLog:    slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}
	s.loopback.Store(onLoopback(l))
	served, loaded, ended := make(chan error, 1), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		served <- h.Serve(conns)
	}()
	go func() { loaded <- s.Load() }()
	retaining, endRetention := context.WithCancel(ctx)
	defer endRetention()
	retained := make(chan struct{})
	go func() {
		defer close(retained)
		s.retain(retaining)
	}()

	err, stillLoading := s.watch(ctx, served, loaded)
	if err != nil {
		s.Stop()
	}
	s.draining.Store(true)
	s.leave()
	s.queue.Drain()
	conns.drain(drainAnswer)
	limit, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.config.Drain,
		fmt.Errorf("queued work did not end in %v", s.config.Drain))
	defer cancel()
	limit, cut := context.WithCancelCause(limit)
	defer cut(nil)
	defer context.AfterFunc(s.stopped, func() { cut(errStopped) })()

	inTime := h.Shutdown(limit) == nil && s.pool.Wait(limit) == nil && s.waitRemote(limit) == nil
	if err == nil {
		switch {
		case s.stopped.Err() != nil: // by Stop, which may empty the queue before it cuts the limit
			err = errStopped
		case !inTime && s.active.Load() > 0:
			err = context.Cause(limit)
		}
	}
	if !inTime {
		s.Stop()
		conns.finish(time.Now().Add(drainAnswer))
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if h.Shutdown(grace) != nil { // the models are in use: leave them to the end of the process
			return errors.Join(err, fmt.Errorf("a computation did not stop in %v", stopGrace), h.Close())
		}
	}
	<-ended
	endRetention()
	<-retained
	if stillLoading {
		select {
		case lerr := <-loaded:
			err = errors.Join(err, lerr)
		case <-limit.Done(): // Load closes the model itself
			err = errors.Join(err, errors.New("the model was still being loaded"))
		}
	}
	return errors.Join(err, s.Close())
}

// watch waits until something ends the service: ctx, or an error.
func (s *Server) watch(ctx context.Context, served, loaded <-chan error) (err error, stillLoading bool) {
	stillLoading = true
	idle := time.NewTicker(idleCheck)
	defer idle.Stop()
	for {
		select {
		case <-idle.C: // a device that fails while nobody asks is not left so until somebody does
			s.pool.Check()
		case err := <-loaded:
			if err != nil {
				return err, false
			}
			loaded, stillLoading = nil, false
		case err := <-served:
			return err, stillLoading
		case <-s.stopped.Done():
			return errStopped, stillLoading
		case <-ctx.Done():
			s.config.Log.Info("draining", slog.Duration("limit", s.config.Drain))
			return nil, stillLoading
		}
	}
}

// Stop ends every computation now; clients that wait for one, or in the queue, are answered 503. Other jobs are computed
// by the next server. Run returns soon after.
func (s *Server) Stop() {
	s.leave()
	s.stop(errStopped)
	s.queue.Close()
}

// Close frees the models and lets the journal and the folder of images go. No request may be under way. Run calls it;
// only who uses the handler alone does.
func (s *Server) Close() error {
	s.Stop()
	s.closing.Do(func() {
		err := s.pool.Close()
		s.loads.Wait() // which the end of the queue has ended
		s.closed = errors.Join(err, s.closeRemote(), s.journal.Close(), s.store.Close())
	})
	return s.closed
}
