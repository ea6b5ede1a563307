//go:build browser && !nodemo

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// From a prompt to a file: previews and progress are shown, the image is the server's, its file says how it was made,
// and so do the command and the form.
func TestBrowserGenerate(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu", "-max-batch", "4")
	b := open(t, newBrowser(t), address)
	// What was shown while the job was computed, and what was copied.
	b.run(`(() => {
		window.seen = { previews: 0, statuses: [] };
		new MutationObserver(() => {
			if (document.querySelector('.working .frame img[src^="data:image/jpeg"]')) window.seen.previews++;
			const status = document.querySelector('.working .status')?.textContent;
			if (status && !window.seen.statuses.includes(status)) window.seen.statuses.push(status);
		}).observe(document.getElementById('stage'), { subtree: true, childList: true, attributes: true, characterData: true });
		const write = navigator.clipboard.writeText.bind(navigator.clipboard);
		navigator.clipboard.writeText = async (text) => { await write(text); window.copied = text; };
	})()`)

	b.small("a red apple on a blue background", 24)
	const seed = "18446744073709551615" // more than a float64 holds
	b.fill("seed", seed)
	b.do(chromedp.Focus(chromedp.CSS("#prompt")), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.until(`document.querySelector('.ended.done img')?.complete`)
	if n, statuses := value[int](b, "seen.previews"), value[[]string](b, "seen.statuses"); n == 0 || !slices.ContainsFunc(statuses, func(s string) bool { return strings.Contains(s, " of 24") }) {
		t.Errorf("%d previews, and %q", n, statuses)
	}
	jobs := listed(t, address, "state=done")
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	id := jobs[0].Images[0].ID
	if got := b.shown(); !slices.Equal(got, []string{id}) {
		t.Errorf("the history shows %q, want %s", got, id)
	}

	// The download is the server's file.
	folder := t.TempDir()
	if _, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder, EventsEnabled: new(true),
	}); err != nil {
		t.Fatal(err)
	}
	progress := chromedp.BrowserEvents(b.ctx, browser.DownloadProgress)
	b.press(".ended a", "Download")
	for e, err := range progress {
		if err != nil || e.State == browser.DownloadProgressStateCanceled {
			t.Fatal(e, err)
		}
		if e.State == browser.DownloadProgressStateCompleted {
			break
		}
	}
	file := filepath.Join(folder, id+".png")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := get(t, address+"/download/"+id); string(data) != want {
		t.Errorf("the download has %d bytes, the server %d", len(data), len(want))
	}
	if config, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || config.Width != 128 || config.Height != 128 {
		t.Errorf("%+v, %v", config, err)
	}

	// The file fills an empty form, which then asks for the same.
	before := value[string](b, "localStorage.getItem('goxl.form')")
	b.run("localStorage.clear()")
	b.do(chromedp.Reload())
	b.ready()
	if prompt := value[string](b, "document.getElementById('prompt').value"); prompt != "" {
		t.Errorf("the form has %q", prompt)
	}
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#parameters-file"), []string{file}))
	b.until("document.getElementById('prompt').value !== ''")
	var was, is map[string]any
	if err := json.Unmarshal([]byte(before), &was); err != nil {
		t.Fatal(err)
	}
	after := value[string](b, "localStorage.getItem('goxl.form')")
	if err := json.Unmarshal([]byte(after), &is); err != nil {
		t.Fatal(err)
	}
	for name, want := range was {
		if got := fmt.Sprint(is[name]); got != fmt.Sprint(want) && name != "refiner" {
			t.Errorf("%s is %s after the file was read, want %v", name, got, want)
		}
	}

	// The command computes the same image.
	b.click("#tiles [data-image]") // which lets the page write to the clipboard
	b.until("document.getElementById('viewer').open")
	b.run(`(() => {
		const write = navigator.clipboard.writeText.bind(navigator.clipboard);
		navigator.clipboard.writeText = async (text) => { await write(text); window.copied = text; };
	})()`)
	if text := value[string](b, "document.querySelector('#viewer dl').innerText"); !strings.Contains(text, seed) || !strings.Contains(text, "128 × 128") {
		t.Errorf("the parameters are %q", text)
	}
	b.press("#viewer button", "Copy as curl")
	b.until("window.copied")
	command := value[string](b, "window.copied")
	prefix := "curl " + address + "/v1/jobs -H 'Content-Type: application/json' -d '"
	body, ok := strings.CutPrefix(strings.TrimSuffix(command, "'"), prefix)
	if !ok {
		t.Fatalf("the command is %s", command)
	}
	again := ask(t, "POST", address+"/v1/jobs", body, 202)
	done := until(t, address+"/v1/jobs/"+again.ID, func(j jobState) bool { return j.State == "done" })
	if !bytes.Equal(pixels(t, data), pixels(t, []byte(get(t, address+done.Images[0].URL)))) {
		t.Error("the command computes another image")
	}
}

