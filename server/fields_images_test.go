package server

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		"control/sketch/config.json": `{"_class_name":"T2IAdapter"}`, "control/notes.txt": "",
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
			body(`"hires":{"scale":1.5,"num_inference_steps":7,"strength":0.6,"upscaler":"Lanczos"}`), "text-to-image",
			sdxl.Request{Hires: &sdxl.Hires{Scale: 1.5, Steps: 7, Strength: 0.6, Upscaler: "lanczos"}}, map[string][3]int{},
		},
		"hires by a file": {
			body(`"hires":{"width":128,"height":"96","upscaler":"x4"}`), "text-to-image",
			sdxl.Request{Hires: &sdxl.Hires{Width: 128, Height: 96, Upscaler: filepath.Join(c.UpscalerDir, "x4.pth")}}, map[string][3]int{},
		},
		"hires by default": {body(`"hires":{}`), "text-to-image", sdxl.Request{Hires: &sdxl.Hires{}}, map[string][3]int{}},
		"steering":         {body(steering), "text-to-image", steered, steeredImages},
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

// What is wrong with an image, a name or a number has its place, and leaves nothing behind.
func TestImagesOfJobsErrors(t *testing.T) {
	b := loadedBench(t, withModels(t))
	start := decodeUpload(t, b.upload("image/png", colouredPNG(t, 64, 32, 10)))
	image := `"` + inBase64(colouredPNG(t, 8, 8, 1)) + `"`
	before := b.imageCount(t)
	control := func(more string) string { return `"controls":[{"model":"canny","image":` + image + more + `}]` }
	adapter := func(more string) string { return `"ip_adapters":[{"model":"ip-adapter-plus"` + more + `}]` }
	for fields, says := range map[string]string{
		`"mask":` + image:                                                  `"type":"missing","loc":["body","image"]`,
		`"image":"` + start + `","mask":7`:                                 `"loc":["body","mask"],"msg":"Input should be a valid string"`,
		`"image":"` + start + `","mask":"!!"`:                              `"loc":["body","mask"],"msg":"Value error, must be the id of an image, or`,
		`"image":"` + start + `","mask":"aGVsbG8="`:                        `"loc":["body","mask"]`,
		`"image":"` + start + `","outpaint":[0,0,0,0]`:                     `"type":"missing","loc":["body","mask"]`,
		`"image":"` + start + `","outpaint":[1,2,3]`:                       `"loc":["body","outpaint"],"msg":"List should have at least 4 items after validation, not 3"`,
		`"image":"` + start + `","outpaint":[1,2,3,-4]`:                    `"loc":["body","outpaint",3],"msg":"Input should be greater than or equal to 0"`,
		`"image":"` + start + `","outpaint":{"left":"x"}`:                  `"loc":["body","outpaint","left"],"msg":"Input should be a valid integer, unable`,
		`"image":"` + start + `","outpaint":"8"`:                           `"loc":["body","outpaint"],"msg":"Input should be a valid list"`,
		`"image":"` + start + `","outpaint":[8192,0,0,0]`:                  `"loc":["body","outpaint"],"msg":"Value error, must be sides of 8192`,
		`"image":"` + start + `","mask":` + image + `,"mask_blur":-1`:      `"loc":["body","mask_blur"]`,
		`"image":"` + start + `","mask":` + image + `,"mask_padding":-1`:   `"loc":["body","mask_padding"],"msg":"Input should be greater than or equal to 0"`,
		`"image":"` + start + `","mask":` + image + `,"inpaint_fill":"x"`:  `"loc":["body","inpaint_fill"],"msg":"Input should be 'original', 'noise'`,
		`"image":"` + start + `","resize":"x"`:                             `"loc":["body","resize"],"msg":"Input should be 'stretch', 'crop' or 'fill'"`,
		`"image":"` + start + `","width":12`:                               `"loc":["body","width"],"msg":"Input should be a multiple of 8"`,
		`"controls":7`:                                                     `"loc":["body","controls"],"msg":"Input should be a valid list"`,
		`"controls":[7]`:                                                   `"type":"model_attributes_type","loc":["body","controls",0]`,
		`"controls":[null]`:                                                `"type":"model_attributes_type","loc":["body","controls",0]`,
		`"controls":[{}]`:                                                  `"type":"missing","loc":["body","controls",0,"model"]`,
		`"control":{"model":"canny"}`:                                      `"type":"missing","loc":["body","control","image"]`,
		`"control":{"model":"canny","image":` + image + `},"controls":[]`:  `"loc":["body","control"],"msg":"Value error, must be absent beside controls`,
		`"controls":[{"model":"canny","image":null}]`:                      `"loc":["body","controls",0,"image"],"msg":"Input should be a valid string"`,
		`"controls":[{"model":"canny","image":"x"}]`:                       `"loc":["body","controls",0,"image"],"msg":"Value error, must be the id`,
		`"controls":[{"model":"nope","image":` + image + `}]`:              `no ControlNet has this name; there are: canny, union, xl/depth.pth, xl/depth.safetensors"`,
		`"controls":[{"model":"xl/depth","image":` + image + `}]`:          `it is the name of several, and must be one of xl/depth.pth, xl/depth.safetensors`,
		`"controls":[{"model":"../secret","image":` + image + `}]`:         `no ControlNet has this name`,
		`"controls":[{"model":"sketch","image":` + image + `}]`:            `it is of the kind T2I-Adapter: must be of the kind ControlNet`,
		`"t2i_adapters":[{"model":"union","image":` + image + `}]`:         `it is of the kind ControlNet: must be of the kind T2I-Adapter`,
		`"controls":[` + strings.Repeat(`{},`, 16) + `{}]`:                 `"loc":["body","controls"],"msg":"List should have at most 16 items`,
		control(`,"scale":"much"`):                                         `"loc":["body","controls",0,"scale"],"msg":"Input should be a valid number, unable`,
		control(`,"start":0.5,"end":0.5`):                                  `"loc":["body","controls",0,"end"],"msg":"Value error, must be above start, which is 0.5"`,
		control(`,"end":0`):                                                `"loc":["body","controls",0,"end"],"msg":"Input should be greater than 0"`,
		control(`,"mode":"cany"`):                                          `"loc":["body","controls",0,"mode"],"msg":"Input should be 'openpose'`,
		control(`,"mode":-1`):                                              `"loc":["body","controls",0,"mode"]`,
		control(`,"preprocessor":"openpose"`):                              `"loc":["body","controls",0,"preprocessor"],"msg":"Value error, must be one of canny`,
		control(`,"guess_mode":"perhaps"`):                                 `"loc":["body","controls",0,"guess_mode"]`,
		adapter(``):                                                        `"type":"missing","loc":["body","ip_adapters",0,"image"]`,
		adapter(`,"images":[]`):                                            `"loc":["body","ip_adapters",0,"images"],"msg":"List should have at least 1 item`,
		adapter(`,"images":[` + image + `,7]`):                             `"loc":["body","ip_adapters",0,"images",1],"msg":"Input should be a valid string"`,
		adapter(`,"images":[` + image + `],"image":` + image):              `"loc":["body","ip_adapters",0,"image"],"msg":"Value error, must be absent beside images"`,
		adapter(`,"image":` + image + `,"encoder":"nope"`):                 `no CLIP image encoder has this name; there are: sdxl_models/image_encoder`,
		adapter(`,"image":` + image + `,"scale":1,"scales":{"up":1}`):      `"loc":["body","ip_adapters",0,"scale"]`,
		adapter(`,"image":` + image + `,"scales":[1]`):                     `"loc":["body","ip_adapters",0,"scales"]`,
		adapter(`,"image":` + image + `,"scales":{"up":{"block_9":1}}`):    `"loc":["body","ip_adapters",0,"scales","up"]`,
		adapter(`,"images":[` + image + `,` + image + `],"mask":` + image): `"loc":["body","ip_adapters",0,"mask"]`,
		`"hires":2`:                                          `"type":"model_attributes_type","loc":["body","hires"]`,
		`"hires":{"scale":9}`:                                `"loc":["body","hires","scale"],"msg":"Input should be less than or equal to 8"`,
		`"hires":{"scale":2,"width":64}`:                     `"loc":["body","hires","scale"],"msg":"Value error, must be absent beside width or height"`,
		`"hires":{"width":12}`:                               `"loc":["body","hires","width"],"msg":"Input should be a multiple of 8"`,
		`"hires":{"strength":0}`:                             `"loc":["body","hires","strength"]`,
		`"hires":{"upscaler":"x9"}`:                          `no upscaler has this name; there are: lanczos, latent`,
		`"hires":{},"interrupt":2`:                           `"loc":["body","hires"],"msg":"Value error, must be absent with interrupt"`,
		`"hires":{"num_inference_steps":200,"strength":0.1}`: `"loc":["body","hires","strength"]`,
	} {
		for _, route := range []string{"/v1/jobs", "/generate"} {
			w := b.do("POST", route, `{"prompt":"a",`+fields+`}`)
			if w.Code != 422 || !strings.Contains(w.Body.String(), says) || strings.Contains(w.Body.String(), b.config.ControlDir) {
				t.Errorf("%s %.90s: %d %.600s, want %s", route, fields, w.Code, w.Body, says)
			}
		}
	}
	const nobody = "11111111-1111-4111-8111-111111111111"
	for fields, says := range map[string]string{
		`"image":"` + nobody + `"`:                                `{"detail":"Image not found"}`,
		`"image":"` + start + `","mask":"` + nobody + `"`:         `{"detail":"Image not found: mask"}`,
		`"controls":[{"model":"canny","image":"` + nobody + `"}]`: `{"detail":"Image not found: controls[0].image"}`,
		adapter(`,"images":["` + start + `","` + nobody + `"]`):   `{"detail":"Image not found: ip_adapters[0].images[1]"}`,
	} {
		for _, route := range []string{"/v1/jobs", "/generate"} {
			if w := b.do("POST", route, `{"prompt":"a",`+fields+`}`); w.Code != 404 || strings.TrimSpace(w.Body.String()) != says {
				t.Errorf("%s %s: %d %s, want %s", route, fields, w.Code, w.Body, says)
			}
		}
	}
	if n := b.imageCount(t); n != before || b.base.calls.Load() != 0 {
		t.Errorf("%d files, want %d; %d computations", n, before, b.base.calls.Load())
	}
}

