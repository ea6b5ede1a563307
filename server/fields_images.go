package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// Limits of the images of a request, which are all in memory while it is computed.
const (
	mostInputs      = 64
	mostInputPixels = 4 * sdxl.MaxSide * sdxl.MaxSide
)

// source is an image that a request has.
type source struct {
	id     string
	size   sdxl.Size
	upload []byte    // of an image that came with the request; nil is one that is there
	format blob.Type // of upload
}

// inputs are the images of a request, as its fields are read: each is the id of an image, or an image in base64, alone
// or in a data URL.
type inputs struct {
	s *Server
	x *exchange

	ids     map[string]string // by the fields of the request, as sdxl.Request.Images has them
	uploads []source          // those that came with it
	pixels  int               // of all
	err     error             // not of a field's value: an image that is not there, or the end of the request
}

func (s *Server) inputs(x *exchange) *inputs { return &inputs{s: s, x: x, ids: map[string]string{}} }

// request is that of a job with the images that were read.
func (in *inputs) request(j engine.Job) jobRequest {
	return jobRequest{task: worker.Task{Job: j, Images: in.ids}, uploads: in.uploads}
}

// optional reads an image of a field, which is the one of role in the job's request; nil where there is none, or after a
// report.
func (in *inputs) optional(f *fields, name, role string) image.Image {
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	if f.given(name) == nil {
		return nil
	}
	return in.required(f, name, role)
}

// required is optional of a field that must be there.
func (in *inputs) required(f *fields, name, role string) image.Image {
	before := len(f.problems)
	text := f.text(name)
	if len(f.problems) > before || f.notes != nil || in.err != nil {
		return nil
	}
	from, err := in.read(f, name, role, text)
	switch {
	case err != nil:
		in.err = err
		return nil
	case from.id == "":
		return nil
	}
	in.pixels += from.size.Width * from.size.Height
	if in.ids[role] = from.id; len(in.ids) > mostInputs || in.pixels > mostInputPixels {
		f.report(name, "value_error", fmt.Sprintf("Value error, must be one of at most %d images with %d pixels in all", mostInputs, mostInputPixels), nil)
		return nil
	}
	if from.upload != nil {
		in.uploads = append(in.uploads, from)
	}
	return sdxl.Blank{Size: from.size}
}

// read finds the image of a field, which its text says, or which came beside it. It has no id after a report.
func (in *inputs) read(f *fields, name, role, text string) (from source, err error) {
	if blob.IsID(text) {
		from.id = text
		if from.size, err = in.s.sourceSize(in.x, text); missing(err) && role != "image" {
			err = &failure{kind: noImage, detail: fmt.Sprintf("%s: %s", answers[noImage].detail, role), err: err}
		}
		return from, err
	}
	words := "must be an image: "
	data, beside := f.uploads[name]
	if !beside {
		// Nothing quotes megabytes of it from here on.
		if f.values[name], err = json.Marshal(beginning(text)); err != nil {
			return from, err
		}
		words = "must be the id of an image, or an image in base64, alone or in a data URL: "
		data, err = decodeImage(text)
	}
	if err == nil {
		from, err = in.s.uploaded(in.x.r.Context(), data)
	}
	switch ctx := in.x.r.Context(); {
	case ctx.Err() != nil:
		return source{}, context.Cause(ctx)
	case err != nil:
		f.report(name, "value_error", "Value error, "+words+err.Error(), nil)
		return source{}, nil
	}
	return from, nil
}

// missing reports whether an error is that of an image that is not there for who asks.
func missing(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.kind == noImage || errors.Is(err, blob.ErrNotFound)
}

// decodeImage reads base64, alone or in a data URL, of as many bytes as an upload may have.
func decodeImage(text string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(text, "data:"); ok {
		kind, data, ok := strings.Cut(rest, ",")
		if !ok || !strings.HasSuffix(kind, ";base64") {
			return nil, errors.New("the data URL has no ;base64,")
		}
		text = data
	}
	if n := base64.StdEncoding.DecodedLen(len(text)); n > maxUpload {
		return nil, fmt.Errorf("%d bytes: must be at most %d", n, maxUpload)
	}
	return base64.StdEncoding.DecodeString(text)
}

// uploaded is an image that came with a request. The error is about the image, or the end of ctx.
func (s *Server) uploaded(ctx context.Context, data []byte) (from source, err error) {
	from.upload = data
	if from.id, err = blob.NewID(); err != nil {
		return from, err
	}
	from.format, from.size, err = s.checkImage(ctx, data)
	return from, err
}
