//go:build browser && !nodemo

package main

import (
	"fmt"
	"image"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The mask that is painted is what the server gets and repaints, and no other pixels change.
func TestBrowserMask(t *testing.T) {
	b, address, source := withSource(t)
	b.edit("mask")
	b.fill("mask-size", "16")
	b.drag("#mask-canvas", point{0.25, 0.5}, point{0.5, 0.5}, point{0.75, 0.5})
	b.done()
	b.until(`document.getElementById('source-paint').checkVisibility()`)
	request := kept[struct {
		Image, Mask string
		Strength    float64
	}](b)
	mask := downloaded(t, address, request.Mask)
	if mask.Bounds().Size() != image.Pt(128, 96) {
		t.Fatalf("the mask is %v", mask.Bounds())
	}
	for y := range 96 {
		for x := range 128 {
			far := max(32-x, x-96, 0)*max(32-x, x-96, 0) + (y-48)*(y-48) // from the line, squared, but for half a pixel
			switch white := far < 6*6; {
			case far >= 6*6 && far <= 10*10: // the edge, which may be grey
			case painted(t, mask, x, y) != white:
				t.Fatalf("at %d, %d the mask is not white: %v", x, y, white)
			}
		}
	}
	if request.Image != source || request.Strength != 0.9999 {
		t.Errorf("the form has %+v", request)
	}

	b.run("document.getElementById('inpaint-options').open = true")
	b.fill("mask_blur", "2")
	b.run(`(() => { const e = document.getElementById('inpaint_fill'); e.value = 'noise'; e.dispatchEvent(new Event('change', { bubbles: true })); })()`)
	b.fill("steps", "4")
	job := b.computed(address)
	p := job.Parameters
	if in := job.inputs(); job.Task != "inpaint" || in["image"] != source || in["mask"] != request.Mask || p.MaskBlur != 2 || p.InpaintFill != "noise" || p.SoftMask || p.MaskInvert || p.MaskPadding != nil {
		t.Errorf("%+v", job)
	}
	before, after := downloaded(t, address, source), downloaded(t, address, job.Images[0].ID)
	if before.At(64, 10) != after.At(64, 10) || before.At(5, 48) != after.At(5, 48) || before.At(64, 48) == after.At(64, 48) {
		t.Error("other pixels were repainted than the mask's")
	}

	// A job that is used again brings its image, its mask and how it was repainted.
	b.press("#source-set button", "Remove")
	b.until(`document.getElementById('size').checkVisibility()`)
	if again := kept[map[string]any](b); again["mask"] != nil || again["mask_blur"] != nil {
		t.Errorf("without an image the form has %v", again)
	}
	b.press(".ended button", "Reuse")
	b.until(`document.getElementById('source-paint').checkVisibility() && document.getElementById('source-size').textContent === '128 × 96'`)
	again := kept[map[string]any](b)
	if again["image"] != source || again["mask"] != request.Mask || again["mask_blur"] != 2.0 || again["inpaint_fill"] != "noise" || again["strength"] != 0.9999 || again["width"] != nil {
		t.Errorf("used again: %v", again)
	}
	b.do(chromedp.Reload())
	b.ready()
	if after := kept[map[string]any](b); fmt.Sprint(after) != fmt.Sprint(again) {
		t.Errorf("after a reload the form has %v, had %v", after, again)
	}
}

// The eraser takes paint away, and what was done is undone and done again, by buttons and by keys.
func TestBrowserMaskTools(t *testing.T) {
	b, address, _ := withSource(t)
	read := func() image.Image {
		t.Helper()
		b.done()
		defer b.edit("mask")
		return downloaded(t, address, kept[struct{ Mask string }](b).Mask)
	}
	check := func(what string, points map[image.Point]bool) {
		t.Helper()
		mask := read()
		for p, want := range points {
			if painted(t, mask, p.X, p.Y) != want {
				t.Errorf("%s: at %v the mask is white: %v", what, p, !want)
			}
		}
	}
	left, middle, above := image.Pt(40, 48), image.Pt(64, 48), image.Pt(64, 8)
	b.edit("mask")
	b.fill("mask-size", "16")
	b.drag("#mask-canvas", point{0.25, 0.5}, point{0.75, 0.5})
	b.click("#mask-eraser")
	b.drag("#mask-canvas", point{0.5, 0.2}, point{0.5, 0.8})
	b.click("#mask-undo")
	b.do(chromedp.KeyEvent("z", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	if value[bool](b, `document.getElementById('mask-redo').disabled || !document.getElementById('mask-undo').disabled`) {
		t.Error("two strokes were not undone")
	}
	b.click("#mask-redo")
	check("a stroke, and one undone", map[image.Point]bool{left: true, middle: true, above: false})

	// What there was is still there, and is changed.
	b.click("#mask-eraser")
	b.fill("mask-size", "16")
	b.drag("#mask-canvas", point{0.5, 0.2}, point{0.5, 0.8})
	check("erased", map[image.Point]bool{left: true, middle: false, above: false})
	b.click("#mask-invert")
	check("inverted", map[image.Point]bool{left: false, middle: true, above: true})
	b.click("#mask-clear")
	b.done()
	if mask := kept[struct{ Mask string }](b).Mask; mask != "" {
		t.Errorf("a mask without paint is %s", mask)
	}

	// By keys alone: from the middle to the left by quarters of the brush, and off the canvas.
	b.edit("mask")
	b.fill("mask-size", "16")
	b.do(chromedp.Focus(chromedp.CSS("#mask-canvas")))
	keys := []string{" ", kb.ArrowLeft, kb.ArrowLeft, kb.ArrowLeft, kb.ArrowLeft, kb.ArrowLeft, kb.ArrowLeft, " ", kb.ArrowUp, kb.ArrowUp}
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
	check("by keys", map[image.Point]bool{left: true, middle: true, above: false, {36, 36}: false, {88, 48}: false})

	// What is pasted meanwhile does not take the image's place.
	if !value[bool](b, `(() => {
		const clipboardData = new DataTransfer();
		clipboardData.items.add(new File(['x'], 'file.png', { type: 'image/png' }));
		return dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
	})()`) {
		t.Error("an image is pasted below the dialog")
	}

	// Leaving with changes asks.
	b.do(chromedp.KeyEvent("e"))
	b.drag("#mask-canvas", point{0.3, 0.5}, point{0.6, 0.5})
	b.do(chromedp.KeyEvent(kb.Escape))
	if label := value[string](b, `document.getElementById('editor').open && document.activeElement.textContent`); label != "Discard?" {
		t.Errorf("leaving asks %q", label)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`!document.getElementById('editor').open`)
	b.edit("mask")
	check("after erasing was discarded", map[image.Point]bool{left: true, middle: true})
}

// A finger paints, in a window of a phone's width, and the page does not scroll below it.
func TestBrowserMaskTouch(t *testing.T) {
	b, address, _ := withSource(t)
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.edit("mask")
	b.fill("mask-size", "16")
	b.swipe("#mask-canvas", point{0.5, 0.2}, point{0.5, 0.4}, point{0.5, 0.6}, point{0.5, 0.8})
	if !value[bool](b, `document.getElementById('brush').hidden`) {
		t.Error("the brush is shown where no finger is")
	}
	if scroll := value[float64](b, `document.getElementById('editor').scrollTop + document.getElementById('board').scrollTop`); scroll != 0 {
		t.Errorf("the page scrolled by %v", scroll)
	}
	for _, id := range []string{"mask-brush", "mask-size", "mask-undo", "mask-clear", "editor-done", "editor-cancel"} {
		if !value[bool](b, fmt.Sprintf(`(() => { const r = document.getElementById(%q).getBoundingClientRect(); return r.left >= 0 && r.right <= 390 && r.bottom <= 844; })()`, id)) {
			t.Errorf("%s is outside of the window", id)
		}
	}
	b.done()
	mask := downloaded(t, address, kept[struct{ Mask string }](b).Mask)
	for p, want := range map[image.Point]bool{{64, 24}: true, {64, 48}: true, {64, 72}: true, {48, 48}: false, {64, 4}: false} {
		if painted(t, mask, p.X, p.Y) != want {
			t.Errorf("at %v the mask is white: %v", p, !want)
		}
	}
}

// Two fingers, the wheel and keys make the image larger, and paint goes where it is seen.
func TestBrowserMaskZoom(t *testing.T) {
	b, address, _ := withSource(t)
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.edit("mask")
	b.fill("mask-size", "8")
	wide := func() float64 {
		t.Helper()
		return value[float64](b, `document.getElementById('mask-canvas').getBoundingClientRect().width`)
	}
	fits := wide()
	from := b.at("#mask-canvas", []point{{0.4, 0.5}, {0.6, 0.5}, {0.3, 0.5}, {0.7, 0.5}})
	b.touch(input.DispatchTouchEventTypeTouchStart, from[0]) // which paints, until there are two
	b.touch(input.DispatchTouchEventTypeTouchStart, from[0], from[1])
	b.touch(input.DispatchTouchEventTypeTouchMove, from[2], from[3])
	b.touch(input.DispatchTouchEventTypeTouchEnd)
	if got := wide() / fits; got < 1.9 || got > 2.1 {
		t.Errorf("two fingers twice as far apart make the image %v times as wide", got)
	}
	if value[bool](b, "!document.getElementById('mask-undo').disabled") {
		t.Error("two fingers paint")
	}
	b.swipe("#mask-canvas", point{0.5, 0.5}, point{0.6, 0.5})
	b.do(chromedp.KeyEvent("0"))
	if wide() != fits {
		t.Errorf("the image is %v wide, fitted it was %v", wide(), fits)
	}
	b.do(chromedp.KeyEvent("+"))
	if got := wide() / fits; got < 1.4 || got > 1.6 {
		t.Errorf("the key makes the image %v times as wide", got)
	}
	b.done()
	mask := downloaded(t, address, kept[struct{ Mask string }](b).Mask)
	for p, want := range map[image.Point]bool{{64, 48}: true, {76, 48}: true, {52, 48}: false, {88, 48}: false, {70, 60}: false} {
		if painted(t, mask, p.X, p.Y) != want {
			t.Errorf("at %v the mask is white: %v", p, !want)
		}
	}
}
