package server

import (
	"image"
	"image/color"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/server/engine"
)

// What a model makes of images over HTTP is what it makes of the same request at once, and the pixels outside of a mask
// are those of the image.
func TestImagesFlow(t *testing.T) {
	dir := t.TempDir()
	if err := sdxl.SynthesiseIPAdapters(t.Context(), true, kernels.F32, filepath.Join(dir, "ip")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"controlnet", "controlnet-union", "t2i-adapter"} {
		if err := sdxl.SynthesiseControl(t.Context(), name, true, kernels.F32, filepath.Join(dir, "control", name)); err != nil {
			t.Fatal(err)
		}
	}
	b, base := tinyBench(t, dir)
	start, mask := photo(t, 64, 48), halfMask(t, 64, 48)
	kept := decodeUpload(t, b.upload("image/png", start))
	load := func(data []byte) *image.NRGBA {
		img, _, err := imagefile.Decode(data, sdxl.MaxSide)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	control := func(name string) string { return filepath.Join(dir, "control", name) }
	for name, c := range map[string]struct {
		body string
		want sdxl.Request
	}{
		"inpainting":  {`"image":"` + kept + `","mask":"` + inBase64(mask) + `"`, sdxl.Request{Image: load(start), Mask: load(mask)}},
		"outpainting": {`"image":"` + inBase64(start) + `","outpaint":[0,0,16,0]`, sdxl.Request{Image: load(start), Outpaint: sdxl.Border{Right: 16}}},
		"image": {`"image":"` + kept + `","width":32,"height":64,"resize":"crop","strength":0.6`,
			sdxl.Request{Image: load(start), Width: 32, Height: 64, Resize: sdxl.ResizeCrop, Strength: 0.6}},
		"steering": {
			`"width":64,"height":64,"controls":[{"model":"controlnet","image":"` + kept + `","scale":0.7,"preprocessor":"canny"},{"model":"controlnet-union","image":"` + kept + `","mode":"depth","end":0.6}],` +
				`"t2i_adapters":{"model":"t2i-adapter","image":"` + kept + `"},"ip_adapters":[{"model":"ip-adapter_sdxl","images":["` + kept + `"],"scale":0.5}]`,
			sdxl.Request{
				Width: 64, Height: 64,
				Controls: []sdxl.Control{
					{Path: control("controlnet"), Image: load(start), Scale: new(0.7), Preprocessor: "canny"},
					{Path: control("controlnet-union"), Image: load(start), Mode: "depth", End: 0.6},
				},
				T2IAdapters: []sdxl.T2IAdapter{{Path: control("t2i-adapter"), Image: load(start)}},
				IPAdapters:  []sdxl.IPAdapter{{Path: filepath.Join(dir, "ip", "sdxl_models", "ip-adapter_sdxl.safetensors"), Images: []image.Image{load(start)}, Scale: new(0.5)}},
			},
		},
		"hires": {`"width":32,"height":32,"hires":{"scale":2,"upscaler":"lanczos","num_inference_steps":2}`,
			sdxl.Request{Width: 32, Height: 32, Hires: &sdxl.Hires{Scale: 2, Upscaler: "lanczos", Steps: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			made := id(t, b.do("POST", "/generate", `{"prompt":"a cat","seed":7,"num_inference_steps":3,`+c.body+`}`))
			got := load(b.do("GET", "/download/"+made, "").Body.Bytes())
			r := c.want
			r.Prompt, r.Seed, r.Steps = "a cat", new(uint64(7)), 3
			want, err := base.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if got.Rect != want.Images[0].Rect || !slices.Equal(got.Pix, want.Images[0].Pix) {
				t.Errorf("an image of %v that is not the library's, of %v", got.Rect, want.Images[0].Rect)
			}
			if name != "inpainting" {
				return
			}
			own, changed := load(start), 0
			for y := range 48 {
				for x := range 64 {
					same := got.NRGBAAt(x, y) == own.NRGBAAt(x, y)
					if x >= 32 && !same {
						t.Fatalf("the pixel %d, %d outside of the mask is %v, want %v", x, y, got.NRGBAAt(x, y), own.NRGBAAt(x, y))
					}
					if x < 32 && !same {
						changed++
					}
				}
			}
			if changed < 32*48/2 {
				t.Errorf("%d pixels of the mask are repainted", changed)
			}
		})
	}
	for body, says := range map[string]string{
		`"controls":[{"model":"controlnet-union","image":"` + kept + `"}]`:           "the mode is",
		`"controls":[{"model":"controlnet","image":"` + kept + `","mode":"tile"}]`:   "must be absent, since the ControlNet is no union",
		`"width":24,"t2i_adapters":[{"model":"t2i-adapter","image":"` + kept + `"}]`: "multiples of the adapter's 16",
	} {
		w := b.do("POST", "/generate", `{"prompt":"a","num_inference_steps":1,`+body+`}`)
		if w.Code != 422 || !strings.Contains(w.Body.String(), says) || !strings.Contains(w.Body.String(), `"loc":["body","`) || strings.Contains(w.Body.String(), dir) {
			t.Errorf("%.50s: %d %s", body, w.Code, w.Body)
		}
	}
}

// tinyBench serves the tiny model of random weights with the folders of a folder.
func tinyBench(t *testing.T, dir string) (*bench, *sdxl.Model) {
	t.Helper()
	device, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	})
	host, err := sdxl.NewHost(device, nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := sdxl.Open(t.Context(), "synth:tiny", sdxl.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	local, err := engine.NewLocal(t.Context(), base, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := loadedBench(t, func(c *Config) {
		c.Specs = engine.Specs{Base: base.Spec()}
		c.Load = func(int) (engine.Engine, error) { return local, nil }
		c.ControlDir, c.IPAdapterDir, c.Schedulers, c.Watermark = filepath.Join(dir, "control"), filepath.Join(dir, "ip"), scheduler.Names(), false
	})
	return b, base
}

// halfMask repaints the left half.
func halfMask(t *testing.T, width, height int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		v := uint8(0)
		if i%width < width/2 {
			v = 255
		}
		img.SetNRGBA(i%width, i/width, color.NRGBA{v, v, v, 255})
	}
	data, err := imagefile.Encode(img, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
