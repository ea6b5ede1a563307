package sdxl

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"time"

	"github.com/goxl/goxl/internal/resample"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
)

// UpscaleRequest asks for an image to be enlarged.
type UpscaleRequest struct {
	Upscaling
	Image     image.Image   // its alpha is dropped
	Precision kernels.DType // of the models; 0 is the device's own

	// Progress is called after each tile, Step of Steps. Where the device's memory is too small for a tile, smaller ones
	// take its place, and there are more of them. It must not call a model of the host.
	Progress func(Progress)
	// Stop ends the work within a tile once it is closed, as A1111's interrupt does: what the image has come to by then is
	// resized. Parameters.Interrupted says so.
	Stop <-chan struct{}
	// OnComputed is called once the device is not needed any more.
	OnComputed func()
}

// Upscale enlarges an image, and gives it as the one of the result's Images. A model that is needed for it is a
// component of the host's planner; it stays open for the next call, until another takes its place or CloseUpscaler is
// called. Filters leave the device alone. Calls compute one at a time, as those of the host's models do.
func (h *Host) Upscale(ctx context.Context, r UpscaleRequest) (*Result, error) {
	if r.Image == nil {
		return nil, bad("image", "nil", "an image")
	}
	plan, err := r.plan(imageSize(r.Image))
	if err != nil {
		return nil, err
	}
	if _, blank := r.Image.(Blank); blank {
		return nil, bad("image", "blank", "an image with pixels")
	}
	run := &upscaleRun{host: h, request: r, plan: plan, began: time.Now()}
	images := make([]*image.NRGBA, len(plan.upscalers))
	if err := run.compute(ctx, images); err != nil {
		return nil, err
	}
	if r.OnComputed != nil {
		r.OnComputed()
	}
	for i, img := range images {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		images[i] = plan.finish(plan.upscalers[i], img)
	}
	if len(images) > 1 {
		resample.Blend(images[0], images[1], plan.Upscale.SecondVisibility)
	}
	return &Result{Images: images[:1], Parameters: plan.Parameters, Steps: run.done}, nil
}

// Upscale is Host.Upscale on the model's host, by default in the model's precision. Close closes what it left open.
func (m *Model) Upscale(ctx context.Context, r UpscaleRequest) (*Result, error) {
	m.upscales.Store(true)
	r.Precision = cmp.Or(r.Precision, m.options.Precision)
	return m.host.Upscale(ctx, r)
}

// upscaleRun is what a call of Upscale does on the device.
type upscaleRun struct {
	host    *Host
	request UpscaleRequest
	plan    *upscalePlan
	began   time.Time

	done, tiles int // of all passes
}

// compute sends the request's image through each upscaler that is a model; images are what comes out.
func (u *upscaleRun) compute(ctx context.Context, images []*image.NRGBA) error {
	source := opaque(u.request.Image)
	for i := range images {
		images[i] = source
	}
	if u.plan.Upscale.FLOPs == 0 {
		return ctx.Err()
	}
	slot, err := u.host.acquire(ctx)
	if err != nil {
		return err
	}
	defer slot.release()
	working, stop := context.WithCancel(ctx)
	defer stop()
	if u.request.Stop != nil {
		go func() { // ends with the work
			select {
			case <-u.request.Stop:
				stop()
			case <-working.Done():
			}
		}()
	}
	u.plan.Device = u.host.device.Info().Name
	u.plan.Precision = u.precision().String()
	for i, of := range u.plan.upscalers {
		if images[i], err = u.enlarge(working, of, source); err != nil {
			break
		}
	}
	if err != nil && ctx.Err() == nil && working.Err() != nil {
		u.plan.Interrupted, err = &Interruption{u.done, u.tiles}, nil
	}
	return err
}

func (u *upscaleRun) precision() kernels.DType {
	if p := u.request.Precision; p != 0 {
		return p
	}
	return u.host.device.Info().Precisions[0]
}

// enlarge sends an image through a model as often as is planned. With an error, it gives what it has come to.
func (u *upscaleRun) enlarge(ctx context.Context, of upscaler, img *image.NRGBA) (*image.NRGBA, error) {
	if of.filter != "" {
		return img, nil
	}
	f, err := u.host.openUpscaler(of.path, u.request.Precision)
	if err != nil {
		return img, fmt.Errorf("upscaler: %w", err)
	}
	f.Tile, f.Overlap = u.request.Tile, upscaleOverlap(u.request.Tile)
	defer func() { f.Tile, f.Overlap = 0, esrgan.DefaultOverlap }()
	later := 0 // tiles of the passes behind this one
	for _, size := range of.passes {
		later += f.Tiles(size.Width, size.Height)
	}
	before := u.done
	for _, size := range of.passes {
		u.tiles = max(u.tiles, before+later)
		later -= f.Tiles(size.Width, size.Height)
		large, err := f.Upscale(ctx, img, func(done, tiles int) {
			u.done, u.tiles = before+done, before+tiles+later
			u.show()
		})
		if err != nil {
			return img, fmt.Errorf("upscaler: %w", err)
		}
		before, img = u.done, large
	}
	return img, nil
}

// show tells how many tiles are done.
func (u *upscaleRun) show() {
	if u.request.Progress == nil {
		return
	}
	at := Progress{Step: u.done, Steps: u.tiles, Elapsed: time.Since(u.began)}
	at.Left = at.Elapsed / time.Duration(max(1, u.done)) * time.Duration(u.tiles-u.done)
	u.request.Progress(at)
}

// upscaleTo enlarges an image until it has a size, and resizes it to that.
func upscaleTo(ctx context.Context, u *esrgan.Upscaler, img *image.NRGBA, size Size) (*image.NRGBA, error) {
	if imageSize(img) == size {
		return img, nil
	}
	for range upscalePasses(imageSize(img), size, u.Config.Scale()) {
		var err error
		if img, err = u.Upscale(ctx, img, nil); err != nil {
			return nil, err
		}
	}
	return ResizeStretch.resize(img, size.Width, size.Height), nil
}

// finish brings what an upscaler gave to the result's size.
func (plan *upscalePlan) finish(of upscaler, img *image.NRGBA) *image.NRGBA {
	if of.filter != "" && imageSize(img) != plan.reached {
		img = filters[of.filter](img, plan.reached.Width, plan.reached.Height)
	}
	return plan.Resize.resize(img, plan.target.Width, plan.target.Height)
}
