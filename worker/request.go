package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/server/engine"
)

// Task is what a job computes, and what becomes of the images. [Task.Encode] writes it as a job's Request, from which
// another process computes the same images.
type Task struct {
	// Job is without callbacks and taps. Each image of its request is an [sdxl.Blank] with the size of what Images names.
	Job    engine.Job
	Images map[string]string // ids of the request's images, by the fields that [sdxl.Request.Images] names

	Outputs []string  // ids of the images, one for each of the batch
	Format  blob.Type // of the images; "" is PNG
	Quality int       // of JPEG and WebP, 1 to 100; 0 is DefaultQuality
	// PreviewEvery is the number of steps between previews, 0 for none.
	PreviewEvery int
	// SourceInfotext is the infotext of an image to enlarge, which the result keeps; "" is none.
	SourceInfotext string
	// Embeddings are what Shared.Hashes gives of those that prompts may name, for who has others; nil is not compared.
	Embeddings map[string]string
	Files      map[string]string // what Shared.Fingerprints gives of the request, likewise
}

// Shared is what every request has of its server's own. A job's Request does not hold it: it is added where that is
// decoded.
type Shared struct {
	LoRADir           string // folder of adapters; requests name files in it, and in the other folders
	ControlDir        string // of ControlNets and T2I-Adapters
	IPAdapterDir      string // of IP-Adapters and their image encoders
	UpscalerDir       string // of upscalers
	TextualInversions []sdxl.TextualInversion
}

// stored is the JSON of a Task.
type stored struct {
	Name         string          `json:"name,omitzero"` // of the server's models
	Model        engine.Model    `json:"model"`
	DenoisingEnd float64         `json:"denoising_end,omitzero"`
	Upscale      *sdxl.Upscaling `json:"upscale,omitzero"` // whose files are named within Shared.UpscalerDir
	Request      json.RawMessage `json:"request"`          // the fields that are not zero, by their names in sdxl.Request
	LoRAs        []adapter       `json:"loras,omitzero"`
	Images       []storedImage   `json:"images,omitzero"`
	Outputs      []string        `json:"outputs"`
	Format       blob.Type       `json:"format,omitzero"`
	Quality      int             `json:"quality,omitzero"`
	PreviewEvery int             `json:"preview_every,omitzero"`

	SourceInfotext string `json:"source_infotext,omitzero"`

	Embeddings map[string]string `json:"embeddings,omitzero"`
	Files      map[string]string `json:"files,omitzero"`

	// Of the image, before there were several: journals have it.
	Source     string    `json:"source,omitzero"`
	SourceSize sdxl.Size `json:"source_size,omitzero"`
}

// adapter is an sdxl.LoRA whose file is named within Shared.LoRADir.
type adapter struct {
	File      string         `json:"file"` // with slashes
	Strengths lora.Strengths `json:"strengths"`
}

// apart are the fields of sdxl.Request that stored has in another form, or that Shared has.
var apart = []string{"Image", "Mask", "LoRAs", "LoRADir", "TextualInversions"}

// local are the fields of sdxl.Request that mean something in one process alone.
var local = []string{"Progress", "OnStep", "Stop", "Preview", "OnComputed", "Taps"}

// Encode writes a task as JSON. It fails for what another process can't be given: callbacks, taps, an image whose
// pixels no store has, a file outside of its folder.
func (t Task) Encode(s Shared) (json.RawMessage, error) {
	r := t.Job.Request
	out := stored{
		Name: t.Job.Name, Model: t.Job.Model, DenoisingEnd: t.Job.DenoisingEnd,
		Outputs: t.Outputs, Format: t.Format, Quality: t.Quality, PreviewEvery: t.PreviewEvery,
		SourceInfotext: t.SourceInfotext, Embeddings: t.Embeddings, Files: t.Files,
	}
	var err error
	if out.Images, err = t.encodeImages(); err != nil {
		return nil, err
	}
	for _, l := range r.LoRAs {
		file, err := s.loras().relative(l.Path)
		if err != nil {
			return nil, err
		}
		out.LoRAs = append(out.LoRAs, adapter{file, l.Strengths})
	}
	if err := s.mapFiles(&r, folder.relative); err != nil {
		return nil, err
	}
	if out.Upscale, err = s.mapUpscalers(t.Job.Upscale, folder.relative); err != nil {
		return nil, err
	}
	given := map[string]any{}
	for field, value := range reflect.ValueOf(r).Fields() {
		switch {
		case value.IsZero() || slices.Contains(apart, field.Name):
		case slices.Contains(local, field.Name):
			return nil, fmt.Errorf("worker: %s of a request is given: must be nil", field.Name)
		default:
			given[field.Name] = value.Interface()
		}
	}
	if out.Request, err = json.Marshal(given); err != nil {
		return nil, fmt.Errorf("worker: a request: %w", err)
	}
	return json.Marshal(out)
}

// Decode reads what Encode wrote and adds what the server has of its own. It refuses fields that it does not know: a
// newer version's request would be computed as something else.
func Decode(data json.RawMessage, s Shared) (t Task, err error) {
	var in stored
	if err := decodeStrictly(data, &in); err != nil {
		return t, fmt.Errorf("worker: a job's request: %w", err)
	}
	t = Task{
		Job:     engine.Job{Name: in.Name, Model: in.Model, DenoisingEnd: in.DenoisingEnd},
		Outputs: in.Outputs, Format: in.Format, Quality: in.Quality, PreviewEvery: in.PreviewEvery,
		SourceInfotext: in.SourceInfotext, Embeddings: in.Embeddings, Files: in.Files,
	}
	r := &t.Job.Request
	if err := decodeStrictly(in.Request, r); err != nil {
		return t, fmt.Errorf("worker: a job's request: %w", err)
	}
	if in.Source != "" {
		in.Images = append(in.Images, storedImage{"image", in.Source, in.SourceSize})
	}
	if err := t.decodeImages(in.Images); err != nil {
		return t, err
	}
	if err := s.mapFiles(r, folder.absolute); err != nil {
		return t, err
	}
	if t.Job.Upscale, err = s.mapUpscalers(in.Upscale, folder.absolute); err != nil {
		return t, err
	}
	r.LoRADir, r.TextualInversions = s.LoRADir, s.TextualInversions
	for _, l := range in.LoRAs {
		path, err := s.loras().absolute(l.File)
		if err != nil {
			return t, err
		}
		r.LoRAs = append(r.LoRAs, sdxl.LoRA{Path: path, Strengths: l.Strengths})
	}
	if len(t.Outputs) == 0 {
		return t, errors.New("worker: a job's request: outputs is empty: must have an id for each image")
	}
	return t, nil
}

func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Outputs are the ids of the images that a job's request asks for.
func Outputs(request json.RawMessage) ([]string, error) {
	var in stored
	if err := decodeStrictly(request, &in); err != nil {
		return nil, fmt.Errorf("worker: a job's request: %w", err)
	}
	return in.Outputs, nil
}
