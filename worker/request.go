package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
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
	// Job is without callbacks and taps. Its request's image is an [sdxl.Blank] with the size of Source.
	Job    engine.Job
	Source string // id of the image that image-to-image begins with, "" for none

	Outputs []string  // ids of the images, one for each of the batch
	Format  blob.Type // of the images; "" is PNG
	Quality int       // of JPEG and WebP, 1 to 100; 0 is DefaultQuality
	// PreviewEvery is the number of steps between previews, 0 for none.
	PreviewEvery int
	// Embeddings are what Shared.Hashes gives of those that prompts may name, for who has others; nil is not compared.
	Embeddings map[string]string
}

// Shared is what every request has of its server's own. A job's Request does not hold it: it is added where that is
// decoded.
type Shared struct {
	LoRADir           string // folder of adapters; requests name files in it
	TextualInversions []sdxl.TextualInversion
}

// stored is the JSON of a Task.
type stored struct {
	Name         string          `json:"name,omitzero"` // of the server's models
	Model        engine.Model    `json:"model"`
	DenoisingEnd float64         `json:"denoising_end,omitzero"`
	Request      json.RawMessage `json:"request"` // the fields that are not zero, by their names in sdxl.Request
	LoRAs        []adapter       `json:"loras,omitzero"`
	Source       string          `json:"source,omitzero"`
	SourceSize   sdxl.Size       `json:"source_size,omitzero"`
	Outputs      []string        `json:"outputs"`
	Format       blob.Type       `json:"format,omitzero"`
	Quality      int             `json:"quality,omitzero"`
	PreviewEvery int             `json:"preview_every,omitzero"`

	Embeddings map[string]string `json:"embeddings,omitzero"`
}

// adapter is an sdxl.LoRA whose file is named within Shared.LoRADir.
type adapter struct {
	File      string         `json:"file"` // with slashes
	Strengths lora.Strengths `json:"strengths"`
}

// apart are the fields of sdxl.Request that stored has in another form, or that Shared has.
var apart = []string{"Image", "LoRAs", "LoRADir", "TextualInversions"}

// local are the fields of sdxl.Request that mean something in one process alone.
var local = []string{
	"Progress", "OnStep", "Stop", "Preview", "OnComputed", "Taps",
	"IPAdapters", "Controls", "T2IAdapters", "Mask", "Hires", // images and files beside Source, which Task has no ids for
}

// Encode writes a task as JSON. It fails for what another process can't be given: callbacks, taps, an image whose
// pixels no store has, an adapter outside of the folder.
func (t Task) Encode(s Shared) (json.RawMessage, error) {
	r := t.Job.Request
	out := stored{
		Name: t.Job.Name, Model: t.Job.Model, DenoisingEnd: t.Job.DenoisingEnd,
		Source: t.Source, Outputs: t.Outputs, Format: t.Format, Quality: t.Quality, PreviewEvery: t.PreviewEvery, Embeddings: t.Embeddings,
	}
	blank, isBlank := r.Image.(sdxl.Blank)
	switch {
	case r.Image != nil && !isBlank:
		return nil, fmt.Errorf("worker: the request's image is a %T: must be an sdxl.Blank, with the id of the image in Source", r.Image)
	case (r.Image != nil) != (t.Source != ""):
		return nil, fmt.Errorf("worker: Source is %q and the request's image %v: must both be given or none", t.Source, r.Image)
	}
	out.SourceSize = blank.Size
	for _, l := range r.LoRAs {
		file, err := filepath.Rel(s.LoRADir, l.Path)
		if err != nil || s.LoRADir == "" || !filepath.IsLocal(file) {
			return nil, fmt.Errorf("worker: the adapter %s: must be a file in the folder of adapters", l.Path)
		}
		out.LoRAs = append(out.LoRAs, adapter{filepath.ToSlash(file), l.Strengths})
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
	var err error
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
		Source: in.Source, Outputs: in.Outputs, Format: in.Format, Quality: in.Quality, PreviewEvery: in.PreviewEvery, Embeddings: in.Embeddings,
		Job: engine.Job{Name: in.Name, Model: in.Model, DenoisingEnd: in.DenoisingEnd},
	}
	r := &t.Job.Request
	if err := decodeStrictly(in.Request, r); err != nil {
		return t, fmt.Errorf("worker: a job's request: %w", err)
	}
	if in.Source != "" {
		r.Image = sdxl.Blank{Size: in.SourceSize}
	}
	r.LoRADir, r.TextualInversions = s.LoRADir, s.TextualInversions
	for _, l := range in.LoRAs {
		if s.LoRADir == "" || !filepath.IsLocal(filepath.FromSlash(l.File)) {
			return t, &sdxl.RequestError{Field: "loras", Value: l.File, Allowed: "a file in the server's folder of adapters"}
		}
		r.LoRAs = append(r.LoRAs, sdxl.LoRA{Path: filepath.Join(s.LoRADir, filepath.FromSlash(l.File)), Strengths: l.Strengths})
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
