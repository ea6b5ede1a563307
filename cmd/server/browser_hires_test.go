//go:build browser && !nodemo

package main

import (
	"fmt"
	"path/filepath"
	"testing"
)

// The fields of a second pass are the job's, and come back when that is used again, by its file too.
func TestBrowserHires(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	b.small("a red apple", 3)
	b.run("document.getElementById('hires-details').open = true")
	b.click("#hires")
	b.fill("hires-scale", "1.5")
	b.fill("hires-steps", "2")
	b.fill("hires-strength", "0.6")
	b.run(`(() => { const e = document.getElementById('hires-upscaler'); e.value = 'lanczos'; e.dispatchEvent(new Event('change', { bubbles: true })); })()`)
	b.fill("hires-prompt", "a green pear")
	if text := value[string](b, "document.getElementById('hires-result').value"); text != "192 × 192" {
		t.Errorf("the size is said to be %q", text)
	}
	job := b.computed(address)
	h := job.Parameters.Hires
	if made := job.Images[0]; h == nil || h.Scale != 1.5 || h.Steps != 2 || h.Strength != 0.6 || h.Upscaler != "lanczos" || h.Prompt != "a green pear" || made.Width != 192 || made.Height != 192 {
		t.Errorf("%+v, %+v", job, h)
	}
	want := fmt.Sprint(kept[map[string]any](b)["hires"])
	b.press("#advanced button", "Reset")
	if kept[map[string]any](b)["hires"] != nil {
		t.Error("a form that was reset has a second pass")
	}
	b.press(".ended button", "Reuse")
	if got := fmt.Sprint(kept[map[string]any](b)["hires"]); got != want {
		t.Errorf("used again: %s, was %s", got, want)
	}
	b.press("#advanced button", "Reset")
	b.run(`fetch('` + job.Images[0].URL + `').then((r) => r.blob()).then(async (blob) => {
		const data = new DataTransfer();
		data.items.add(new File([blob], 'file.png', { type: 'image/png' }));
		const input = document.getElementById('parameters-file');
		input.files = data.files;
		input.dispatchEvent(new Event('change'));
	})`)
	b.until("document.getElementById('hires').checked")
	if got := fmt.Sprint(kept[map[string]any](b)["hires"]); got != want {
		t.Errorf("from the file: %s, was %s", got, want)
	}

	// A wrong value is said at its field.
	b.expect("422")
	b.fill("hires-scale", "99")
	b.click("#generate")
	b.until(`document.activeElement.id === 'hires-scale' && document.activeElement.getAttribute('aria-invalid') === 'true'`)
}