// A body of megabytes is for images alone, and no error has them in it.
func TestImagesOfJobsSizes(t *testing.T) {
	b := loadedBench(t, withModels(t))
	noise := image.NewNRGBA(image.Rect(0, 0, 256, 256))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(i*i>>3^i*7919>>5) | 1
	}
	var file bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&file, noise); err != nil {
		t.Fatal(err)
	}
	large := inBase64(file.Bytes())
	for _, route := range []string{"/v1/jobs", "/generate"} {
		for body, want := range map[string]int{
			`{"prompt":"a","image":"` + large + `","mask":"` + large + `","width":64,"height":32}`: 0,
			`{"image":"` + large + `"}`:                                                                  422,
			`{"prompt":"a","image":"` + large + `","strength":7}`:                                        422,
			`{"prompt":"a","image":"` + large + `x"}`:                                                    422,
			`{"prompt":"a","controls":[{"model":"canny","image":"` + large + `","scale":"x"}],"seed":1}`: 422,
			`{"prompt":"a","controls":"` + large + `"}`:                                                  422,
		} {
			w := b.do("POST", route, body)
			if want == 0 && w.Code != 202 && w.Code != 200 || want != 0 && w.Code != want || w.Body.Len() > 4000 {
				t.Errorf("%s %.50s: %d, %d bytes: %.300s", route, body, w.Code, w.Body.Len(), w.Body)
			}
		}
	}
	if w := b.do("POST", "/generate", `{"prompt":"a","colour":"`+large+`"}`); w.Code != 413 {
		t.Errorf("a large body without an image: %d %.200s", w.Code, w.Body)
	}
	adapter := `{"model":"ip-adapter-plus","images":["` + strings.Join(slices.Repeat([]string{inBase64(colouredPNG(t, 8, 8, 1))}, 40), `","`) + `"]}`
	body := `{"prompt":"a","ip_adapters":[` + adapter + `,` + adapter + `]}`
	if w := b.do("POST", "/v1/jobs", body); w.Code != 422 || !strings.Contains(w.Body.String(), "at most 64 images") {
		t.Errorf("80 images: %d %.300s", w.Code, w.Body)
	}
}
