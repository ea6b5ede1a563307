package process

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// local are the fields of a request that do not go to another process, but for what they are called for.
var local = []string{"Progress", "OnStep", "Stop", "Preview", "OnComputed", "Taps", "Embeddings"}

// filler gives values other than zero, each another one.
type filler struct{ n int }

func (f *filler) fill(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	f.n++
	switch v.Kind() {
	case reflect.Struct:
		for field, value := range v.Fields() {
			f.fill(t, value, path+"."+field.Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, v.Elem(), path)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		}
		for i := range v.Len() {
			f.fill(t, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		value := map[string]any{"mid": 0.5, "up": map[string]any{"block_0": []any{0.25, float64(f.n)}}}
		v.Set(reflect.ValueOf(value).Convert(v.Type()))
	case reflect.Interface:
		v.Set(reflect.ValueOf(pattern(image.NewNRGBA(image.Rect(0, 0, 3+f.n%5, 2+f.n%3)), uint8(f.n))))
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(f.n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.n) / 3)
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("%s is a %s: must be of a kind that this test fills", path, v.Type())
	}
}

// tensors have as many values as their shapes say.
func (f *filler) tensors(r *sdxl.Request) {
	for _, x := range []**sdxl.Tensor{
		&r.Latents, &r.ImageLatents, &r.TextualInversions[0].L, &r.TextualInversions[0].G, &r.TextualInversions[1].L, &r.TextualInversions[1].G,
	} {
		f.n++
		*x = &sdxl.Tensor{Shape: []int{1, 2}, Data: []float32{float32(f.n), -0.5}}
	}
}

// pattern draws on an image.
func pattern[I interface {
	image.Image
	Set(x, y int, c color.Color)
}](img I, shade uint8) I {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			img.Set(x, y, color.NRGBA64{uint16(x) << 11, uint16(y) << 11, uint16(shade)<<8 | 0x5a, 0xffff - uint16(x+y)<<9})
		}
	}
	return img
}

// sendJob packs a job, writes it, reads it and puts it together.
func sendJob(t *testing.T, j engine.Job) (engine.Job, int) {
	t.Helper()
	packed, raw, err := pack(j)
	if err != nil {
		t.Fatal(err)
	}
	var pipe bytes.Buffer
	if err := newLink(nil, &pipe).write(call{Do: generate, Job: packed}, raw...); err != nil {
		t.Fatal(err)
	}
	bytes := pipe.Len()
	l := newLink(&pipe, io.Discard)
	var c call
	if err := l.read(&c); err != nil {
		t.Fatal(err)
	}
	got, err := c.Job.unpack(l)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(l.in); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes are left, %v", len(rest), err)
	}
	return got, bytes
}

// Every field of a request arrives, with every image.
func TestEveryField(t *testing.T) {
	var j engine.Job
	f := &filler{}
	for field, value := range reflect.ValueOf(&j.Request).Elem().Fields() {
		if !slices.Contains(local, field.Name) {
			f.fill(t, value, field.Name)
		}
	}
	f.tensors(&j.Request)
	if got, _ := sendJob(t, j); !reflect.DeepEqual(got, j) {
		for field, want := range reflect.ValueOf(j.Request).Fields() {
			if value := reflect.ValueOf(got.Request).FieldByIndex(field.Index); !reflect.DeepEqual(value.Interface(), want.Interface()) {
				t.Errorf("%s: %+v, want %+v", field.Name, value, want)
			}
		}
	}
}

