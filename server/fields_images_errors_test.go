package server

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

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
		`"guidance_end":0`:                                                 `"loc":["body","guidance_end"],"msg":"Input should be greater than 0"`,
		`"guidance_start":0.5,"guidance_end":0.25`:                         `"loc":["body","guidance_end"],"msg":"Value error, must be guidance_start, which is 0.5, to 1`,
		`"pag_scale":-1`:                                                   `"loc":["body","pag_scale"]`,
		`"pag_scale":1,"pag_applied_layers":["mid",7]`:                     `"loc":["body","pag_applied_layers",1],"msg":"Input should be a valid string"`,
		`"pag_scale":1,"pag_applied_layers":["nowhere"]`:                   `"loc":["body","pag_applied_layers"],"msg":"Value error, must be what is found`,
		`"freeu":true`:                   `"type":"model_attributes_type","loc":["body","freeu"]`,
		`"freeu":{"s1":0}`:               `"loc":["body","freeu","s1"],"msg":"Input should be greater than 0"`,
		`"hires":2`:                      `"type":"model_attributes_type","loc":["body","hires"]`,
		`"hires":{"scale":9}`:            `"loc":["body","hires","scale"],"msg":"Input should be less than or equal to 8"`,
		`"hires":{"scale":2,"width":64}`: `"loc":["body","hires","scale"],"msg":"Value error, must be absent beside width or height"`,
		`"hires":{"width":12}`:           `"loc":["body","hires","width"],"msg":"Input should be a multiple of 8"`,
		`"hires":{"scheduler":"x"}`:      `"loc":["body","hires","scheduler"],"msg":"Input should be 'euler'`,
		`"hires":{"prompt":7}`:           `"loc":["body","hires","prompt"],"msg":"Input should be a valid string"`,
		`"controls":[{"model":"canny","image":` + image + `,"resize":"x"}]`: `"loc":["body","controls",0,"resize"]`,
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
	for _, fields := range []string{control(`,"end":"x"`), control(`,"start":7`), `"hires":{"upscaler":7}`} {
		w := b.do("POST", "/generate", `{"prompt":"a",`+fields+`}`)
		if n := strings.Count(w.Body.String(), `"loc":`); w.Code != 422 || n != 1 {
			t.Errorf("%.90s: %d with %d problems, want one: %.600s", fields, w.Code, n, w.Body)
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
	const huge = "22222222-2222-4222-8222-222222222222"
	file.Reset()
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, sdxl.MaxSide, sdxl.MaxSide))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path(huge), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	body = `{"prompt":"a","controls":[` + strings.Join(slices.Repeat([]string{`{"model":"canny","image":"` + huge + `"}`}, 5), ",") + `]}`
	if w := b.do("POST", "/v1/jobs", body); w.Code != 422 || strings.Count(w.Body.String(), "pixels in all") != 1 || !strings.Contains(w.Body.String(), `"controls",4,"image"`) {
		t.Errorf("5 images of %d²: %d %.300s", sdxl.MaxSide, w.Code, w.Body)
	}
}
