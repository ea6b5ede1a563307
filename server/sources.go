package server

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// sources are the images that requests under way begin with. A request finds such an image first, and its job is in the
// journal later: what the journal does not know yet must not be taken for what nobody needs.
type sources struct {
	mu   sync.Mutex
	held map[string]*sourceHold
}

// sourceHold is of one image.
type sourceHold struct {
	requests int
	unwanted bool // somebody would have removed it meanwhile
}

// hold keeps an image, if it is there, until the request is answered. Whether it is there is to be asked after that.
func (s *Server) hold(x *exchange, id string) {
	of := &s.sources
	of.mu.Lock()
	defer of.mu.Unlock()
	h := of.held[id]
	if h == nil {
		h = &sourceHold{}
		if of.held == nil {
			of.held = map[string]*sourceHold{}
		}
		of.held[id] = h
	}
	h.requests++
	x.held = append(x.held, id)
}

// letGo ends what hold began for a request, and removes what somebody else wanted to remove meanwhile, unless the
// request's job has it.
func (s *Server) letGo(x *exchange) {
	var unwanted []string
	of := &s.sources
	of.mu.Lock()
	for _, id := range x.held {
		h := of.held[id]
		if h.requests--; h.requests > 0 {
			continue
		}
		delete(of.held, id)
		if h.unwanted {
			unwanted = append(unwanted, id)
		}
	}
	of.mu.Unlock()
	x.held = nil
	if err := s.removeUnused(unwanted); err != nil {
		s.config.Log.Error("images that no job has can't be removed", slog.String("error", err.Error()))
	}
}

// sourceSize is the size of an image that a request begins with, which is kept until the request is answered. Its errors
// are those of an image that is not there for who asks.
func (s *Server) sourceSize(x *exchange, id string) (sdxl.Size, error) {
	if err := s.checkImageOwner(x, id); err != nil {
		return sdxl.Size{}, err
	}
	s.hold(x, id)
	return s.store.size(id)
}

// keep reports whether an image is held, and remembers that it is unwanted. It needs mu.
func (s *sources) keep(id string) bool {
	h := s.held[id]
	if h != nil {
		h.unwanted = true
	}
	return h != nil
}

// ofJob reports whether an image goes with the last job that has it: it came with the request of a job or was made by
// one, and was not uploaded by itself.
func (s *Server) ofJob(id string) (bool, error) {
	of, known, err := s.journal.JobOfBlob(id)
	if err != nil || !known {
		return false, err
	}
	j, err := s.journal.Get(of)
	if err != nil {
		return false, nil // removed meanwhile, or damaged: the image stays for as long as an upload
	}
	same := func(b job.Blob) bool { return b.ID == id }
	return slices.ContainsFunc(j.Outputs, same) || slices.ContainsFunc(j.Inputs, func(b job.Blob) bool { return same(b) && b.OfJob }), nil
}