// An image arrives as it was in whichever field, and goes over the pipe once for all that have it.
func TestInputs(t *testing.T) {
	size := image.Rect(0, 0, 64, 48)
	mask, deep := pattern(image.NewGray(size), 1), pattern(image.NewNRGBA64(size), 2)
	grey, alpha := pattern(image.NewGray16(size), 3), pattern(image.NewNRGBA(size), 4)
	j := engine.Job{Request: sdxl.Request{
		Image: alpha, Mask: mask,
		Controls:    []sdxl.Control{{Path: "a", Image: deep}, {Path: "b", Image: alpha}},
		T2IAdapters: []sdxl.T2IAdapter{{Path: "c", Image: grey}},
		IPAdapters:  []sdxl.IPAdapter{{Path: "d"}, {Path: "e", Images: []image.Image{alpha, deep, alpha}, Mask: mask}},
	}}
	got, bytes := sendJob(t, j)
	if !reflect.DeepEqual(got, j) {
		t.Errorf("%+v, want %+v", got.Request.Images(), j.Request.Images())
	}
	if once := 64 * 48 * (1 + 8 + 2 + 4); bytes < once || bytes > once+8<<10 {
		t.Errorf("%d bytes for images of %d", bytes, once)
	}
	for header, want := range map[string]string{
		`{"Do":"generate","Job":{"Request":{"Inputs":{"Fields":[{"Name":"mask","Image":0}]}}}}`:  "process: mask of a request is image 0: must be one of the 0 that were sent",
		`{"Do":"generate","Job":{"Request":{"Inputs":{"Fields":[{"Name":"mask","Image":-1}]}}}}`: "process: mask of a request is image -1: must be one of the 0 that were sent",
		`{"Do":"generate","Job":{"Request":{"Inputs":{"Pixels":[{"Type":"*image.Gray","Bytes":0}],"Fields":[{"Name":"controls[0].image"}]}}}}`: `sdxl: "controls[0].image" is ` +
			"no image of the request: must be a field that Images names",
	} {
		l := newLink(bytesOf(frame(header, "")), io.Discard)
		var c call
		if err := l.read(&c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Job.unpack(l); fmt.Sprint(err) != want {
			t.Errorf("%s: %v, want %s", header, err, want)
		}
	}
}

func bytesOf(text string) io.Reader { return bytes.NewReader([]byte(text)) }

// openTiny opens the tiny model on the CPU.
func openTiny(ctx context.Context) (*engine.Local, error) {
	device, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	host, err := sdxl.NewHost(device, nil)
	if err != nil {
		return nil, err
	}
	base, err := sdxl.Open(ctx, "synth:tiny", sdxl.Options{Host: host})
	if err != nil {
		return nil, err
	}
	return engine.NewLocal(ctx, base, nil)
}

// What is computed from images in another process has the pixels of this one's.
func TestImagesOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	here, err := openTiny(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	for _, err := range []error{
		sdxl.SynthesiseControl(t.Context(), "controlnet", true, kernels.F32, filepath.Join(dir, "control")),
		sdxl.SynthesiseControl(t.Context(), "t2i-adapter", true, kernels.F32, filepath.Join(dir, "t2i")),
		sdxl.SynthesiseIPAdapters(t.Context(), true, kernels.F32, filepath.Join(dir, "ip")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	there, stderr := launch(t, "tiny")
	defer stop(t, there, stderr)
	size := image.Rect(0, 0, 64, 64)
	photo, mask := pattern(image.NewNRGBA(size), 9), image.NewGray(size)
	for i := range mask.Pix[:64*24] {
		mask.Pix[i] = 255
	}
	plain := sdxl.Request{Prompt: "a cat", Seed: new(uint64(3)), Steps: 2, Width: 64, Height: 64}
	var without *sdxl.Result
	for _, c := range []struct {
		name string
		set  func(*sdxl.Request)
	}{
		{"text", func(*sdxl.Request) {}},
		{"mask", func(r *sdxl.Request) { r.Image, r.Mask, r.Strength = photo, mask, 1 }},
		{"control", func(r *sdxl.Request) {
			r.Controls = []sdxl.Control{{Path: filepath.Join(dir, "control"), Image: photo, Scale: new(3.0)}}
		}},
		{"t2i", func(r *sdxl.Request) {
			r.T2IAdapters = []sdxl.T2IAdapter{{Path: filepath.Join(dir, "t2i"), Image: photo, Scale: new(3.0)}}
		}},
		{"ip", func(r *sdxl.Request) {
			r.IPAdapters = []sdxl.IPAdapter{{
				Path: filepath.Join(dir, "ip", "sdxl_models", "ip-adapter_sdxl.safetensors"), Images: []image.Image{photo}, Mask: mask,
				Scales: sdxl.BlockScales{"mid": 1.5, "up": 1.0},
			}}
		}},
		{"hires", func(r *sdxl.Request) { r.Hires = &sdxl.Hires{Scale: 1.5, Steps: 2, Upscaler: "lanczos"} }},
	} {
		r := plain
		c.set(&r)
		var got [2]*sdxl.Result
		for i, e := range []engine.Engine{here, there} {
			var err error
			if got[i], err = e.Generate(t.Context(), engine.Job{Model: engine.Base, Request: r}); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if !reflect.DeepEqual(got[0].Images, got[1].Images) || !reflect.DeepEqual(got[0].Parameters, got[1].Parameters) {
			t.Errorf("%s: another process gives another image, or %+v, want %+v", c.name, got[1].Parameters, got[0].Parameters)
		}
		if without == nil {
			without = got[1]
		} else if reflect.DeepEqual(got[1].Images, without.Images) {
			t.Errorf("%s: the image is the one without", c.name)
		}
	}
}
