package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

const (
	maxUpload  = 64 << 20 // bytes of an image
	maxFraming = 64 << 10 // bytes of a multipart body around it
)

// mostDecoded is how many uploads, and images of thumbnails, are decoded at once: each takes some hundred MiB of memory,
// if it is as large as may be.
const mostDecoded = 2

// imageTypes are the types of images by package imagefile's names.
var imageTypes = map[string]blob.Type{"PNG": blob.PNG, "JPEG": blob.JPEG, "WebP": blob.WebP}

// uploadImage answers POST /v1/images: the image is the body, or a field of a multipart body, and is kept as it came.
func (s *Server) uploadImage(x *exchange) error {
	if s.draining.Load() || s.stopped.Err() != nil {
		return &failure{kind: stopping}
	}
	data, err := s.readUpload(x)
	if err != nil {
		return err
	}
	from := source{upload: data}
	if from.id, err = s.newID(); err != nil {
		return err
	}
	from.format, from.size, err = s.checkImage(x.r.Context(), data)
	var known *failure
	switch {
	case err == nil:
	case errors.As(err, &known) || x.r.Context().Err() != nil:
		return err
	default:
		return &failure{kind: invalid, problems: []problem{{
			Type: "value_error", Loc: []any{"body", "image"}, Msg: "Value error, must be an image: " + err.Error(), Input: []byte("null"),
		}}}
	}
	if _, err := s.keep(x, []source{from}); err != nil {
		return err
	}
	if owner := x.owner(); owner != "" {
		if err := s.journal.SetUploader(from.id, owner); err != nil {
			return errors.Join(&failure{kind: journalBroken, err: err}, s.store.Remove(from.id))
		}
	}
	x.id = from.id
	return x.reply(http.StatusCreated, imageView{
		ID: from.id, URL: x.from.prefix + "/download/" + from.id, Width: from.size.Width, Height: from.size.Height, Type: string(from.format),
	})
}

// readUpload reads the image of a request.
func (s *Server) readUpload(x *exchange) ([]byte, error) {
	kind, parameters, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, &failure{kind: badMedia, err: err}
	}
	switch kind {
	case string(blob.PNG), string(blob.JPEG), string(blob.WebP):
		return s.readBody(x, maxUpload)
	case "multipart/form-data":
	default:
		return nil, &failure{kind: badMedia}
	}
	body, err := s.readBody(x, maxUpload+maxFraming)
	if err != nil {
		return nil, err
	}
	parts := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for {
		part, err := parts.NextPart()
		switch {
		case err == io.EOF:
			return nil, &failure{kind: invalid, problems: []problem{{Type: "missing", Loc: []any{"body", "image"}, Msg: "Field required", Input: []byte("null")}}}
		case err != nil:
			return nil, &failure{kind: badBody, err: err}
		case part.FormName() == "image":
			data, err := io.ReadAll(part)
			if err != nil {
				return nil, &failure{kind: badBody, err: err}
			}
			return data, nil
		}
	}
}

// mayDecode waits until an image may be decoded for a client, as many at once as mostDecoded says; done lets another be.
// Its error is the cause of ctx's end.
func (s *Server) mayDecode(ctx context.Context) (done func(), err error) {
	select {
	case s.decoding <- struct{}{}:
		return func() { <-s.decoding }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// checkImage decodes an image to see that it can be, and returns what it is. Its errors are about the image, or the
// cause of ctx's end.
func (s *Server) checkImage(ctx context.Context, data []byte) (t blob.Type, size sdxl.Size, err error) {
	done, err := s.mayDecode(ctx)
	if err != nil {
		return "", size, err
	}
	defer done()
	name, err := imagefile.Format(data)
	if err != nil {
		return "", size, err
	}
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return "", size, err
	}
	b := img.Bounds().Size()
	return imageTypes[name], sdxl.Size{Height: b.Y, Width: b.X}, nil
}

// keep writes the images that came with a request to the disk, whose bytes are not needed any more then, and gives
// their ids: all, or with an error none.
func (s *Server) keep(x *exchange, images []source) (kept []string, err error) {
	for i := range images {
		from := &images[i]
		if from.upload == nil {
			continue
		}
		s.hold(x, from.id)
		x.kept = append(x.kept, from.id)
		f, err := s.store.Begin(from.id, from.format, int64(len(from.upload)))
		if err == nil {
			err = f.Commit(from.upload)
		}
		if err != nil {
			return nil, errors.Join(err, s.store.Remove(kept...))
		}
		kept, from.upload = append(kept, from.id), nil
	}
	return kept, nil
}

// queueView is how many jobs there are that have not ended.
type queueView struct {
	Waiting   int                     `json:"waiting"`
	Computing int                     `json:"computing"`
	Seconds   float64                 `json:"seconds_until_free,omitzero" jsonschema:"An estimate; none where a device is free."`
	Devices   map[string]worker.State `json:"devices"`
}

// queueState answers GET /v1/queue.
func (s *Server) queueState(x *exchange) error {
	stats := s.queue.Stats()
	return x.reply(http.StatusOK, queueView{stats.Waiting, stats.Computing, seconds(stats.Free), s.health()})
}
