package worker

import (
	"encoding/json"
	"image"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/server/engine"
)

// fill gives every part of a value something else than zero, each time another number.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("ä<\x00", *n%3+1))
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1 / float64(*n+2)) // no short decimal
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

// Every field of a request comes back, or is one that can't leave its process, and then a request with it is refused.
func TestEveryFieldComesBack(t *testing.T) {
	s := Shared{LoRADir: t.TempDir(), TextualInversions: []sdxl.TextualInversion{{Name: "cat", L: &sdxl.Tensor{Shape: []int{1, 1}, Data: []float32{3}}}}}
	n := 0
	for field := range reflect.TypeFor[sdxl.Request]().Fields() {
		task := Task{Job: engine.Job{Model: engine.Base}, Outputs: []string{"a"}}
		r := &task.Job.Request
		value := reflect.ValueOf(r).Elem().FieldByIndex(field.Index)
		switch field.Name {
		case "Image":
			task.Source, r.Image = "source", sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 48}}
		case "LoRAs":
			strengths, err := lora.ParseStrengths("0.3:0.7:down=0.1")
			if err != nil {
				t.Fatal(err)
			}
			r.LoRAs = []sdxl.LoRA{{Path: filepath.Join(s.LoRADir, "b", "c.safetensors"), Strengths: strengths}, {Path: filepath.Join(s.LoRADir, "a.pt"), Strengths: lora.Strength(1)}}
		case "LoRADir", "TextualInversions": // of the server
		default:
			switch field.Name {
			case "Preview":
				r.Preview = &sdxl.Preview{}
			case "Stop":
				r.Stop = make(chan struct{})
			case "Mask":
				r.Mask = sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 48}}
			default:
				fill(value, &n)
			}
			if slices.Contains(local, field.Name) {
				if value.Kind() == reflect.Func {
					value.Set(reflect.MakeFunc(value.Type(), nil))
				}
				if _, err := task.Encode(s); err == nil || !strings.Contains(err.Error(), field.Name) {
					t.Errorf("%s: %v", field.Name, err)
				}
				continue
			}
			if value.IsZero() {
				t.Errorf("%s: the test sets nothing", field.Name)
			}
		}
		data, err := task.Encode(s)
		if err != nil {
			t.Errorf("%s: %v", field.Name, err)
			continue
		}
		got, err := Decode(data, s)
		if err != nil {
			t.Errorf("%s: %v", field.Name, err)
			continue
		}
		r.LoRADir, r.TextualInversions = s.LoRADir, s.TextualInversions
		if diff := cmp.Diff(task, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", field.Name, diff)
		}
	}
}

// So does everything of a task but its request.
func TestTaskComesBack(t *testing.T) {
	task := Task{
		Job:     engine.Job{Model: engine.Ensemble, DenoisingEnd: 0.7},
		Outputs: []string{"a", "b"}, Format: "image/jpeg", Quality: 80, PreviewEvery: 3, Embeddings: map[string]string{"cat": "aa"},
	}
	for field, value := range reflect.ValueOf(task).Fields() {
		if field.Name != "Source" && value.IsZero() {
			t.Errorf("%s: the test sets nothing", field.Name)
		}
	}
	data, err := task.Encode(Shared{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data, Shared{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(task, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(data) > 300 {
		t.Errorf("a request that gives nothing takes %d bytes: %s", len(data), data)
	}
}

// A request is not computed as something else than what was asked for.
func TestRefusals(t *testing.T) {
	base := engine.Job{Model: engine.Base}
	with := func(change func(*Task)) Task {
		task := Task{Job: base, Outputs: []string{"a"}}
		change(&task)
		return task
	}
	for says, task := range map[string]Task{
		"must be an sdxl.Blank":                      with(func(t *Task) { t.Job.Request.Image, t.Source = image.NewGray(image.Rect(0, 0, 1, 1)), "x" }),
		"must both be given or none":                 with(func(t *Task) { t.Source = "x" }),
		"must be a file in the folder of adapters":   with(func(t *Task) { t.Job.Request.LoRAs = []sdxl.LoRA{{Path: "/etc/passwd"}} }),
		"a request: json: unsupported value: NaN":    with(func(t *Task) { t.Job.Request.Guidance = new(math.NaN()) }),
		"OnComputed of a request is given: must be ": with(func(t *Task) { t.Job.Request.OnComputed = func() {} }),
	} {
		if _, err := task.Encode(Shared{LoRADir: "/loras"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	for says, data := range map[string]string{
		"unknown field":    `{"model":"base","request":{"Nope":1},"outputs":["a"]}`,
		`field "nope"`:     `{"model":"base","request":{},"nope":1,"outputs":["a"]}`,
		"outputs is empty": `{"model":"base","request":{}}`,
		"EOF":              `{"model":"base"`,
		"loras":            `{"model":"base","request":{},"outputs":["a"],"loras":[{"file":"../x","strengths":{}}]}`,
	} {
		if _, err := Decode(json.RawMessage(data), Shared{LoRADir: "/loras"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", data, err, says)
		}
	}
}
