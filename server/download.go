package server

import "net/http"

func (s *Server) download(x *exchange) error {
	id := x.r.PathValue("id")
	f, err := s.store.open(id)
	if err != nil {
		return err
	}
	defer f.Close()
	x.id = id
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Type", "image/png")
	h.Set("Content-Disposition", `attachment; filename="`+id+`.png"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(x, x.r, "", info.ModTime(), f)
	return nil
}
