package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/nn"
)

// generateHires is both passes, for who has the right to compute.
func (m *Model) generateHires(ctx context.Context, r Request, held *slot) (*Result, error) {
	r = m.Spec().ChoosePreset(seeded(r))
	q, err := m.resolve(r)
	if err != nil {
		return nil, err
	}
	if len(r.T2IAdapters) > 0 { // which the second pass would refuse once the first is computed
		if err := m.Spec().CheckControls(r); err != nil {
			return nil, err
		}
	}
	var upscaler *esrgan.File
	if h := q.hires; !h.latent && filters[h.upscaler] == nil {
		m.upscales.Store(true)
		if upscaler, err = m.host.openUpscaler(h.upscaler, m.options.Precision); err != nil {
			return nil, badFile("hires.upscaler", h.upscaler, "one of "+strings.Join(HiresUpscalers(), ", ")+", or an ESRGAN file", err)
		}
	}
	one := r
	one.Hires, one.LatentsOnly, one.OnComputed = nil, true, nil
	one.GuidancePerStep = r.GuidancePerStep[:min(len(r.GuidancePerStep), max(1, q.steps()))]
	one.Progress = q.hiresProgress(r.Progress, 0)
	interrupted := false // at the first pass's last step, too
	if r.OnStep != nil {
		one.OnStep = func(step int, x *Tensor) error {
			err := r.OnStep(step, x)
			interrupted = errors.Is(err, ErrInterrupt)
			return err
		}
	}
	first, err := m.firstPass(ctx, one, q, upscaler, held)
	if err != nil {
		return nil, err
	}
	first.Parameters.Hires, first.Parameters.GuidancePerStep = q.Hires, q.GuidancePerStep
	if interrupted || q.mayStop() { // what is left is the second pass
		first.Parameters.Interrupted = &Interruption{first.Steps / q.order(), q.steps() + q.hires.whole}
		return m.finishFirst(ctx, r, first)
	}
	z, err := m.enlarge(ctx, q.hires, first.Latents, upscaler)
	if err != nil {
		return nil, err
	}
	two := q.hires.request
	two = two.steeredBy(func(img image.Image, own Resize) image.Image {
		return q.hires.steering(img, own, m.VAE.Config.ScaleFactor())
	})
	two.Image, two.ImageLatents = nil, z
	two.Progress, two.Preview = q.hiresProgress(r.Progress, first.Steps), r.Preview.after(first.Steps)
	if r.OnStep != nil {
		two.OnStep = func(step int, x *Tensor) error { return r.OnStep(first.Steps+step, x) }
	}
	second, err := m.generate(ctx, two, held)
	if err != nil {
		return nil, err
	}
	p := first.Parameters
	p.ModelHash, p.Watermark = second.Parameters.ModelHash, second.Parameters.Watermark
	if at := second.Parameters.Interrupted; at != nil {
		p.Interrupted = &Interruption{q.steps() + at.StepsDone, q.steps() + at.Steps}
	}
	if s := second.Parameters.Precision; s != "" {
		p.Precision = s
	}
	second.Parameters = p
	second.Steps += first.Steps
	for _, w := range first.Warnings {
		if !slices.Contains(second.Warnings, w) {
			second.Warnings = append(second.Warnings, w)
		}
	}
	return second, nil
}

// firstPass computes the first pass, once it is known that there is memory for what comes behind it.
func (m *Model) firstPass(ctx context.Context, one Request, q *resolved, upscaler *esrgan.File, held *slot) (*Result, error) {
	run, err := m.start(ctx, one, nil)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if err := m.admitHires(ctx, q, upscaler); err != nil {
		if errors.Is(err, kernels.ErrMemory) { // the second pass's program is of no use, and in the way of smaller ones
			err = errors.Join(err, m.UNet.TrimAll())
		}
		return nil, err
	}
	if err := run.steps(ctx, held); err != nil {
		return nil, err
	}
	return run.finish(ctx, held)
}

// finishFirst decodes what a first pass that was stopped has come to, as A1111 does.
func (m *Model) finishFirst(ctx context.Context, r Request, first *Result) (*Result, error) {
	if r.LatentsOnly {
		return first, nil
	}
	if err := m.host.memory.done(ctx, m.UNet.Network); err != nil {
		return nil, err
	}
	for i := range first.Latents.Shape[0] {
		img, err := m.decode(ctx, first.Latents, i, r.Watermark, func() {}, m.decoderTaps(r.Taps))
		if err != nil {
			return nil, err
		}
		first.Images = append(first.Images, img)
	}
	if r.OnComputed != nil {
		r.OnComputed()
	}
	return first, nil
}

