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
	dir := t.TempDir()
	s := Shared{LoRADir: filepath.Join(dir, "l"), ControlDir: filepath.Join(dir, "c"), IPAdapterDir: filepath.Join(dir, "i"), UpscalerDir: filepath.Join(dir, "u"), TextualInversions: []sdxl.TextualInversion{{Name: "cat", L: &sdxl.Tensor{Shape: []int{1, 1}, Data: []float32{3}}}}}
	n := 0
	blank := sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 48}}
	for field := range reflect.TypeFor[sdxl.Request]().Fields() {
		task := Task{Job: engine.Job{Model: engine.Base}, Outputs: []string{"a"}}
		r := &task.Job.Request
		value := reflect.ValueOf(r).Elem().FieldByIndex(field.Index)
		switch field.Name {
		case "Image":
			r.Image, task.Images = blank, map[string]string{"image": "source"}
		case "Mask":
			r.Mask, task.Images = blank, map[string]string{"mask": "m"}
		case "Controls":
			r.Controls = []sdxl.Control{{}, {Path: filepath.Join(s.ControlDir, "b", "c.safetensors"), Image: blank}}
			fill(reflect.ValueOf(&r.Controls[0]).Elem(), &n)
			r.Controls[0].Path = filepath.Join(s.ControlDir, "a")
			r.Controls[0].Image = blank
			task.Images = map[string]string{"controls[0].image": "c0", "controls[1].image": "c1"}
		case "T2IAdapters":
			r.T2IAdapters = []sdxl.T2IAdapter{{Path: filepath.Join(s.ControlDir, "t"), Image: blank, Scale: new(0.5)}}
			task.Images = map[string]string{"t2i_adapters[0].image": "t"}
		case "IPAdapters":
			r.IPAdapters = []sdxl.IPAdapter{
				{Path: filepath.Join(s.IPAdapterDir, "x.bin"), Encoder: filepath.Join(s.IPAdapterDir, "e"), Images: []image.Image{blank, blank}, Scale: new(0.5)},
				{Path: filepath.Join(s.IPAdapterDir, "y"), Images: []image.Image{blank}, Scales: sdxl.BlockScales{"mid": 0.5}, Mask: blank},
			}
			task.Images = map[string]string{
				"ip_adapters[0].images[0]": "a", "ip_adapters[0].images[1]": "b", "ip_adapters[1].images[0]": "c", "ip_adapters[1].mask": "d",
			}
		case "Hires":
			r.Hires = &sdxl.Hires{}
			fill(reflect.ValueOf(r.Hires).Elem(), &n)
			r.Hires.Upscaler = filepath.Join(s.UpscalerDir, "x4.pth")
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
		Outputs: []string{"a", "b"}, Format: "image/jpeg", Quality: 80, PreviewEvery: 3, SourceInfotext: "a cat",
		Embeddings: map[string]string{"cat": "aa"}, Files: map[string]string{"controls canny": "bb"},
	}
	for field, value := range reflect.ValueOf(task).Fields() {
		if field.Name != "Images" && value.IsZero() {
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
		"must be an sdxl.Blank":                                with(func(t *Task) { t.Job.Request.Image = image.NewGray(image.Rect(0, 0, 1, 1)) }),
		"mask of a request has no id in Images":                with(func(t *Task) { t.Job.Request.Mask = sdxl.Blank{} }),
		"1 ids and the request 0 images":                       with(func(t *Task) { t.Images = map[string]string{"image": "x"} }),
		"must be a file in the folder of ControlNets":          with(func(t *Task) { t.Job.Request.Controls = []sdxl.Control{{Path: "/etc/passwd"}} }),
		"must be a name, or a file in the folder of upscalers": with(func(t *Task) { t.Job.Request.Hires = &sdxl.Hires{Upscaler: "/etc/passwd"} }),
		"upscaler of a request has /etc/passwd":                with(func(t *Task) { t.Job.Upscale = &sdxl.Upscaling{Upscaler: "/etc/passwd"} }),
		"must be a file in the folder of adapters":             with(func(t *Task) { t.Job.Request.LoRAs = []sdxl.LoRA{{Path: "/etc/passwd"}} }),
		"a request: json: unsupported value: NaN":              with(func(t *Task) { t.Job.Request.Guidance = new(math.NaN()) }),
		"OnComputed of a request is given: must be ":           with(func(t *Task) { t.Job.Request.OnComputed = func() {} }),
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
		"upscaler_2":       `{"model":"base","request":{},"outputs":["a"],"upscale":{"Upscaler":"a.pth","Second":"../x"}}`,
		"controls":         `{"model":"base","request":{"Controls":[{"Path":"../x"}]},"outputs":["a"]}`,
		"no image of":      `{"model":"base","request":{},"outputs":["a"],"images":[{"field":"controls[0].image","id":"x","size":[8,8]}]}`,
	} {
		if _, err := Decode(json.RawMessage(data), Shared{LoRADir: "/loras", UpscalerDir: "/upscalers"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", data, err, says)
		}
	}
}

// A job of a journal from before a task had several images is computed as then.
func TestSourceOfBefore(t *testing.T) {
	task, err := Decode(json.RawMessage(`{"model":"base","request":{},"source":"x","source_size":[64,48],"outputs":["a"]}`), Shared{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 48}}); task.Job.Request.Image != want || task.Images["image"] != "x" {
		t.Errorf("%v with %v", task.Job.Request.Image, task.Images)
	}
}

// What is enlarged comes back with its files within the folder of upscalers, and the task keeps its own.
func TestUpscalingComesBack(t *testing.T) {
	s := Shared{UpscalerDir: filepath.Join(t.TempDir(), "u")}
	file := filepath.Join(s.UpscalerDir, "b", "x4.pth")
	u := &sdxl.Upscaling{
		Upscaler: file, Second: "Lanczos", SecondVisibility: 0.5, Width: 99, Height: 88, Resize: sdxl.ResizeFill, Tile: 64, Scale: 1.5,
	}
	task := Task{Job: engine.Job{Model: engine.Base, Upscale: u}, Outputs: []string{"a"}, Images: map[string]string{"image": "source"}}
	task.Job.Request.Image = sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 48}}
	for field, value := range reflect.ValueOf(*u).Fields() {
		if value.IsZero() {
			t.Errorf("%s: the test sets nothing", field.Name)
		}
	}
	data, err := task.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"b/x4.pth"`) || u.Upscaler != file {
		t.Errorf("%s, and the task has %s", data, u.Upscaler)
	}
	task.Job.Request.LoRADir = s.LoRADir
	got, err := Decode(data, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(task, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if key := BatchKey(task); key != "" {
		t.Errorf("its batch key is %q, want none", key)
	}
}
