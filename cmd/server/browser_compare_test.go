//go:build browser && !nodemo

package main

import (
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
	b.view("#tiles [data-image='" + job.Images[0].ID + "']")
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
