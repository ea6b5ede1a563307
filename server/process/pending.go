package process

import (
	"image"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// pending is a call that is not answered yet.
type pending struct {
	answer chan answer // holds one
	limit  patience
	quiet  time.Duration // since its last step
	on     callbacks
	with   []*pending // all that are computed together with it, itself among them; nil is alone
}

// heard notes a sign of life of a call, and of those that are computed together with it. Some of those may wait for the
// others, where they can't share their steps.
func (c *pending) heard(step bool) {
	all := c.with
	if all == nil {
		all = []*pending{c}
	}
	for _, one := range all {
		one.quiet = 0
		if step {
			one.limit.first = 0
		}
	}
}

// callbacks are a request's, each nil if it has none. They are called one after the other, before the call's answer.
type callbacks struct {
	loading  func(percent float64)
	step     func(sdxl.Progress)
	preview  func(step int, images []*image.NRGBA)
	computed func() // nil once it was called

	stop <-chan struct{} // ends the computation with what there is once it is closed; nil is never
}
