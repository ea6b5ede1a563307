package server

import (
	"image"
	"image/color"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// units is a body of txt2img, or of img2img with an image, with units of ControlNet.
func units(init string, units ...string) string {
	body := `{"prompt":"p","seed":3,"steps":4,"width":64,"height":96,"alwayson_scripts":{"ControlNet":{"args":[` + strings.Join(units, ",") + `]}}`
	if init != "" {
		body += `,"init_images":["` + init + `"]`
	}
	return body + `}`
}

// unitBench is a server with models of units, which nobody opens.
func unitBench(t *testing.T) *bench {
	models := withModels(t)
	return sdBench(t, models)
}

// Units become ControlNets, T2I-Adapters and image prompts, with what the extension's members say.
func TestSDUnits(t *testing.T) {
	b := unitBench(t)
	c := &b.config
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	ten, twenty := inBase64(colouredPNG(t, 40, 50, 10)), inBase64(colouredPNG(t, 64, 32, 20))
	init := inBase64(colouredPNG(t, 30, 30, 90))
	half := painted(t, 40, 50, func(x, _ int) color.NRGBA {
		return color.NRGBA{255 * uint8(x/20), 255 * uint8(x/20), 255 * uint8(x/20), 255}
	})
	canny := filepath.Join(c.ControlDir, "canny.safetensors")
	control := func(change func(*sdxl.Control)) sdxl.Request {
		one := sdxl.Control{Path: canny, Scale: new(1.0), End: 1, Resize: sdxl.ResizeCrop}
		change(&one)
		return sdxl.Request{Controls: []sdxl.Control{one}}
	}
	adapter := filepath.Join(c.IPAdapterDir, "sdxl_models", "ip-adapter-plus.safetensors")
	const where = "alwayson_scripts.ControlNet.args[0]."
	for name, q := range map[string]struct {
		init    string
		units   []string
		want    sdxl.Request
		images  map[string][3]int
		ignored string
		warning string
		info    string // of ControlNet 0
	}{
		"defaults": {
			units: []string{`{"model":"canny","image":"` + ten + `"}`}, want: control(func(*sdxl.Control) {}),
			images: map[string][3]int{"controls[0].image": {10, 40, 50}},
			info:   "Module: none, Model: canny, Weight: 1, Resize Mode: Crop and Resize, Guidance Start: 0, Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced",
		},
		"everything": {
			units: []string{`{"enabled":true,"model":"canny [d14c016b]","module":"canny","image":{"image":"data:image/png;base64,` + ten + `","mask":""},"weight":0.5,"resize_mode":2,
				"control_mode":"ControlNet is more important","guidance_start":0.25,"guidance_end":"0.75","processor_res":512,"threshold_a":50.5,"threshold_b":150,"pixel_perfect":false,
				"low_vram":true,"union_control_type":"Depth","hr_option":"High res only","advanced_weighting":null,"foo":1}`},
			want: control(func(one *sdxl.Control) {
				one.Scale, one.Start, one.End, one.Resize, one.Preprocessor, one.Mode, one.GuessMode = new(0.5), 0.25, 0.75, sdxl.ResizeFill, "canny:50:150", "depth", true
			}),
			images:  map[string][3]int{"controls[0].image": {10, 40, 50}},
			ignored: where + "processor_res, " + where + "low_vram, " + where + "foo", warning: "guess mode",
			info: "Module: canny, Model: canny, Weight: 0.5, Resize Mode: Resize and Fill, Threshold A: 50, Threshold B: 150, Guidance Start: 0.25, Guidance End: 0.75, Pixel Perfect: True, Control Mode: ControlNet is more important",
		},
		"as webuiapi sends it": {
			units: []string{`{"image":"` + ten + `","mask":null,"module":"canny","model":"canny","weight":1.0,"resize_mode":"Inner Fit (Scale to Fit)","low_vram":false,"processor_res":64,"threshold_a":64,
				"threshold_b":300,"guidance_start":0.0,"guidance_end":1.0,"control_mode":1,"pixel_perfect":false,"hr_option":"Both","enabled":true}`},
			want:   control(func(one *sdxl.Control) { one.Preprocessor = "canny:64:200" }),
			images: map[string][3]int{"controls[0].image": {10, 40, 50}}, warning: `computed as "Balanced"`,
		},
		"old names": {
			units: []string{`{"input_image":"` + ten + `","model":"canny","guidance":0.5,"lowvram":true,"module":"invert (from white bg & black line)","resize_mode":"Just Resize"}`},
			want: control(func(one *sdxl.Control) {
				one.End, one.Resize, one.Preprocessor = 0.5, sdxl.ResizeStretch, "invert"
			}),
			images: map[string][3]int{"controls[0].image": {10, 40, 50}}, ignored: where + "low_vram",
		},
		"mask that is drawn": {
			units: []string{`{"image":["` + ten + `","` + half + `"],"model":"canny"}`}, want: control(func(*sdxl.Control) {}),
			images: map[string][3]int{"controls[0].image": {0, 40, 50}},
		},
		"mask of one colour": {
			units: []string{`{"image":"` + ten + `","mask":"` + inBase64(colouredPNG(t, 40, 50, 252)) + `","model":"canny"}`}, want: control(func(*sdxl.Control) {}),
			images: map[string][3]int{"controls[0].image": {10, 40, 50}},
		},
		"image of img2img": {
			init: init, units: []string{`{"image":"","model":"canny","resize_mode":0}`, `{"model":"canny","image":"` + ten + `"}`},
			want: sdxl.Request{Controls: []sdxl.Control{
				{Path: canny, Scale: new(1.0), End: 1}, {Path: canny, Scale: new(1.0), End: 1, Resize: sdxl.ResizeCrop},
			}},
			images: map[string][3]int{"image": {90, 64, 96}, "controls[0].image": {90, 64, 96}, "controls[1].image": {10, 40, 50}},
		},
		"T2I-Adapter": {
			units:  []string{`{"model":"sketch","image":"` + ten + `","weight":2,"control_mode":1}`, `{"enabled":false,"model":"nope"}`, `null`, `{"enabled":"off","model":"nope"}`, `true`},
			want:   sdxl.Request{T2IAdapters: []sdxl.T2IAdapter{{Path: filepath.Join(c.ControlDir, "sketch"), Scale: new(2.0), Resize: sdxl.ResizeCrop}}},
			images: map[string][3]int{"t2i_adapters[0].image": {10, 40, 50}}, ignored: where + "control_mode",
			info: "Module: none, Model: sketch, Weight: 2, Resize Mode: Crop and Resize",
		},
		"IP-Adapter": {
			units: []string{
				`{"module":"ip-adapter_clip_sdxl_plus_vith","model":"ip-adapter-plus","image":[{"image":"` + ten + `"},{"image":"` + twenty + `","mask":null}],"weight":0.6}`,
				`{"module":"ip-adapter-auto","model":"sdxl_models/ip-adapter-plus [12345678]","image":"` + twenty + `","effective_region_mask":"` + inBase64(colouredPNG(t, 9, 9, 50)) + `"}`,
			},
			want: sdxl.Request{IPAdapters: []sdxl.IPAdapter{{Path: adapter, Scale: new(0.6)}, {Path: adapter, Scale: new(1.0)}}},
			images: map[string][3]int{
				"ip_adapters[0].images[0]": {10, 40, 50}, "ip_adapters[0].images[1]": {20, 64, 32}, "ip_adapters[1].images[0]": {20, 64, 32}, "ip_adapters[1].mask": {50, 9, 9},
			},
			info: "Module: ip-adapter-auto, Model: ip-adapter-plus, Weight: 0.6",
		},
	} {
		path := "txt2img"
		if q.init != "" {
			path = "img2img"
		}
		w := b.do("POST", "/sdapi/v1/"+path, units(q.init, q.units...))
		a := decodeSD(t, w)
		r := got.Request
		opts := cmp.Options{cmpopts.IgnoreFields(sdxl.Control{}, "Image"), cmpopts.IgnoreFields(sdxl.T2IAdapter{}, "Image"), cmpopts.IgnoreFields(sdxl.IPAdapter{}, "Images", "Mask")}
		if diff := cmp.Diff(q.want, sdxl.Request{Controls: r.Controls, T2IAdapters: r.T2IAdapters, IPAdapters: r.IPAdapters}, opts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(q.images, seenImages(&r)); diff != "" {
			t.Errorf("%s: images (-want +got):\n%s", name, diff)
		}
		if ignored := w.Header().Get("X-Goxl-Ignored"); ignored != q.ignored {
			t.Errorf("%s: ignored %s, want %s", name, ignored, q.ignored)
		}
		if warned := strings.Join(a.info.Warnings, "; "); !strings.Contains(warned, q.warning) || q.warning == "" && warned != "" {
			t.Errorf("%s: warnings %q, want %q", name, warned, q.warning)
		}
		if q.info != "" && (a.info.Extra["ControlNet 0"] != q.info || !strings.Contains(a.info.Infotexts[0], `ControlNet 0: "`+q.info+`"`)) {
			t.Errorf("%s: %v, %s", name, a.info.Extra, a.info.Infotexts[0])
		}
		if strings.Contains(w.Body.String(), ten) {
			t.Errorf("%s: the answer repeats the images", name)
		}
		if n := b.imageCount(t); n != 0 {
			t.Errorf("%s: %d images are left", name, n)
		}
	}
}

// Units that can't be used are refused by the member's place, with what there is.
func TestSDUnitErrors(t *testing.T) {
	b := unitBench(t)
	ten := inBase64(colouredPNG(t, 40, 50, 10))
	good := `"model":"canny","image":"` + ten + `"`
	half := painted(t, 40, 50, func(x, _ int) color.NRGBA { return color.NRGBA{255 * uint8(x/20), 0, 0, 255} })
	const modules = "must be one of none, canny, tile_resample, recolor_luminance, invert, blur_gaussian, recolor_intensity, ip-adapter-auto, ip-adapter_clip_sdxl_plus_vith, ip-adapter_clip_sdxl, ip-adapter_clip_sd15"
	for unit, want := range map[string]string{
		`{"image":"` + ten + `"}`:                                "422 [model] Value error, must be the name of a ControlNet or T2I-Adapter; there are: canny, sketch, union, xl/depth.pth, xl/depth.safetensors",
		`{"model":"nope"}`:                                       "422 [model] Value error, no ControlNet or T2I-Adapter has this name; there are: canny, sketch,",
		`{"model":"../secret"}`:                                  "422 [model] Value error, no ControlNet or T2I-Adapter has this name;",
		`{"model":"depth"}`:                                      "422 [model] Value error, it is the name of several, and must be one of xl/depth.pth, xl/depth.safetensors",
		`{"model":"canny","module":"ip-adapter-auto"}`:           "422 [model] Value error, no IP-Adapter has this name; there are: sdxl_models/ip-adapter-plus",
		`{"module":"ip-adapter-auto"}`:                           "422 [model] Value error, must be the name of a IP-Adapter; there are: sdxl_models/ip-adapter-plus",
		`{"model":1}`:                                            "422 [model] Input should be a valid string",
		`{` + good + `,"module":"nope"}`:                         "422 [module] Value error, " + modules + `: there is no preprocessor "nope"`,
		`{` + good + `,"module":"depth_midas"}`:                  "422 [module] Value error, " + modules + ": depth_midas needs a model, which goxl does not have: give the image that it makes as the control image",
		`{` + good + `,"module":"ip-adapter_face_id"}`:           "422 [module] Value error, " + modules + ": goxl has no recognition of faces",
		`{` + good + `,"weight":3}`:                              "422 [weight] Input should be less than or equal to 2",
		`{` + good + `,"resize_mode":"Squeeze"}`:                 "422 [resize_mode] Input should be 'Just Resize', 'Crop and Resize' or 'Resize and Fill'",
		`{` + good + `,"resize_mode":3}`:                         "422 [resize_mode] Input should be less than or equal to 2",
		`{` + good + `,"control_mode":"Other"}`:                  "422 [control_mode] Input should be 'Balanced', 'My prompt is more important' or 'ControlNet is more important'",
		`{` + good + `,"guidance_start":0.5,"guidance_end":0.5}`: "422 [guidance_end] Value error, must be above guidance_start, which is 0.5",
		`{` + good + `,"union_control_type":"x"}`:                "422 [union_control_type] Input should be 'Unknown', 'OpenPose'",
		`{"model":"canny"}`:                                      "422 [image] Field required: txt2img has no image to take in its place",
		`{"model":"canny","image":"!"}`:                          "422 [image] Value error, must be an image in base64, alone or in a data URL",
		`{"model":"canny","image":"QUJD"}`:                       "422 [image] Value error, must be an image: not a PNG, JPEG or WebP image",
		`{"model":"canny","image":7}`:                            `422 [image] Value error, must be an image in base64, {"image": IMAGE, "mask": IMAGE}, or a list of up to 64 of these`,
		`{"model":"canny","image":[{"image":"` + ten + `"},{"image":"` + ten + `"}]}`:                        "422 [image] Value error, must be one image: an IP-Adapter alone has several",
		`{"model":"canny","image":"` + ten + `","mask":"!"}`:                                                 "422 [mask] Value error, must be an image in base64",
		`{` + good + `,"advanced_weighting":[1]}`:                                                            "501 advanced_weighting: goxl has no weights of layers",
		`{` + good + `,"effective_region_mask":"` + ten + `"}`:                                               "501 effective_region_mask: goxl has no region of a ControlNet or T2I-Adapter",
		`{` + good + `,"ipadapter_input":["x"]}`:                                                             "501 ipadapter_input: goxl has no embedding in place of an image",
		`{"model":"sketch","image":"` + ten + `","guidance_end":0.5}`:                                        "501 guidance_end: goxl has no fraction at which image prompts and T2I-Adapters end",
		`{"module":"ip-adapter-auto","model":"ip-adapter-plus","image":"` + ten + `","mask":"` + half + `"}`: "501 mask: goxl has no mask of what an image prompt reads; effective_region_mask says where it acts",
	} {
		w := b.do("POST", "/sdapi/v1/txt2img", units("", unit))
		body := w.Body.String()
		status, rest, _ := strings.Cut(want, " ")
		place, words, problem := strings.Cut(rest, "] ")
		if !problem {
			words = `"detail":"alwayson_scripts.ControlNet.args[0].` + rest + `"`
			if w.Result().Status[:3] != status || !strings.Contains(body, words) {
				t.Errorf("%.120s: %d %s, want %s", unit, w.Code, body, want)
			}
			continue
		}
		at := strings.TrimSpace("[body alwayson_scripts ControlNet args 0 "+place[1:]) + "] "
		if got := firstProblem(t, w.Body.Bytes()); w.Result().Status[:3] != status || !strings.HasPrefix(got, at+words) || len(body) > 4<<10 {
			t.Errorf("%.120s: %d, %d bytes, %s, want %s", unit, w.Code, len(body), got, at+words)
		}
	}
	w := b.do("POST", "/sdapi/v1/txt2img", strings.Replace(units("", `{`+good+`,"hr_option":"Low res only"}`), `{"prompt"`, `{"enable_hr":true,"prompt"`, 1))
	if w.Code != 501 || !strings.Contains(w.Body.String(), "hr_option: goxl has no unit of one pass alone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.do("POST", "/sdapi/v1/txt2img", units("", slices.Repeat([]string{`{}`}, 17)...)); !strings.Contains(w.Body.String(), "17 units are enabled: must be at most 16") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	eight := `{"image":"` + inBase64(colouredPNG(t, 8, 8, 1)) + `"}`
	prompts := `{"model":"ip-adapter-plus","module":"ip-adapter-auto","image":[` + strings.Join(slices.Repeat([]string{eight}, 40), ",") + `]}`
	w = b.do("POST", "/sdapi/v1/txt2img", units("", prompts, prompts))
	if got := firstProblem(t, w.Body.Bytes()); w.Code != 422 || !strings.Contains(got, "args 1 image] Value error, must be one of at most 64 images") || w.Body.Len() > 4<<10 {
		t.Errorf("80 images: %d %.400s", w.Code, w.Body)
	}
	if n := b.base.calls.Load(); n != 0 || b.imageCount(t) != 0 {
		t.Errorf("%d images were computed, %d are left", n, b.imageCount(t))
	}
}

// Infotext has the settings of units, for those that a request does not give, and no images.
func TestSDUnitInfotext(t *testing.T) {
	b := unitBench(t)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	ten, init := inBase64(colouredPNG(t, 40, 50, 10)), inBase64(colouredPNG(t, 30, 30, 90))
	const text = `p\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x96, ControlNet 0: \"Module: canny, Model: canny [d14c016b], Weight: 0.5, Resize Mode: Just Resize, ` +
		`Processor Res: 512, Threshold A: 50.0, Threshold B: 150.0, Guidance Start: 0.0, Guidance End: 0.5, Pixel Perfect: True, Control Mode: Balanced\", ` +
		`ControlNet 1: \"Module: none, Model: union, Weight: 1.0\"`
	want := sdxl.Control{
		Path: filepath.Join(b.config.ControlDir, "canny.safetensors"), Scale: new(0.75), End: 0.5, Preprocessor: "canny:50:150", Resize: sdxl.ResizeStretch,
	}
	opts := cmpopts.IgnoreFields(sdxl.Control{}, "Image")
	w := b.do("POST", "/sdapi/v1/txt2img", `{"infotext":"`+text+`","alwayson_scripts":{"controlnet":{"args":[{"image":"`+ten+`","weight":0.75}]}}}`)
	decodeSD(t, w)
	if diff := cmp.Diff([]sdxl.Control{want}, got.Request.Controls, opts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if ignored := w.Header().Get("X-Goxl-Ignored"); ignored != "infotext.ControlNet 1" {
		t.Errorf("ignored %s", ignored)
	}
	w = b.do("POST", "/sdapi/v1/img2img", `{"init_images":["`+init+`"],"infotext":"`+text+`"}`)
	decodeSD(t, w)
	want.Scale, want.Resize = new(0.5), ""
	union := sdxl.Control{Path: filepath.Join(b.config.ControlDir, "union"), Scale: new(1.0), End: 1}
	if diff := cmp.Diff([]sdxl.Control{want, union}, got.Request.Controls, opts); diff != "" || w.Header().Get("X-Goxl-Ignored") != "" {
		t.Errorf("%s, -want +got:\n%s", w.Header(), diff)
	}
	for field, img := range maps.All(seenImages(&got.Request)) {
		if img[0] != 90 {
			t.Errorf("%s is another image than init_images'", field)
		}
	}
	if b := got.Request.Controls[0].Image.Bounds(); b != image.Rect(0, 0, 64, 96) {
		t.Errorf("%v", b)
	}
}
