//go:build browser && !nodemo

package main

import (
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// point is a place of an element, in fractions of its sides.
type point struct{ x, y float64 }

// at gives where points of what a selector finds are in the window.
func (b *tab) at(selector string, points []point) (list []point) {
	b.t.Helper()
	box := value[[]float64](b, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()`, selector))
	for _, p := range points {
		list = append(list, point{box[0] + p.x*box[2], box[1] + p.y*box[3]})
	}
	return list
}

// drag presses the mouse on an element at the first of some points, moves it through the others and releases it there.
func (b *tab) drag(selector string, points ...point) {
	b.t.Helper()
	b.dragTo(b.at(selector, points)...)
}

// dragTo does so at points of the window.
func (b *tab) dragTo(points ...point) {
	b.t.Helper()
	first, last := points[0], points[len(points)-1]
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, first.x, first.y),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, first.x, first.y, chromedp.ButtonLeft, chromedp.ClickCount(1)))
	for _, p := range points[1:] {
		b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, p.x, p.y, chromedp.ButtonLeft))
	}
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, last.x, last.y, chromedp.ButtonLeft, chromedp.ClickCount(1)))
}

// swipe draws a finger over an element, from the first of some points to the last.
func (b *tab) swipe(selector string, points ...point) {
	b.t.Helper()
	b.swipeTo(b.at(selector, points)...)
}

// swipeTo does so at points of the window.
func (b *tab) swipeTo(points ...point) {
	b.t.Helper()
	for i, p := range points {
		kind := input.DispatchTouchEventTypeTouchMove
		if i == 0 {
			kind = input.DispatchTouchEventTypeTouchStart
		}
		b.touch(kind, p)
	}
	b.touch(input.DispatchTouchEventTypeTouchEnd)
}

// touch says where all fingers are now, in the window.
func (b *tab) touch(kind input.DispatchTouchEventType, fingers ...point) {
	b.t.Helper()
	points := []*input.TouchPoint{}
	for i, p := range fingers {
		points = append(points, &input.TouchPoint{X: p.x, Y: p.y, ID: new(float64(i))})
	}
	if _, err := chromedp.Call(b.ctx, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points}); err != nil {
		b.t.Fatal(err)
	}
}
