//go:build browser && !nodemo

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// An image is enlarged from the viewer by a model of the server's folder, is compared with what it was, and its command
// enlarges it again.
func TestBrowserUpscale(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile("../../models/esrgan/testdata/compact3.pth")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "compact3.pth"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, address, source := withSource(t, "-upscaler-dir", dir)
	b.view("#tiles [data-image]")
	b.press("#viewer .action[aria-expanded]", "Upscale")
	if n := value[int](b, `document.querySelectorAll('#viewer .panel option').length`); n != 1 {
		t.Errorf("%d upscalers are offered, want the folder's", n)
	}
	b.run(`(() => { document.querySelector('#viewer .panel input').value = '99'; })()`)
	b.expect("422")
	b.click("#viewer .panel .go")
	b.until(`document.querySelector('#viewer .panel .problem').textContent.startsWith('scale: ')`)
	b.run(`(() => { document.querySelector('#viewer .panel input').value = '2'; })()`)
	b.click("#viewer .panel .go")
	b.until(`!document.getElementById('viewer').open && document.querySelector('.ended.done img')?.naturalWidth === 256`)
	job := jobOf(t, address, value[string](b, "document.querySelector('.ended').dataset.job"))
	if made := job.Images[0]; job.Task != "upscale" || job.inputs()["image"] != source || made.Width != 256 || made.Height != 192 {
		t.Errorf("%+v", job)
	}
	if text := value[string](b, `document.querySelector('.ended .prompt-line').textContent`); text != "Upscaled by compact3.pth" {
		t.Errorf("the page calls it %q", text)
	}
	if value[bool](b, `[...document.querySelectorAll('.ended button')].some((e) => e.textContent === 'Reuse parameters')`) {
		t.Error("the form can't hold an upscale, but offers to")
	}

	b.view("#tiles [data-image='" + job.Images[0].ID + "']")
	b.click(".compare-toggle")
	b.until(`document.querySelector('.before img').naturalWidth === 128`)
	body := value[string](b, `Promise.all([import('./page/params.js'), fetch('v1/options').then((r) => r.json()), fetch('v1/jobs/`+job.ID+`').then((r) => r.json())])
		.then(([{ requestOf }, options, job]) => JSON.stringify(requestOf(job, job.images[0], options)))`)
	again := ask(t, "POST", address+"/v1/jobs", body, 202)
	done := until(t, address+"/v1/jobs/"+again.ID, func(j jobState) bool { return j.State == "done" })
	var request map[string]any
	if err := json.Unmarshal([]byte(body), &request); err != nil || request["image"] != source || request["scale"] != 2.0 {
		t.Errorf("%s, %v", body, err)
	}
	if get(t, address+done.Images[0].URL) != get(t, address+job.Images[0].URL) {
		t.Error("the command enlarges to another image")
	}
}
