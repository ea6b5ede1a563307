//go:build browser && !nodemo

package main

import (
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A border is dragged by mouse and finger, moved by keys and typed, and is painted around the image.
func TestBrowserOutpaint(t *testing.T) {
	b, address, source := withSource(t)
	border := func() []int { return kept[struct{ Outpaint []int }](b).Outpaint }
	b.edit("outpaint")
	scale := value[float64](b, `document.getElementById('mask-canvas').getBoundingClientRect().width / 128`)
	from := b.at("#outpaint-handle-right", []point{{0.5, 0.5}})[0]
	b.dragTo(from, point{from.x + 10*scale, from.y}, point{from.x + 33*scale, from.y})
	b.do(chromedp.Focus(chromedp.CSS("#outpaint-handle-top")))
	b.do(chromedp.KeyEvent(kb.ArrowUp), chromedp.KeyEvent(kb.ArrowUp), chromedp.KeyEvent(kb.ArrowUp), chromedp.KeyEvent(kb.ArrowDown))
	if now := value[string](b, `document.activeElement.getAttribute('aria-valuetext')`); now != "16 pixels" {
		t.Errorf("the handle says %q", now)
	}
	b.fill("outpaint-bottom", "8")
	b.fill("outpaint-left", "24")
	if text := value[string](b, `document.getElementById('outpaint-size').value`); text != "184 × 120" {
		t.Errorf("the size is said to be %q", text)
	}
	b.done()
	if got := border(); !slices.Equal(got, []int{24, 16, 32, 8}) {
		t.Errorf("the border is %v", got)
	}
	b.fill("steps", "4")
	job := b.computed(address)
	if made := job.Images[0]; job.Task != "inpaint" || made.Width != 184 || made.Height != 120 || !slices.Equal(job.Parameters.Outpaint, []int{24, 16, 32, 8}) {
		t.Errorf("%+v", job)
	}
	if before, after := downloaded(t, address, source), downloaded(t, address, job.Images[0].ID); before.At(60, 50) != after.At(60+24, 50+16) {
		t.Error("the image was repainted too")
	}

	// Before and after: the image lies where it lies in the result.
	b.view("#tiles [data-image='" + job.Images[0].ID + "']")
	b.click(".compare-toggle")
	if got := value[[]int](b, `(() => {
		const whole = document.querySelector('.compare').getBoundingClientRect();
		const r = document.querySelector('.before img').getBoundingClientRect();
		return [r.left - whole.left, r.top - whole.top, whole.right - r.right, whole.bottom - r.bottom].map((side) => Math.round((184 * side) / whole.width));
	})()`); !slices.Equal(got, []int{24, 16, 32, 8}) {
		t.Errorf("the image before lies %v pixels within", got)
	}
	b.click("#viewer .close")

	// A finger drags the left edge, and none is left of it all by the button.
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.edit("outpaint")
	scale = value[float64](b, `document.getElementById('mask-canvas').getBoundingClientRect().width / 128`)
	from = b.at("#outpaint-handle-left", []point{{0.5, 0.5}})[0]
	b.swipeTo(from, point{from.x - 8*scale, from.y}, point{from.x - 16*scale, from.y})
	b.done()
	if got := border(); !slices.Equal(got, []int{40, 16, 32, 8}) {
		t.Errorf("the border is %v", got)
	}
	b.click("#inpaint-parts button")
	if got := border(); got != nil {
		t.Errorf("the border is %v", got)
	}
}
