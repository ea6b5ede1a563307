package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// withModels are folders of files that requests may name, which nobody opens.
func withModels(t *testing.T) func(*Config) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"control/canny.safetensors": "", "control/xl/depth.pth": "", "control/xl/depth.safetensors": "",
		"control/union/config.json": `{"_class_name":"ControlNetUnionModel"}`, "control/union/model.safetensors": "",
		"control/.cache/hidden.safetensors": "", "control/sketch/config.json": `{"_class_name":"T2IAdapter"}`, "control/notes.txt": "",
		"ip/sdxl_models/ip-adapter-plus.safetensors": "", "ip/sdxl_models/image_encoder/config.json": `{"architectures":["CLIPVisionModelWithProjection"]}`,
		"upscale/x4.pth": "", "secret.safetensors": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func(c *Config) {
		c.ControlDir, c.IPAdapterDir, c.UpscalerDir = filepath.Join(dir, "control"), filepath.Join(dir, "ip"), filepath.Join(dir, "upscale")
	}
}

// colouredPNG is an image of one colour.
func colouredPNG(t *testing.T, width, height int, c uint8) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.SetNRGBA(i%width, i/width, color.NRGBA{c, c + 1, c + 2, 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inBase64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// seenImages are the colours and sizes of a request's images.
func seenImages(r *sdxl.Request) map[string][3]int {
	seen := map[string][3]int{}
	for _, of := range r.Images() {
		b := of.Image.Bounds()
		c := color.NRGBAModel.Convert(of.Image.At(b.Min.X, b.Min.Y)).(color.NRGBA)
		seen[of.Field] = [3]int{int(c.R), b.Dx(), b.Dy()}
	}
	return seen
}

// Every image and every number of a body reaches the engine as it was given, and the job lists what it begins with.
func TestImagesOfJobs(t *testing.T) {
	b := loadedBench(t, withModels(t))
	c := &b.config
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	start := decodeUpload(t, b.upload("image/png", colouredPNG(t, 64, 32, 10)))
	style := decodeUpload(t, b.upload("image/png", colouredPNG(t, 40, 50, 20)))
	body := func(parts ...string) string { return `{"prompt":"a",` + strings.Join(parts, ",") + `}` }
	steering := `"controls":[
			{"model":"canny","image":"` + start + `","scale":0.5,"start":0.1,"end":"0.9","preprocessor":"canny:50:150","guess_mode":true},
			{"model":"union","image":"` + inBase64(colouredPNG(t, 16, 24, 30)) + `","mode":"depth"},
			{"model":"xl/depth.pth","image":"` + start + `","mode":7,"preprocessor":"none"}],
		"t2i_adapters":[{"model":"sketch","image":"data:image/png;base64,` + inBase64(colouredPNG(t, 8, 8, 40)) + `","scale":2}],
		"ip_adapters":[
			{"model":"ip-adapter-plus","encoder":"sdxl_models/image_encoder","images":["` + style + `","` + start + `"],"scale":0.25},
			{"model":"sdxl_models/ip-adapter-plus.safetensors","image":"` + style + `","scales":{"up":0.5},"mask":"` + inBase64(colouredPNG(t, 9, 9, 50)) + `"}]`
	steered := sdxl.Request{
		Controls: []sdxl.Control{
			{Path: filepath.Join(c.ControlDir, "canny.safetensors"), Scale: new(0.5), Start: 0.1, End: 0.9, Preprocessor: "canny:50:150", GuessMode: true},
			{Path: filepath.Join(c.ControlDir, "union"), End: 1, Mode: "depth"},
			{Path: filepath.Join(c.ControlDir, "xl", "depth.pth"), End: 1, Mode: "7"},
		},
		T2IAdapters: []sdxl.T2IAdapter{{Path: filepath.Join(c.ControlDir, "sketch"), Scale: new(2.0)}},
		IPAdapters: []sdxl.IPAdapter{
			{Path: filepath.Join(c.IPAdapterDir, "sdxl_models", "ip-adapter-plus.safetensors"), Encoder: filepath.Join(c.IPAdapterDir, "sdxl_models", "image_encoder"), Scale: new(0.25)},
			{Path: filepath.Join(c.IPAdapterDir, "sdxl_models", "ip-adapter-plus.safetensors"), Scales: sdxl.BlockScales{"up": 0.5}},
		},
	}
	steeredImages := map[string][3]int{
		"controls[0].image": {10, 64, 32}, "controls[1].image": {30, 16, 24}, "controls[2].image": {10, 64, 32}, "t2i_adapters[0].image": {40, 8, 8},
		"ip_adapters[0].images[0]": {20, 40, 50}, "ip_adapters[0].images[1]": {10, 64, 32}, "ip_adapters[1].images[0]": {20, 40, 50}, "ip_adapters[1].mask": {50, 9, 9},
	}
	for name, q := range map[string]struct {
		body   string
		task   string
		want   sdxl.Request
		images map[string][3]int
	}{
		"inpainting": {
			body(`"image":"`+start+`"`, `"mask":"`+inBase64(colouredPNG(t, 64, 32, 200))+`"`, `"soft_mask":true,"mask_blur":2.5,"mask_invert":true,"inpaint_fill":"blur"`,
				`"mask_padding":8,"outpaint":[8,0,16,24],"keep_unmasked":false,"strength":0.5,"width":96,"height":64,"resize":"crop"`), "inpaint",
			sdxl.Request{
				SoftMask: true, MaskBlur: 2.5, MaskInvert: true, InpaintFill: sdxl.FillBlur, MaskPadding: new(8), KeepUnmasked: new(false),
				Outpaint: sdxl.Border{Left: 8, Right: 16, Bottom: 24}, Strength: 0.5, Width: 96, Height: 64, Resize: sdxl.ResizeCrop,
			},
			map[string][3]int{"image": {10, 64, 32}, "mask": {200, 64, 32}},
		},
		"outpainting": {
			body(`"image":"`+start+`"`, `"outpaint":{"top":8,"right":"16"},"mask":null,"mask_padding":0`), "inpaint",
			sdxl.Request{Outpaint: sdxl.Border{Top: 8, Right: 16}, MaskPadding: new(0)}, map[string][3]int{"image": {10, 64, 32}},
		},
		"resize": {
			body(`"image":"` + start + `","refiner":false,"width":32,"height":48,"resize":"fill","denoising_start":0.25`), "image-to-image",
			sdxl.Request{Width: 32, Height: 48, Resize: sdxl.ResizeFill, DenoisingStart: 0.25}, map[string][3]int{"image": {10, 64, 32}},
		},
		"hires": {
			body(`"hires":{"scale":1.5,"num_inference_steps":7,"strength":0.6,"upscaler":"Lanczos","prompt":"b","negative_prompt":"","scheduler":"ddim"}`), "text-to-image",
			sdxl.Request{Hires: &sdxl.Hires{Scale: 1.5, Steps: 7, Strength: 0.6, Upscaler: "lanczos", Prompt: "b", NegativePrompt: new(""), Scheduler: "ddim"}}, map[string][3]int{},
		},
		"hires by a file": {
			body(`"hires":{"width":128,"height":"96","upscaler":"x4"}`), "text-to-image",
			sdxl.Request{Hires: &sdxl.Hires{Width: 128, Height: 96, Upscaler: filepath.Join(c.UpscalerDir, "x4.pth")}}, map[string][3]int{},
		},
		"hires by default": {body(`"hires":{}`), "text-to-image", sdxl.Request{Hires: &sdxl.Hires{}}, map[string][3]int{}},
		"steering":         {body(steering), "text-to-image", steered, steeredImages},
		"guidance": {
			body(`"guidance_start":0.1,"guidance_end":"0.75","pag_scale":3,"pag_adaptive_scale":0.5,"pag_applied_layers":["mid","up_blocks.0"],"freeu":{"s1":0.8,"b2":1.25}`), "text-to-image",
			sdxl.Request{
				GuidanceStart: 0.1, GuidanceEnd: 0.75, PAGScale: 3, PAGAdaptiveScale: 0.5, PAGAppliedLayers: []string{"mid", "up_blocks.0"},
				FreeU: &sdxl.FreeU{S1: 0.8, S2: 0.2, B1: 1.3, B2: 1.25},
			}, map[string][3]int{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(t *testing.T) {
				t.Helper()
				r := got.Request
				if diff := cmp.Diff(q.images, seenImages(&r)); diff != "" {
					t.Errorf("images (-want +got):\n%s", diff)
				}
				for i := range r.Controls {
					r.Controls[i].Image = nil
				}
				for i := range r.T2IAdapters {
					r.T2IAdapters[i].Image = nil
				}
				for i := range r.IPAdapters {
					r.IPAdapters[i].Images, r.IPAdapters[i].Mask = nil, nil
				}
				asked := cmpopts.IgnoreFields(sdxl.Request{}, "Prompt", "Seed", "Image", "Mask", "Watermark", "ImagesPerPrompt", "Progress", "OnStep", "Stop", "Preview", "OnComputed")
				if diff := cmp.Diff(q.want, r, asked, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("the request (-want +got):\n%s", diff)
				}
				if got.Model != engine.Base || string(got.Parameters.Task) != q.task {
					t.Errorf("%s by %s", got.Parameters.Task, got.Model)
				}
			}
			v := b.finished(t, b.postJob(t, q.body).ID)
			if v.State != job.Done || v.Task != q.task || len(v.Warnings) > 0 {
				t.Fatalf("%+v", v)
			}
			check(t)
			var roles []string
			for _, in := range v.Inputs {
				if roles = append(roles, in.Role); in.Width != q.images[in.Role][1] || in.Height != q.images[in.Role][2] {
					t.Errorf("%+v is listed", in)
				}
				if w := b.do("GET", in.URL, ""); w.Code != 200 {
					t.Errorf("%s: %d", in.URL, w.Code)
				}
			}
			if len(roles) != len(q.images) || slices.ContainsFunc(roles, func(role string) bool { return q.images[role] == [3]int{} }) {
				t.Errorf("inputs: %v", roles)
			}
			got = engine.Job{}
			id(t, b.do("POST", "/generate", q.body))
			check(t)
		})
	}
}

// Fields that are null or empty are as if they were absent, and members that nobody knows are named.
func TestImagesOfJobsAbsent(t *testing.T) {
	b := loadedBench(t, withModels(t))
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	empty := `{"prompt":"a","image":null,"mask":null,"outpaint":null,"controls":[],"control":null,"t2i_adapters":null,"ip_adapters":[],"hires":null,"resize":null,"soft_mask":null,"freeu":null,"pag_applied_layers":[]}`
	for _, route := range []string{"/v1/jobs", "/generate"} {
		w := b.do("POST", route, empty)
		if route == "/v1/jobs" {
			v := b.finished(t, decodeJob(t, w, 202).ID)
			if v.State != job.Done || len(v.Warnings) > 0 || len(v.Inputs) > 0 {
				t.Errorf("%+v", v)
			}
		} else {
			id(t, w)
		}
		if r := got.Request; len(r.Images()) > 0 || r.Hires != nil || r.FreeU != nil || got.Parameters.Task != sdxl.TextToImage {
			t.Errorf("%s: %+v", route, r)
		}
	}
	image := inBase64(colouredPNG(t, 8, 8, 1))
	w := b.do("POST", "/v1/jobs", `{"prompt":"a","control":{"model":"canny","image":"`+image+`","scale":null,"start":null,"end":null,"mode":null,"preprocessor":null,"guess_mode":null,"colour":1},
		"ip_adapters":[{"model":"ip-adapter-plus","image":"`+image+`","images":null,"encoder":null,"scales":null,"mask":null},{"model":"ip-adapter-plus","image":"`+image+`","x":[]}],
		"hires":{"scale":null,"width":null,"upscaler":null,"y":true},"soft_mask":true}`)
	v := b.finished(t, decodeJob(t, w, 202).ID)
	if want := []string{"fields without an effect here: soft_mask, control.colour, ip_adapters[1].x, hires.y"}; !slices.Equal(v.Warnings, want) || v.State != job.Done {
		t.Errorf("%s: %q, want %q", v.State, v.Warnings, want)
	}
	want := []sdxl.Control{{Path: filepath.Join(b.config.ControlDir, "canny.safetensors"), End: 1}}
	if diff := cmp.Diff(want, got.Request.Controls, cmpopts.IgnoreFields(sdxl.Control{}, "Image")); diff != "" || got.Request.IPAdapters[0].Scale != nil || got.Request.IPAdapters[0].Encoder != "" {
		t.Errorf("%+v (-want +got):\n%s", got.Request.IPAdapters, diff)
	}
	for body, want := range map[string]string{
		`"strength":0.5,"resize":"crop","freeu":{"x":1}`:                          "resize, strength, freeu.x",
		`"pag_adaptive_scale":1,"pag_applied_layers":["mid"],"upscaler":"x"`:      "pag_adaptive_scale, pag_applied_layers, upscaler",
		`"pag_scale":1,"pag_adaptive_scale":1,"pag_applied_layers":["mid"],"n":2`: "n",
	} {
		var answer madeView
		w := b.do("POST", "/generate", `{"prompt":"a",`+body+`}`)
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || !slices.Equal(answer.Warnings, []string{"fields without an effect here: " + want}) {
			t.Errorf("%s: %v, %s", body, err, w.Body)
		}
	}
}

// /refine repaints a part of an image too, on the base or the refiner, and steers the base.
func TestRefineInpaints(t *testing.T) {
	b := loadedBench(t, withModels(t))
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	b.refiner.take = b.base.take
	start := decodeUpload(t, b.upload("image/png", colouredPNG(t, 64, 32, 10)))
	mask := inBase64(colouredPNG(t, 64, 32, 200))
	for _, model := range []engine.Model{engine.Base, engine.Refiner} {
		id(t, b.do("POST", "/refine", `{"prompt":"a","id":"`+start+`","mask":"`+mask+`","mask_blur":3,"refiner":`+map[engine.Model]string{engine.Base: "false", engine.Refiner: "true"}[model]+`}`))
		want := map[string][3]int{"image": {10, 64, 32}, "mask": {200, 64, 32}}
		if diff := cmp.Diff(want, seenImages(&got.Request)); diff != "" || got.Model != model || got.Parameters.Task != sdxl.Inpaint || got.Request.MaskBlur != 3 {
			t.Errorf("%s: %+v (-want +got):\n%s", model, got.Parameters, diff)
		}
	}
	controls := `"controls":[{"model":"canny","image":"` + start + `"}]`
	id(t, b.do("POST", "/refine", `{"prompt":"a","id":"`+start+`","refiner":false,`+controls+`}`))
	if want := map[string][3]int{"image": {10, 64, 32}, "controls[0].image": {10, 64, 32}}; cmp.Diff(want, seenImages(&got.Request)) != "" {
		t.Errorf("%v", seenImages(&got.Request))
	}
	for _, c := range []struct{ route, body string }{
		{"/refine", `{"prompt":"a","id":"` + start + `",` + controls + `}`}, {"/v1/jobs", `{"prompt":"a","image":"` + start + `","refiner":true,` + controls + `}`},
	} {
		if w := b.do("POST", c.route, c.body); w.Code != 422 || !strings.Contains(w.Body.String(), `"loc":["body","controls"],"msg":"Value error, must be absent for a refiner`) {
			t.Errorf("%s: %d %s", c.route, w.Code, w.Body)
		}
	}
	v := b.finished(t, b.postJob(t, `{"prompt":"a","image":"`+start+`",`+controls+`}`).ID)
	if v.State != job.Done || got.Model != engine.Base {
		t.Errorf("an image with a ControlNet is %s on the %s", v.State, got.Model)
	}
}

// Images that came with a request that the queue does not take are not kept, nor are those of a job that is removed.
func TestImagesOfJobsAreNotKept(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Queue = 0 })
	began, stopped := held(b.base)
	running := b.postJob(t, `{"prompt":"a"}`)
	<-began
	before := b.imageCount(t)
	body := `{"prompt":"a","image":"` + inBase64(colouredPNG(t, 64, 32, 1)) + `","mask":"` + inBase64(colouredPNG(t, 64, 32, 2)) + `"}`
	for _, route := range []string{"/v1/jobs", "/generate"} {
		if w := b.do("POST", route, body); w.Code != 503 {
			t.Errorf("%s: %d %s", route, w.Code, w.Body)
		}
	}
	if n := b.imageCount(t); n != before {
		t.Errorf("%d files, want %d", n, before)
	}
	if w := b.do("DELETE", "/v1/jobs/"+running.ID, ""); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	<-stopped
	for b.queue.Stats().Idle < 1 {
		time.Sleep(time.Millisecond)
	}
	b.base.run = nil
	before = b.imageCount(t)
	v := b.finished(t, b.postJob(t, body).ID)
	if n := b.imageCount(t); n != before+3 || v.State != job.Done {
		t.Errorf("%s, %d files, want %d", v.State, n, before+3)
	}
	if w := b.do("DELETE", "/v1/jobs/"+v.ID+"?purge=true", ""); w.Code != 204 || b.imageCount(t) != before {
		t.Errorf("%d, %d files, want %d", w.Code, b.imageCount(t), before)
	}
}
