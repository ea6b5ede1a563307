package sdxl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/taesd"
)

// previewFraction is the most of a run's time that PreviewAuto gives to TAESD.
const previewFraction = 0.05

// tooDear is the cost of a preview that no other of its size follows.
const tooDear = time.Duration(math.MaxInt64)

// pace says when PreviewAuto has the next preview by TAESD.
type pace struct {
	now   func() time.Time
	since time.Time // the run began, or had its last one
	had   bool      // it had one: no coarser one follows
}

// allows reports whether a preview that costs so much takes no more than its fraction of the time since the last one.
func (p *pace) allows(cost time.Duration) bool {
	return float64(cost) <= previewFraction*float64(p.now().Sub(p.since))
}

// checkPreviews refuses a method that is none.
func (o Options) checkPreviews() error {
	if o.PreviewMethod != "" && !slices.Contains(PreviewMethods(), o.PreviewMethod) {
		return fmt.Errorf("Options.PreviewMethod is %q: must be one of %q", o.PreviewMethod, PreviewMethods())
	}
	return nil
}

// previewMethod is the one of the options.
func (m *Model) previewMethod() PreviewMethod { return cmp.Or(m.options.PreviewMethod, PreviewAuto) }

// wantedPreview is a request's, nil where the model makes none.
func (m *Model) wantedPreview(p *Preview) *Preview {
	if m.previewMethod() == PreviewNone {
		return nil
	}
	return p
}

// previewTAESD is what makes previews by TAESD, nil if there is none.
func (m *Model) previewTAESD() *taesd.Autoencoder { return cmp.Or(m.PreviewTAESD, m.TAESD) }

// preparePreviews makes sure, before anything is computed but the text, that previews can be made.
func (r *Run) preparePreviews(ctx context.Context) error {
	if r.q.request.Preview == nil {
		return nil
	}
	method := r.m.previewMethod()
	if a := r.m.previewTAESD(); method == PreviewByTAESD && a == nil {
		return bad("preview", "by TAESD", "of a model that has one (Options.PreviewTAESD or Options.TAESD)")
	} else if a != nil && method != PreviewLatent2RGB {
		err := r.m.tileBy(tilingOf(a), true, false, r.imageSize())
		if err == nil {
			r.taesd = a
			if r.pace.now == nil { // else of the steps before, in another batch
				r.pace = pace{now: time.Now, since: r.started}
			}
		} else if method == PreviewByTAESD || !errors.Is(err, kernels.ErrMemory) {
			return err
		}
	}
	if method == PreviewByTAESD {
		return nil
	}
	rgb, err := r.m.rgbDecoder()
	if err == nil {
		err = rgb.prepare(ctx, r.shape)
	}
	if err != nil && r.taesd != nil {
		return nil // of latents that no matrix is known for
	}
	r.rgb = rgb
	return err
}

// imageSize is that of the images.
func (r *Run) imageSize() Size {
	f := r.m.VAE.Config.ScaleFactor()
	return Size{f * r.shape.height, f * r.shape.width}
}

// beginPreview makes the images of x0, or has the device do so. It gives nil where a preview by TAESD would come too soon
// after the last one.
func (r *Run) beginPreview(ctx context.Context) (*reading, error) {
	always := r.m.previewMethod() == PreviewByTAESD
	if r.taesd != nil && (always || r.pace.allows(r.m.previewCost(r.imageSize(), r.in.batch))) {
		begun, err := r.decodePreview(ctx)
		if always || !errors.Is(err, kernels.ErrMemory) {
			return begun, err
		}
		r.m.notePreview(r.imageSize(), 0, true) // other models have taken the memory meanwhile
	}
	if r.rgb == nil || r.pace.had {
		return nil, nil
	}
	return r.rgb.start(ctx, r.in, r.program, r.x0Name())
}

// decodePreview makes the images of x0 by TAESD.
func (r *Run) decodePreview(ctx context.Context) (*reading, error) {
	done := &reading{done: make(chan struct{})}
	close(done.done)
	data := make([]float32, r.elements())
	if err := r.program.Floats(ctx, r.x0Name(), data); err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	x0 := channelsFirst(r.latentShape(), data)
	if checkFinite("x0", x0) != nil {
		return done, nil // the latents are not finite either, which is found where they are read
	}
	size, weights, began := r.imageSize(), r.unet.Bytes(), r.pace.now()
	for i := range r.in.batch {
		z := one(x0, i)
		r.taesd.Unscale(z)
		err := r.m.tileBy(tilingOf(r.taesd), true, false, size)
		if err != nil {
			return nil, fmt.Errorf("preview: %w", err)
		}
		img, err := r.taesd.DecodeImage(ctx, z)
		if errors.Is(err, kernels.ErrNotFinite) {
			return &reading{done: done.done}, nil // the image itself may be fine
		}
		if err != nil {
			return nil, fmt.Errorf("preview: %w", err)
		}
		done.images = append(done.images, img)
	}
	r.pace.since, r.pace.had = r.pace.now(), true
	r.m.notePreview(size, r.pace.since.Sub(began)/time.Duration(r.in.batch), r.unet.Bytes() < weights)
	return done, nil
}

// previewCost is about what a preview by TAESD takes, of so many images; 0 where that is not known.
func (m *Model) previewCost(size Size, images int) time.Duration {
	cost := m.costs[size]
	if cost > tooDear/time.Duration(images) {
		return tooDear
	}
	return cost * time.Duration(images)
}

// notePreview notes what an image took. The first of a size loads weights and programs, and so says nothing. One that
// the UNet was evicted for costs its loading, which the next step pays; one that there is no room for is no better.
func (m *Model) notePreview(size Size, took time.Duration, noRoom bool) {
	if m.costs == nil {
		m.costs = map[Size]time.Duration{}
	}
	_, before := m.costs[size]
	switch {
	case noRoom:
		took = tooDear
	case !before:
		took = 0
	}
	m.costs[size] = took
}
