package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/imagefile"
)

// What options say holds for the requests after them; what nothing comes of is named.
func TestSDOptions(t *testing.T) {
	b := sdBench(t, nil)
	list := b.sdTaken()
	const ask = `{"prompt":"p","steps":2,"width":64,"height":64`
	w := b.do("POST", "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":3,"samples_format":"jpg","jpeg_quality":50,"sd_model_checkpoint":"fake-base","randn_source":"GPU","fp8 ü, storage":true}`)
	if got := w.Header().Get("X-Goxl-Ignored"); w.Code != http.StatusOK || w.Body.String() != "null" || got != "fp8 ?? storage, randn_source" {
		t.Errorf("%d %s, ignored %q", w.Code, w.Body, got)
	}
	w = b.do("GET", "/sdapi/v1/options", "")
	for _, want := range []string{`"CLIP_stop_at_last_layers":3,`, `"samples_format":"jpg"`, `"randn_source":"CPU"`, `"sd_model_checkpoint":"fake-base"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", ask+`}`))
	if r := list.jobs[0].Request; r.ClipSkip != 1 || a.info.ClipSkip != 3 || !strings.HasPrefix(a.Images[0], "/9j/") {
		t.Errorf("clip_skip %d, %d, image %.8s", r.ClipSkip, a.info.ClipSkip, a.Images[0])
	}
	_, data := sdPixels(t, a.Images[0])
	texts, err := imagefile.Texts(data)
	if text, _ := imagefile.InfotextOf(texts); err != nil || text == "" || text != a.info.Infotexts[0] {
		t.Errorf("the JPEG has %q, %v", text, err)
	}
	// A request's own come first, and go with it, unless it says that they stay.
	clip := func(body string, want int) {
		t.Helper()
		list.jobs = nil
		decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", ask+body+`}`))
		if got := list.jobs[0].Request.ClipSkip; got != want {
			t.Errorf("%s: clip_skip %d, want %d", body, got, want)
		}
	}
	clip(`,"override_settings":{"CLIP_stop_at_last_layers":4,"samples_format":null}`, 2)
	clip(``, 1)
	clip(`,"override_settings":{"CLIP_stop_at_last_layers":4},"override_settings_restore_afterwards":false`, 2)
	clip(``, 2)
	// null is the default again.
	if w := b.do("POST", "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":null,"samples_format":null}`); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	clip(``, 0)
	if w := b.do("GET", "/sdapi/v1/options", ""); !strings.Contains(w.Body.String(), `"CLIP_stop_at_last_layers":1,`) || !strings.Contains(w.Body.String(), `"samples_format":"png"`) {
		t.Errorf("%s", w.Body)
	}
	// One that can't be used changes none.
	if w := b.do("POST", "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":7,"eta_ddim":"x"}`); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	clip(``, 0)
	list.jobs = nil
	decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", ask+`,"override_settings":{"show_progress_every_n_steps":-1}}`))
	if r := list.jobs[0].Request; r.Preview != nil {
		t.Error("previews, with -1 steps between them")
	}
	if w := b.do("POST", "/sdapi/v1/options", `{"sd_model_checkpoint":"fake-refiner","sdxl_crop_left":16}`); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	list.jobs = nil
	a = decodeSD(t, b.do("POST", "/sdapi/v1/img2img", ask+`,"init_images":["`+sdPNG(t, 8, 8)+`"]}`))
	if j := list.jobs[0]; j.Model != "refiner" || j.Request.CropLeft != 16 || a.info.ModelName != "fake-refiner" {
		t.Errorf("%+v, %s", j, a.info.ModelName)
	}
}

// The names of models are A1111's: with the ending of the file, or without.
func TestSDModelNames(t *testing.T) {
	if got := sdModelName("xl.v1.safetensors"); got != "xl.v1" {
		t.Error(got)
	}
	spec := *fakeBase(t)
	spec.Path = "/models/xl.v1.safetensors"
	b := sdBench(t, func(c *Config) { c.Specs.Base = &spec })
	for _, name := range []string{"xl.v1", "xl.v1.safetensors"} {
		if of, model, err := b.sdModel("x", name); model != "base" || of != "xl.v1.safetensors" || err != nil {
			t.Errorf("%s: %s %v", name, model, err)
		}
	}
	if _, _, err := b.sdModel("x", "xl"); err == nil {
		t.Error("a part of a name is one")
	}
	w := b.do("GET", "/sdapi/v1/sd-models", "")
	if !strings.HasPrefix(w.Body.String(), `[{"title":"xl.v1.safetensors","model_name":"xl.v1","hash":null,"sha256":null,"filename":"xl.v1.safetensors",`) {
		t.Errorf("%s", w.Body)
	}
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"prompt":"p","steps":2,"width":64,"height":64}`))
	if a.info.ModelName != "xl.v1" || !strings.Contains(a.info.Infotexts[0], "Model: xl.v1,") {
		t.Errorf("%+v", a.info)
	}
}
