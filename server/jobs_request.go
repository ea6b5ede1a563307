package server

import (
	"cmp"
	"encoding/json"
	"math/big"
	"strconv"

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
	unread   string      // a warning of fields without an effect; "" is none
	priority int
}

// tasks that a job can have.
const ensemble = "ensemble"

var tasks = []string{string(sdxl.TextToImage), string(sdxl.ImageToImage), string(sdxl.Inpaint), ensemble, string(sdxl.Upscale)}

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
		switch of := f.imageTask(); {
		case of == sdxl.TextToImage && f.boolean("refiner", false):
			task = ensemble
		default:
			task = string(of)
		}
	}
	if task == string(sdxl.Upscale) {
		return s.upscaleJob(x, f)
	}
	n := int(f.integer("n", limits{1, uint64(s.config.MaxBatch), 0}, 0))
	priority := f.priority("priority")
	t := worker.Task{PreviewEvery: int(f.integer("preview_every", limits{0, MostSteps, 0}, 0))}
	f.output(&t)
	switch of := sdxl.Task(task); task {
	case ensemble, string(sdxl.TextToImage):
		f.set("refiner", json.RawMessage(strconv.FormatBool(task == ensemble)))
		if task == ensemble {
			of = f.imageTask()
		}
		r, err = s.generateJob(x, f, of)
	default:
		r, err = s.imageJob(x, f, of)
	}
	r.priority = priority
	r.task.PreviewEvery, r.task.Format, r.task.Quality = t.PreviewEvery, t.Format, t.Quality
	r.task.Job.Request.ImagesPerPrompt = n
	return r, err
}

// output reads the form of a job's files.
func (f *fields) output(t *worker.Task) {
	t.Format = formats[f.choice("output_format", outputFormats)]
	t.Quality = int(f.integer("output_quality", limits{1, 100, 0}, 0))
}

// imageJob reads a job that begins with an image, on the refiner or the base.
func (s *Server) imageJob(x *exchange, f *fields, task sdxl.Task) (jobRequest, error) {
	f.notes.form("refiner", &jsonschema.Schema{Type: "boolean"})
	m, _, _ := s.lookUpModel(f, true)
	if f.given("refiner") == nil { // as /refine has it, where there is one, unless what is made for a base is asked for
		f.set("refiner", json.RawMessage(strconv.FormatBool(m.Specs.Refiner != nil && task != sdxl.Inpaint && !f.steered())))
	}
	in := s.inputs(x)
	var start sdxl.Request
	if f.startImage(&start, in, task); in.err != nil {
		return jobRequest{}, in.err
	}
	s.sides(f, m, &start)
	j := s.imageToImage(f, in, start)
	return in.request(j), cmp.Or(in.err, s.modelIsThere(j, f))
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
