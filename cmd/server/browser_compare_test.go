//go:build browser && !nodemo

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The divider between before and after is dragged by mouse and finger, and moved by keys, which then do not go through
// the history.
func TestBrowserCompare(t *testing.T) {
	b, address, source := withSource(t)
	b.fill("steps", "8")
	b.fill("strength", "0.5")
	job := b.computed(address)
	b.click("#tiles [data-image='" + job.Images[0].ID + "']")
	b.click(".compare-toggle")
	at := func() float64 {
		t.Helper()
		return value[float64](b, `Number(document.querySelector('.divider').getAttribute('aria-valuenow'))`)
	}
	// What is visible of the image before, in percent of the width.
	shown := func() float64 {
		t.Helper()
		return value[float64](b, `(() => {
			const whole = document.querySelector('.compare').getBoundingClientRect();
			const right = getComputedStyle(document.querySelector('.before')).clipPath.match(/calc\(100% - ([\d.]+)%\)|([\d.]+)%/);
			return right[1] ? Number(right[1]) : 100 - Number(right[2]);
		})()`)
	}
	if src := value[string](b, `document.querySelector('.before img').src`); !strings.HasSuffix(src, source) {
		t.Errorf("before is %s, want %s", src, source)
	}
	b.drag(".compare", point{0.5, 0.3}, point{0.4, 0.3}, point{0.25, 0.4})
	if at() != 25 || shown() != 25 {
		t.Errorf("the divider is at %v, and %v %% are shown", at(), shown())
	}
	for _, k := range []string{kb.ArrowRight, kb.ArrowRight, kb.ArrowLeft, kb.PageUp} {
		b.do(chromedp.KeyEvent(k))
	}
	if at() != 37 {
		t.Errorf("after keys the divider is at %v", at())
	}
	b.do(chromedp.KeyEvent(kb.Home))
	if at() != 0 {
		t.Errorf("after Home the divider is at %v", at())
	}
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.swipe(".compare", point{0.5, 0.5}, point{0.6, 0.5}, point{0.75, 0.5})
	if at() != 75 {
		t.Errorf("after a finger the divider is at %v", at())
	}

	// A message is seen above the dialog.
	b.press("#viewer button", "Copy as curl")
	b.until(`(() => {
		const r = document.querySelector('#notes .note')?.getBoundingClientRect();
		return r && document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2)?.closest('.note');
	})()`)
	b.click("#notes .note button")

	// An image that was made of none has nothing to compare.
	b.do(chromedp.Focus(chromedp.CSS("#viewer .close")), chromedp.KeyEvent(kb.ArrowRight))
	b.until(`!document.querySelector('.compare') && document.querySelector('.view > img').src.endsWith('` + source + `')`)
	if value[bool](b, `Boolean(document.querySelector('.compare-toggle'))`) {
		t.Error("an image without one before it can be compared")
	}
	b.do(chromedp.KeyEvent(kb.ArrowLeft))
	b.until(`document.querySelector('.compare')`)
}

// A job that is stopped has the image so far.
func TestBrowserInterrupt(t *testing.T) {
	_, address := spawn(t, "-images", filepath.Join(t.TempDir(), "images"), "-device", "cpu")
	b := open(t, newBrowser(t), address)
	b.small("a red apple", 200)
	b.fill("width", "256")
	b.click("#generate")
	b.until(`/^Step [2-9]/.test(document.querySelector('.working .status')?.textContent)`)
	b.click(".working .interrupt")
	b.until(`document.querySelector('.ended.done img')?.complete`)
	job := jobOf(t, address, value[string](b, "document.querySelector('.ended').dataset.job"))
	if p := job.Parameters; job.State != "done" || p.Interrupted == nil || p.Interrupted.Steps != 200 || p.Interrupted.StepsDone >= 200 || p.Interrupted.StepsDone < 2 {
		t.Errorf("%+v", job)
	}
	if text := value[string](b, `document.querySelector('.ended .status').textContent`); !strings.HasPrefix(text, "Stopped early, in ") {
		t.Errorf("the page says %q", text)
	}
	b.press(".ended button", "Reuse")
	if steps := value[string](b, "document.getElementById('steps').value"); steps != "200" {
		t.Errorf("used again it has %s steps", steps)
	}
}

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
	if text := value[string](b, "document.getElementById('hires-result').value"); text != "192 × 192" {
		t.Errorf("the size is said to be %q", text)
	}
	job := b.computed(address)
	h := job.Parameters.Hires
	if made := job.Images[0]; h == nil || h.Scale != 1.5 || h.Steps != 2 || h.Strength != 0.6 || h.Upscaler != "lanczos" || made.Width != 192 || made.Height != 192 {
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
