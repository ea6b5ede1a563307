package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/job/blob"
)

const (
	thumbnailSize    = 256 // pixels of the longer side, where a request does not say
	leastThumbnail   = 16
	mostThumbnail    = 1024
	thumbnailQuality = 80 // of JPEG
)

// thumbnail answers GET /download/{id}/thumbnail: a JPEG of the image whose longer side has as many pixels as size
// says, or as the image has if those are fewer. It is computed for each request: an image never changes, so that a
// browser asks once.
func (s *Server) thumbnail(x *exchange) error {
	f := queryFields(x.r)
	size := f.thumbnailSize()
	if err := f.err(); err != nil {
		return err
	}
	id := x.r.PathValue("id")
	if err := s.checkImageOwner(x, id); err != nil {
		return err
	}
	tag, err := s.thumbnailTag(id, size)
	if err != nil {
		return err
	}
	x.id = id
	status, data := http.StatusNotModified, []byte(nil)
	if !matches(x.r.Header.Values("If-None-Match"), tag) {
		if err := x.conn.work(); err != nil {
			return err
		}
		if data, err = s.shrink(x.r.Context(), id, size); err != nil {
			return err
		}
		status = http.StatusOK
		x.Header().Set("Content-Type", string(blob.JPEG))
		x.Header().Set("Content-Length", strconv.Itoa(len(data)))
		x.Header().Set("X-Content-Type-Options", "nosniff")
	}
	h := x.Header()
	h.Set("Etag", tag)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Add("Vary", "Authorization, Cookie") // another user of the same browser may not see the image
	x.WriteHeader(status)
	if _, err := x.Write(data); err != nil {
		x.err = err // the client is gone; nothing is left to answer
	}
	return nil
}

// thumbnailSize reads how many pixels the longer side has.
func (f *fields) thumbnailSize() int {
	return int(f.integer("size", limits{leastThumbnail, mostThumbnail, 0}, thumbnailSize))
}

// thumbnailTag names what a thumbnail shows.
func (s *Server) thumbnailTag(id string, size int) (string, error) {
	f, _, err := s.store.Open(id)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return fmt.Sprintf(`%s-%d"`, strings.TrimSuffix(etag(info.ModTime(), info.Size()), `"`), size), nil
}

// matches reports whether If-None-Match has a tag.
func matches(headers []string, tag string) bool {
	for _, header := range headers {
		for part := range strings.SplitSeq(header, ",") {
			if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// shrink makes the thumbnail of an image. Its errors are those of decode, and the cause of ctx's end.
func (s *Server) shrink(ctx context.Context, id string, size int) ([]byte, error) {
	done, err := s.mayDecode(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	img, err := s.store.decode(id)
	if err != nil {
		return nil, err
	}
	return imagefile.EncodeJPEG(resample.Within(img, size), "", thumbnailQuality)
}
