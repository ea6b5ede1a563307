package server

import (
	"net/http"
	"os"
)

func (s *Server) download(x *exchange) error {
	id := x.r.PathValue("id")
	path, err := s.store.find(id)
	if err != nil {
		return err
	}
	x.id = id
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Type", "image/png")
	h.Set("Content-Disposition", `attachment; filename="`+id+`.png"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(x, x.r, "", info.ModTime(), f)
	return nil
}
