//go:build browser && !nodemo

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// spawnSteered runs a server of a tiny model with a ControlNet, a T2I-Adapter and IP-Adapters.
func spawnSteered(t *testing.T) (address string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"controlnet", "t2i-adapter"} {
		if err := sdxl.SynthesiseControl(t.Context(), name, true, kernels.F32, filepath.Join(dir, "control", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sdxl.SynthesiseIPAdapters(t.Context(), true, kernels.F32, filepath.Join(dir, "ip")); err != nil {
		t.Fatal(err)
	}
	_, address = spawn(t, "-images", filepath.Join(dir, "images"), "-device", "cpu", "-model", "synth:tiny",
		"-control-dir", filepath.Join(dir, "control"), "-ip-adapter-dir", filepath.Join(dir, "ip"))
	return address
}

// pick chooses a value of the list that a selector finds.
func (b *tab) pick(selector, value string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		if (![...e.options].some((o) => o.value === %[2]q)) throw new Error('no ' + %[2]q);
		e.value = %[2]q;
		e.dispatchEvent(new Event('change', { bubbles: true }));
	})()`, selector, value))
}

// ControlNets, T2I-Adapters and IP-Adapters are chosen with their images, what a preprocessor makes is shown, and a job
// that is used again brings all of it back.
func TestBrowserControls(t *testing.T) {
	address := spawnSteered(t)
	made := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a","width":64,"height":48,"num_inference_steps":1}`, 202)
	url := until(t, address+"/v1/jobs/"+made.ID, func(j jobState) bool { return j.State == "done" }).Images[0].URL
	file := filepath.Join(t.TempDir(), "in.png")
	if err := os.WriteFile(file, []byte(get(t, address+url)), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, newBrowser(t), address)
	b.fill("prompt", "a green pear")
	b.fill("width", "64")
	b.fill("height", "64")
	b.fill("steps", "2")

	// Without an image the server refuses, and the page says so there.
	b.run("document.getElementById('controls-details').open = true")
	b.press("#control-add", "Add")
	b.pick("#controls .unit [data-field=model]", "controls:controlnet")
	b.expect("422")
	b.click("#generate")
	b.until(`document.activeElement.matches('#controls .well') && document.activeElement.getAttribute('aria-invalid') === 'true'`)

	b.do(chromedp.SetUploadFiles(chromedp.CSS("#controls input[type=file]"), []string{file}))
	b.until(`document.querySelector('#controls .picker img').naturalWidth === 64`)
	b.pick("#controls [data-field=preprocessor]", "canny")
	shown := `document.querySelector('#controls img[alt^="What the preprocessor"]')`
	b.until(shown + `.naturalHeight === 64`) // the result's size
	if n := value[int](b, `(async () => {
		const image = `+shown+`;
		await image.decode();
		const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
		const context = canvas.getContext('2d');
		context.drawImage(image, 0, 0);
		return context.getImageData(0, 0, 64, 64).data.filter((value) => value !== 0 && value !== 255).length;
	})()`); n != 0 {
		t.Errorf("%d values of what is shown are no edges", n)
	}
	b.run(`(() => { const e = document.querySelector('#controls [data-field=scale]'); e.value = 0.7; e.dispatchEvent(new Event('input', { bubbles: true })); })()`)

	// A T2I-Adapter, whose image a drop brings, and two reference images.
	image := value[string](b, `document.querySelector('#controls .picker img').src.match(/download.([^/]+)/)[1]`)
	b.run(`fetch('` + url + `').then((r) => r.blob()).then((blob) => {
		const dataTransfer = new DataTransfer();
		dataTransfer.items.add(new File([blob], 'file', { type: blob.type }));
		const drag = (name, target) => target.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
		drag('dragenter', document.body);
		drag('drop', document.querySelector('[data-use=control]'));
	})`)
	b.until(`document.querySelector('#controls .unit:nth-child(2) .picker img')?.naturalWidth === 64`)
	b.pick("#controls .unit:nth-child(2) [data-field=model]", "t2i_adapters:t2i-adapter")
	if value[bool](b, `document.querySelector('#controls .unit:nth-child(2) [data-field=preprocessor]').checkVisibility()`) {
		t.Error("a T2I-Adapter has a preprocessor")
	}
	b.click(`#tiles [data-image]`)
	b.press("#viewer button", "Use as reference")
	b.until(`document.querySelector('#references .picker img').naturalWidth === 64`)
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#references .picker:nth-child(2) input[type=file]"), []string{file}))
	b.until(`document.querySelector('#references .picker:nth-child(2) img').naturalWidth === 64 && document.querySelectorAll('#references .picker').length === 3`)

	job := b.computed(address)
	in, p := job.inputs(), job.Parameters
	if got, want := slices.Sorted(maps.Keys(in)), []string{"controls[0].image", "ip_adapters[0].images[0]", "ip_adapters[0].images[1]", "t2i_adapters[0].image"}; !slices.Equal(got, want) || in["controls[0].image"] != image {
		t.Errorf("the inputs are %v", in)
	}
	if len(p.Controls) != 1 || p.Controls[0].Name != "controlnet" || p.Controls[0].Scale != 0.7 || p.Controls[0].Preprocessor != "canny" || len(p.IPAdapters) != 1 || p.IPAdapters[0].Images != 2 {
		t.Errorf("%+v", p)
	}
	lists := func() string {
		t.Helper()
		request := kept[map[string]any](b)
		text, err := json.Marshal([]any{request["controls"], request["t2i_adapters"], request["ip_adapters"], request["image"]})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := lists()
	b.press("#advanced button", "Reset")
	if got := lists(); got != "[null,null,null,null]" {
		t.Errorf("a form that was reset has %s", got)
	}
	b.press(".ended button", "Reuse")
	if got := lists(); !sameJSON(t, got, want) {
		t.Errorf("used again: %s, was %s", got, want)
	}
	b.until(shown + `?.naturalHeight === 64`)

	// Its file tells all but the images.
	b.press("#advanced button", "Reset")
	if err := os.WriteFile(file, []byte(get(t, address+job.Images[0].URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#parameters-file"), []string{file}))
	b.until(`document.querySelectorAll('#controls .unit').length === 2 && document.querySelectorAll('#references .unit').length === 1`)
	if got := lists(); !sameJSON(t, got, `[[{"model":"controlnet","scale":0.7,"preprocessor":"canny"}],[{"model":"t2i-adapter","scale":1}],[{"model":"sdxl_models/`+p.IPAdapters[0].Name+`","scale":1}],null]`) {
		t.Errorf("from the file: %s", got)
	}
}

// What a server has no files for is not offered.
func TestBrowserNothingToSteer(t *testing.T) {
	b, _, _ := withSource(t)
	for _, id := range []string{"controls-details", "references-details", "loras-details", "hires-details"} {
		if value[bool](b, fmt.Sprintf("document.getElementById(%q).checkVisibility()", id)) {
			t.Errorf("%s is shown beside an image, without models for it", id)
		}
	}
	b.view("#tiles [data-image]")
	if value[bool](b, `[...document.querySelectorAll('#viewer .action')].some((e) => /Upscale|control|reference/.test(e.textContent))`) {
		t.Error("the viewer offers what there are no models for")
	}
}
