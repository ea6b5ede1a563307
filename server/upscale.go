package server

import (
	"cmp"
	"fmt"
	"math"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// enlarged is how many times as many pixels as an image that is generated an enlarged one may have: four times a side.
const enlarged = 16

// mostInfotext is how many bytes of what an image says of how it was made are kept by an enlarged one.
const mostInfotext = 64 << 10

// upscaleDocs are the fields of a job that enlarges an image.
var upscaleDocs = []fieldDoc{
	{"upscaler", "Of the task upscale: lanczos, nearest, or a model of the ESRGAN family, by a name of upscalers of GET /v1/options."},
	{"scale", "Of the task upscale: of both sides, in place of width and height, which may be any up to 8192 there. Absent without those, it is the model's own, or 2."},
	{"tile", "Of the task upscale: pixels a side of the image that the model enlarges at once. Absent or 0, it is the device's own."},
}

// upscaleJob reads a job that enlarges an image, on the device of the model that it names.
func (s *Server) upscaleJob(x *exchange, f *fields) (jobRequest, error) {
	priority := f.priority("priority")
	m, _ := s.chooseModel(f, false)
	f.source = "image"
	in := s.inputs(x)
	j := engine.Job{Name: m.Name, Model: engine.Base, Request: sdxl.Request{Image: in.required(f, "image", "image")}}
	if in.err != nil {
		return jobRequest{}, in.err
	}
	side := limits{1, sdxl.MaxSide, 0}
	j.Upscale = &sdxl.Upscaling{
		Upscaler: s.upscaler(f, "upscaler", sdxl.UpscaleFilters()),
		Scale:    f.number("scale", interval{min: 0, max: sdxl.MaxUpscale, aboveMin: true}, 0),
		Width:    int(f.integer("width", side, 0)), Height: int(f.integer("height", side, 0)),
		Resize: sdxl.Resize(f.choice("resize", names(sdxl.Resizes()))),
		Tile:   int(f.integer("tile", limits{0, sdxl.MaxSide, 0}, 0)),
	}
	f.notes.need("upscaler")
	if f.given("upscaler") == nil {
		f.report("upscaler", "missing", "Field required", nil)
	}
	r := in.request(j)
	r.priority = priority
	f.output(&r.task)
	if err := f.err(); err != nil || f.notes != nil {
		return r, err
	}
	text, err := s.sourceInfotext(r)
	r.task.SourceInfotext = text
	return r, err
}

// sourceInfotext is what the image that a job begins with says of how it was made; "" if that is nothing, or too much.
func (s *Server) sourceInfotext(r jobRequest) (string, error) {
	id := r.task.Images["image"]
	var data []byte
	for _, from := range r.uploads {
		if from.id == id {
			data = from.upload
		}
	}
	if data == nil {
		var err error
		if data, _, err = s.store.Read(id); err != nil {
			return "", err
		}
	}
	texts, err := imagefile.Texts(data)
	if err != nil { // of an image that can be decoded all the same
		return "", nil
	}
	if text, _ := imagefile.InfotextOf(texts); len(text) <= mostInfotext {
		return text, nil
	}
	return "", nil
}

// resolveUpscale is resolve of a job that enlarges an image.
func (s *Server) resolveUpscale(f *fields, j *engine.Job) (err error) {
	if j.Parameters, err = s.specs(j.Name).Resolve(*j); err != nil {
		return s.shared().WithinFolders(err)
	}
	p, costs := j.Parameters, s.costs.of(j.Name)
	if most := s.maxEnlarged(costs); p.Width*p.Height > most {
		f.tooLargeUpscale(j, fmt.Sprintf("the result of %d×%d is %d pixels: must be at most %d", p.Width, p.Height, p.Width*p.Height, most), map[string]any{"max_pixels": most})
	}
	if limit := s.config.RequestTimeout; limit > 0 {
		for _, c := range costs {
			if c.Seconds(*j, 0) > limit.Seconds() {
				f.tooLargeUpscale(j, fmt.Sprintf("%d×%d by this upscaler takes longer than the %v that a request may take here", p.Width, p.Height, limit), nil)
				break
			}
		}
	}
	return f.err()
}

// maxEnlarged is the most pixels of an image that was enlarged.
func (s *Server) maxEnlarged(of []engine.Costs) int {
	return min(sdxl.MaxSide*sdxl.MaxSide, enlarged*min(s.maxPixels(of), math.MaxInt/enlarged))
}

// tooLargeUpscale reports a result by the field that makes it as large as it is.
func (f *fields) tooLargeUpscale(j *engine.Job, msg string, ctx map[string]any) {
	name := cmp.Or(f.source, "image")
	switch u := j.Upscale; {
	case u.Width != 0:
		name = "width"
	case u.Height != 0:
		name = "height"
	case u.Scale != 0:
		name = "scale"
	}
	f.report(name, "value_error", "Value error, "+msg, ctx)
}