// hiresProgress counts the steps of both passes; a step of the second takes as much longer as its image is larger.
func (q *resolved) hiresProgress(show func(Progress), before int) func(Progress) {
	if show == nil {
		return nil
	}
	started := time.Now()
	own := float64(q.Width) * float64(q.Height)
	weight := float64(q.Hires.Width) * float64(q.Hires.Height) / own
	return func(p Progress) {
		all := Progress{Step: before + p.Step, Steps: len(q.schedule.Steps) + q.hires.steps, Elapsed: time.Since(started), Left: p.Left}
		if before == 0 {
			all.Left += time.Duration(float64(p.Elapsed) / float64(p.Step) * weight * float64(q.hires.steps))
		}
		show(all)
	}
}

// enlarge brings the latents of the first pass to those that the second begins with.
func (m *Model) enlarge(ctx context.Context, h *hires, x *Tensor, upscaler *esrgan.File) (*Tensor, error) {
	f := m.VAE.Config.ScaleFactor()
	size := m.upscaledSize(h)
	if h.latent {
		return h.cut(latentModes[h.upscaler].resize(x, size.Height/f, size.Width/f), f), nil
	}
	if err := m.host.memory.done(ctx, m.UNet.Network); err != nil {
		return nil, err
	}
	z := nn.NewTensor(x.Shape[0], m.VAE.Config.LatentChannels, size.Height/f, size.Width/f)
	for i := range x.Shape[0] {
		img, err := m.decode(ctx, x, i, false, func() {}, nil)
		if err != nil {
			return nil, err
		}
		if upscaler == nil {
			img = filters[h.upscaler](img, size.Width, size.Height)
		} else if img, err = upscaleTo(ctx, upscaler.Upscaler, img, size); err != nil {
			return nil, fmt.Errorf("upscaler: %w", err)
		}
		moments, err := m.encodeImage(ctx, img)
		if err != nil {
			return nil, err
		}
		copy(z.Data[i*len(z.Data)/x.Shape[0]:], m.sample(moments, nil).Data)
	}
	return h.cut(z, f), nil
}

// cut takes the middle of latents that is the result's (modules/processing.py, truncate_x and truncate_y).
func (h *hires) cut(x *Tensor, factor int) *Tensor {
	size := h.request.Image.Bounds().Size()
	height, width := size.Y/factor, size.X/factor
	n, c, rows, columns := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	if rows == height && columns == width {
		return x
	}
	top, left := (rows-height)/2, (columns-width)/2
	out := nn.NewTensor(n, c, height, width)
	for plane := range n * c {
		for y := range height {
			copy(out.Data[(plane*height+y)*width:][:width], x.Data[(plane*rows+top+y)*columns+left:])
		}
	}
	return out
}

// steering is what the second pass has in place of an image that steered the first: what cut keeps of it.
func (h *hires) steering(img image.Image, own Resize, factor int) image.Image {
	kept := h.request.Image.Bounds().Size()
	if kept == image.Pt(h.upscaled.Width, h.upscaled.Height) {
		return img
	}
	middle := func(whole, kept int) int { return (whole/factor - kept/factor) / 2 * factor }
	at := image.Pt(middle(h.upscaled.Width, kept.X), middle(h.upscaled.Height, kept.Y))
	return cut(atSize(own.steering(img, h.upscaled), h.upscaled), image.Rectangle{Min: at, Max: at.Add(kept)})
}

// generateApart computes the requests of a batch that have two passes, one after the other, and returns the others.
func (m *Model) generateApart(ctx context.Context, requests []BatchRequest, held *slot) (others []BatchRequest) {
	for i, q := range requests {
		if q.Request.Hires == nil {
			others = append(others, q)
			continue
		}
		result, err := m.generate(q.Context, q.Request, held)
		if err != nil {
			err = q.because(err)
		}
		q.Done(result, err)
		held.release()
		if err := held.acquire(ctx); err != nil {
			for _, left := range slices.Concat(others, requests[i+1:]) {
				left.Done(nil, left.because(err))
			}
			return nil
		}
	}
	return others
}
