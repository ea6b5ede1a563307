package server

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"net/http"
	"strconv"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
)

var preprocessDocs = []fieldDoc{
	{"image", "The id of an image, or a PNG, JPEG or WebP in base64, alone or in a data URL."},
	{"preprocessor", "A name of control_preprocessors of GET /v1/options, with numbers after colons or not, as canny:100:200. Absent, or none, the image is resized alone."},
	{"width", "Pixels. Absent, it is the image's own."},
	{"height", "Pixels. Absent, it is the image's own."},
}

// preprocessing is what a body of POST /v1/preprocess asks for.
type preprocessing struct {
	inputs       *inputs
	preprocessor string
	size         sdxl.Size
}

// preprocessing reads the body of POST /v1/preprocess.
func (s *Server) preprocessing(x *exchange, f *fields) (p preprocessing, err error) {
	p.inputs = s.inputs(x)
	img := p.inputs.required(f, "image", "image")
	p.preprocessor = f.preprocessor("preprocessor")
	pixels := s.maxPixels(s.costs.of(s.config.allModels()[0].Name))
	side := limits{1, uint64(longestSide(pixels)), 0}
	p.size = sdxl.Size{Height: int(f.integer("height", side, 0)), Width: int(f.integer("width", side, 0))}
	if err := cmp.Or(p.inputs.err, f.err()); err != nil || img == nil {
		return p, err
	}
	own := img.Bounds().Size()
	p.size = sdxl.Size{Height: cmp.Or(p.size.Height, own.Y), Width: cmp.Or(p.size.Width, own.X)}
	if n := p.size.Width * p.size.Height; n > pixels {
		name := "image"
		switch {
		case f.given("width") != nil:
			name = "width"
		case f.given("height") != nil:
			name = "height"
		}
		f.report(name, "value_error", fmt.Sprintf("Value error, %d×%d is %d pixels: must be at most %d", p.size.Width, p.size.Height, n, pixels),
			map[string]any{"max_pixels": pixels})
	}
	return p, f.err()
}

// preprocess answers POST /v1/preprocess: the control image that a ControlNet of that size gets of an image. Nothing is
// kept.
func (s *Server) preprocess(x *exchange) error {
	f, _, err := s.readLargeFields(x)
	if err != nil {
		return err
	}
	p, err := s.preprocessing(x, f)
	if err != nil {
		return err
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	data, err := s.controlImage(x.r.Context(), p)
	if err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Type", string(blob.PNG))
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("X-Content-Type-Options", "nosniff")
	x.WriteHeader(http.StatusOK)
	if _, err := x.Write(data); err != nil {
		x.err = err // the client is gone; nothing is left to answer
	}
	return nil
}

// controlImage makes the PNG. Its errors are those of an image that is not there any more, and the cause of ctx's end.
func (s *Server) controlImage(ctx context.Context, p preprocessing) ([]byte, error) {
	done, err := s.mayDecode(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var img *image.NRGBA
	if list := p.inputs.uploads; len(list) > 0 {
		img, _, err = imagefile.Decode(list[0].upload, sdxl.MaxSide)
	} else {
		img, err = s.store.decode(p.inputs.ids["image"])
	}
	if err == nil {
		img, err = sdxl.ControlImage(img, p.preprocessor, p.size)
	}
	if err != nil {
		return nil, err
	}
	return imagefile.Encode(img, nil)
}
