package server

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/models/controlnet/preprocess"
)

// The routes of the extension tell what units may have.
func TestSDControlNetRoutes(t *testing.T) {
	b := unitBench(t)
	for path, want := range map[string]string{
		"version":                `{"version":3}`,
		"settings":               `{"control_net_unit_count":16}`,
		"model_list?update=true": `{"model_list":["canny","sdxl_models/ip-adapter-plus","sketch","union","xl/depth.pth","xl/depth.safetensors"]}`,
	} {
		if w := b.do("GET", "/controlnet/"+path, ""); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	var modules sdControlModules
	decodeInto(t, b.do("GET", "/controlnet/module_list", "").Body.Bytes(), &modules)
	if want := "none canny tile_resample recolor_luminance invert blur_gaussian recolor_intensity"; !strings.HasPrefix(strings.Join(modules.Modules, " "), want) {
		t.Errorf("%q, want %q first", modules.Modules, want)
	}
	own := preprocess.Names()
	for _, name := range own { // all that the library has
		if !slices.Contains(modules.Modules, name) {
			t.Errorf("no module %s", name)
		}
	}
	if canny := modules.Details["canny"]; len(canny.Sliders) != 3 || canny.Sliders[0].Name != "Resolution" || canny.Sliders[1].Value != 100 || canny.Sliders[2].Max != 255 {
		t.Errorf("%+v", canny)
	}
	decodeInto(t, b.do("GET", "/controlnet/module_list?alias_names=true", "").Body.Bytes(), &modules)
	if !slices.Contains(modules.Modules, "invert (from white bg & black line)") {
		t.Errorf("%q", modules.Modules)
	}
	if w := b.do("GET", "/controlnet/module_list?alias_names=x", ""); w.Code != 422 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var types sdControlTypes
	decodeInto(t, b.do("GET", "/controlnet/control_types", "").Body.Bytes(), &types)
	for name, want := range map[string]sdControlType{
		"Canny":      {[]string{"none", "canny", "invert (from white bg & black line)"}, []string{"None", "canny", "union"}, "canny", "canny"},
		"Depth":      {[]string{"none"}, []string{"None", "union", "xl/depth.pth", "xl/depth.safetensors"}, "none", "union"},
		"Tile":       {[]string{"none", "tile_resample", "blur_gaussian"}, []string{"None", "union"}, "tile_resample", "union"},
		"Recolor":    {[]string{"none", "recolor_luminance", "recolor_intensity"}, []string{"None"}, "recolor_luminance", "None"},
		"IP-Adapter": {[]string{"none", "ip-adapter-auto", "ip-adapter_clip_sdxl_plus_vith", "ip-adapter_clip_g", "ip-adapter_clip_h"}, []string{"None", "sdxl_models/ip-adapter-plus"}, "ip-adapter-auto", "sdxl_models/ip-adapter-plus"},
	} {
		if diff := cmp.Diff(want, types.Types[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if all := types.Types["All"]; len(all.Modules) != len(modules.Modules) || len(all.Models) != 7 || all.DefaultModule != "none" || all.DefaultModel != "None" {
		t.Errorf("%+v", all)
	}
	few := sdBench(t, nil)
	if w := few.do("GET", "/controlnet/model_list", ""); w.Body.String() != `{"model_list":[]}` {
		t.Errorf("without folders: %s", w.Body)
	}
}

func decodeInto(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}

// A control image is what the library's preprocessor makes at the resolution that is asked for.
func TestSDDetect(t *testing.T) {
	b := sdBench(t, nil)
	stripes := painted(t, 90, 60, func(x, y int) color.NRGBA { return color.NRGBA{uint8(255 * (x / 20 % 2)), uint8(4 * y), 7, 255} })
	source := decodeBase64(t, stripes)
	for fields, want := range map[string]*image.NRGBA{
		``:                            source,
		`,"controlnet_module":"none"`: source,
		`,"controlnet_module":"canny","controlnet_processor_res":64`:                                                            preprocess.Canny(resample.Lanczos(source, 96, 64), 100, 200),
		`,"controlnet_module":"canny","controlnet_processor_res":120,"controlnet_threshold_a":10,"controlnet_threshold_b":20.7`: preprocess.Canny(resample.Lanczos(source, 180, 120), 10, 20),
		`,"controlnet_module":"canny"`:                                    preprocess.Canny(resample.Lanczos(source, 768, 512), 100, 200),
		`,"controlnet_module":"invert","controlnet_processor_res":64`:     preprocess.Invert(source),
		`,"controlnet_module":"tile_resample","controlnet_threshold_a":2`: preprocess.TileResample(source, 2),
	} {
		var a sdDetected
		w := b.do("POST", "/controlnet/detect", `{"controlnet_input_images":["data:image/png;base64,`+stripes+`","`+stripes+`"]`+fields+`}`)
		decodeInto(t, w.Body.Bytes(), &a)
		if len(a.Images) != 2 || a.Info != "Success" || a.Images[0] != a.Images[1] {
			t.Errorf("%s: %d %.200s", fields, w.Code, w.Body)
			continue
		}
		if got := decodeBase64(t, a.Images[0]); got.Rect != want.Rect || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%s: another image of %v, want %v", fields, got.Rect, want.Rect)
		}
	}
	// As the webuiapi client names the images.
	if w := b.do("POST", "/controlnet/detect", `{"controlnet_module":"invert","controlnet_images":["`+stripes+`"]}`); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	long := painted(t, 900, 8, func(int, int) color.NRGBA { return color.NRGBA{A: 255} })
	for body, want := range map[string]string{
		`{}`:                                "[body controlnet_input_images] Value error, No image selected",
		`{"controlnet_input_images":["!"]}`: "[body controlnet_input_images 0] Value error, must be an image in base64",
		`{"controlnet_input_images":[7]}`:   "[body controlnet_input_images 0] Input should be a valid string",
		`{"controlnet_input_images":["x"],"controlnet_module":"openpose_full"}`:     "[body controlnet_module] Value error, must be one of none, canny,",
		`{"controlnet_input_images":["x"],"controlnet_module":"ip-adapter-auto"}`:   "[body controlnet_module] Value error, Module not supported: it makes no image",
		`{"controlnet_input_images":["` + long + `"],"controlnet_module":"canny"}`:  "[body controlnet_input_images 0] Value error, it has 900×8 pixels: no side may be more than 8 times the other",
		`{"controlnet_input_images":["` + long + `"],"controlnet_threshold_a":"x"}`: "[body controlnet_threshold_a] Input should be a valid number",
	} {
		w := b.do("POST", "/controlnet/detect", body)
		if got := firstProblem(t, w.Body.Bytes()); w.Code != 422 || !strings.HasPrefix(got, want) {
			t.Errorf("%.100s: %d %s, want %s", body, w.Code, got, want)
		}
	}
}