// pixels decodes a PNG file.
func pixels(t *testing.T, data []byte) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var list []byte
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			list = append(list, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return list
}

// An uploaded file, then an image of the history, are what image-to-image begins with; what is deleted is gone.
func TestBrowserInput(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	first := ask(t, "POST", address+"/v1/jobs", `{"prompt":"a","width":64,"height":64,"num_inference_steps":2}`, 202)
	made := until(t, address+"/v1/jobs/"+first.ID, func(j jobState) bool { return j.State == "done" }).Images[0]
	file := filepath.Join(t.TempDir(), "in.png")
	if err := os.WriteFile(file, []byte(get(t, address+made.URL)), 0o600); err != nil {
		t.Fatal(err)
	}

	b.fill("prompt", "a green pear")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#source-file"), []string{file}))
	b.until(`document.getElementById('source-size').textContent === '64 × 64'`)
	if value[bool](b, "document.getElementById('size').checkVisibility()") {
		t.Error("a size can be chosen beside an image")
	}
	b.fill("steps", "8")
	b.fill("strength", "0.5")
	b.click("#generate")
	b.until(`document.querySelector('.ended.done img')?.complete`)
	var whole struct {
		Task       string
		Inputs     []struct{ ID, Role string }
		Refiner    bool
		Parameters struct{ Strength float64 }
	}
	read := func() {
		t.Helper()
		id := value[string](b, "document.querySelector('.ended.done').dataset.job")
		if err := json.Unmarshal([]byte(get(t, address+"/v1/jobs/"+id)), &whole); err != nil {
			t.Fatal(err)
		}
	}
	if read(); whole.Task != "image-to-image" || len(whole.Inputs) != 1 || whole.Inputs[0].ID == made.ID || whole.Refiner || whole.Parameters.Strength != 0.5 {
		t.Errorf("%+v", whole)
	}

	// An image of the server goes to the refiner by its id.
	b.press(".ended button", "Send to refiner")
	image := value[string](b, "document.querySelector('.ended [data-image]').dataset.image")
	b.until(`document.getElementById('source-image').src.endsWith('` + image + `')`)
	b.fill("steps", "8")
	b.fill("strength", "0.5")
	b.click("#generate")
	b.until(`document.querySelector('.ended.done [data-image]')?.dataset.image !== '` + image + `' && document.querySelector('.ended.done img')?.complete`)
	if read(); len(whole.Inputs) != 1 || whole.Inputs[0].ID != image || !whole.Refiner {
		t.Errorf("%+v, want the refiner and image %s", whole, image)
	}

	// Deleting asks once more.
	job := value[string](b, "document.querySelector('.ended.done').dataset.job")
	b.press(".ended button", "Delete")
	if state := ask(t, "GET", address+"/v1/jobs/"+job, "", 200).State; state != "done" {
		t.Errorf("after one click the job is %s", state)
	}
	b.press(".ended button", "Really delete?")
	b.until(`!document.querySelector('[data-job="` + job + `"]')`)
	ask(t, "GET", address+"/v1/jobs/"+job, "", 404)
}

// What the server refuses is said at the field, and the form is kept.
func TestBrowserProblem(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu", "-model", "synth:tiny")
	b := open(t, newBrowser(t), address)
	b.expect("422")
	b.fill("prompt", "a")
	b.fill("width", "100")
	b.click("#generate")
	b.until(`document.activeElement.id === 'width' && document.getElementById('width').getAttribute('aria-invalid') === 'true'`)
	if text := value[string](b, "document.getElementById('problem').innerText"); !strings.Contains(text, "multiple of 8") {
		t.Errorf("the problem is %q", text)
	}
	b.do(chromedp.Reload())
	b.ready()
	if width := value[string](b, "document.getElementById('width').value"); width != "100" {
		t.Errorf("after a reload the width is %s", width)
	}
	if n := len(listed(t, address, "")); n != 0 {
		t.Errorf("%d jobs", n)
	}
}
