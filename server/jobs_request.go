package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// jobRequest is what a body of POST /v1/jobs asks for.
type jobRequest struct {
	task     worker.Task // not resolved yet
	uploads  []source    // its images; those that came in the body are to be kept
	warning  string      // of a value that was changed; "" is none
	priority int
}

// tasks that a job can have.
const ensemble = "ensemble"

var tasks = []string{string(sdxl.TextToImage), string(sdxl.ImageToImage), ensemble}

// outputFormats are the words of output_format, and formats their media types.
var outputFormats = []string{"png", "jpeg", "webp"}

var formats = map[string]blob.Type{"png": blob.PNG, "jpeg": blob.JPEG, "webp": blob.WebP}

// jobTask reads the body of POST /v1/jobs: every field of /generate and /refine, by the task that it names, or that its
// other fields do.
func (s *Server) jobTask(x *exchange, f *fields) (r jobRequest, err error) {
	f.rename("id", "image")
	f.rename("num_images_per_prompt", "n")
	task := f.choice("task", tasks)
	if task == "" {
		switch {
		case f.given("image") != nil:
			task = string(sdxl.ImageToImage)
		case f.boolean("refiner", false):
			task = ensemble
		default:
			task = string(sdxl.TextToImage)
		}
	}
	n := int(f.integer("n", limits{1, uint64(s.config.MaxBatch), 0}, 0))
	r.priority = f.priority("priority")
	t := &r.task
	t.PreviewEvery = int(f.integer("preview_every", limits{0, MostSteps, 0}, 0))
	t.Format = formats[f.choice("output_format", outputFormats)]
	t.Quality = int(f.integer("output_quality", limits{1, 100, 0}, 0))
	if task != string(sdxl.ImageToImage) {
		f.set("refiner", json.RawMessage(strconv.FormatBool(task == ensemble)))
		t.Job, err = s.generateJob(f)
		t.Job.Request.ImagesPerPrompt = n
		return r, err
	}
	f.notes.form("refiner", &jsonschema.Schema{Type: "boolean"})
	if f.given("refiner") == nil { // as /refine has it, where there is one
		m, _, _ := s.lookUpModel(f, true)
		f.set("refiner", json.RawMessage(strconv.FormatBool(m.Specs.Refiner != nil)))
	}
	from, err := s.readSource(x, f)
	if err != nil {
		return r, err
	}
	t.Job = s.imageToImage(f)
	t.Job.Request.Image, t.Job.Request.ImagesPerPrompt = sdxl.Blank{Size: from.size}, n
	t.Images, r.uploads = map[string]string{"image": from.id}, []source{from}
	return r, s.modelIsThere(t.Job, f)
}

// priority reads a job's priority; 0 where there is none.
func (f *fields) priority(name string) int {
	v, _ := f.wholeNumber(name, big.NewInt(job.MinPriority), job.MaxPriority, 0, new(big.Int))
	if v == nil {
		return 0
	}
	return int(v.Int64())
}

// rename reads a field under another name, unless there is one of that name too.
func (f *fields) rename(from, to string) {
	if raw := f.given(from); raw != nil && f.given(to) == nil {
		f.values[to] = raw
	}
	f.notes.anotherName(from, to)
}

// source is an image that a request has.
type source struct {
	id     string
	size   sdxl.Size
	upload []byte    // of an image that came with the request; nil is one that is there
	format blob.Type // of upload
}

// readSource reads the field image: the id of an image, or an image in base64, alone or in a data URL.
func (s *Server) readSource(x *exchange, f *fields) (from source, err error) {
	f.source = "image"
	ctx := x.r.Context()
	if f.upload != nil {
		from, err = s.uploaded(ctx, f.upload)
		if err != nil && ctx.Err() == nil {
			f.report("image", "value_error", "Value error, must be an image: "+err.Error(), nil)
			return from, nil
		}
		return from, err
	}
	before := len(f.problems)
	text := f.text("image")
	if len(f.problems) > before {
		return from, nil
	}
	if blob.IsID(text) {
		from.id = text
		from.size, err = s.sourceSize(x, text)
		return from, err
	}
	bad := func(why string) (source, error) {
		shown, err := json.Marshal(beginning(text))
		if err != nil {
			return source{}, err
		}
		f.values["image"] = shown // not megabytes of it
		f.report("image", "value_error", "Value error, must be the id of an image, or an image in base64, alone or in a data URL: "+why, nil)
		return source{}, nil
	}
	encoded := text
	if rest, ok := strings.CutPrefix(text, "data:"); ok {
		kind, data, ok := strings.Cut(rest, ",")
		if !ok || !strings.HasSuffix(kind, ";base64") {
			return bad("the data URL has no ;base64,")
		}
		encoded = data
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return bad(err.Error())
	}
	from, err = s.uploaded(ctx, data)
	switch {
	case ctx.Err() != nil:
		return from, context.Cause(ctx)
	case err != nil:
		return bad(err.Error())
	}
	return from, nil
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
