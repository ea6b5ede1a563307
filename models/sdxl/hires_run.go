package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/resample"
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
		if upscaler, err = m.openUpscaler(h.upscaler); err != nil {
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
	first, err := m.generate(ctx, one, held)
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
	size := Size{h.upscaled.Height / f * f, h.upscaled.Width / f * f}
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

// upscaleTo enlarges an image until it has a size, up to three times (modules/upscaler.py), and resizes it to that.
func upscaleTo(ctx context.Context, u *esrgan.Upscaler, img *image.NRGBA, size Size) (*image.NRGBA, error) {
	for range 3 {
		if b := img.Rect; b.Dx() >= size.Width && b.Dy() >= size.Height {
			break
		}
		var err error
		if img, err = u.Upscale(ctx, img, nil); err != nil {
			return nil, err
		}
		if u.Config.Scale() == 1 {
			break
		}
	}
	if b := img.Rect; b.Dx() != size.Width || b.Dy() != size.Height {
		img = resample.Lanczos(img, size.Width, size.Height)
	}
	return img, nil
}

// openedUpscaler is the file that hires used last.
type openedUpscaler struct {
	*esrgan.File
	host     *Host
	path     string
	modified time.Time
	size     int64
}

// Close takes the upscaler out of the host's planner and closes it.
func (u *openedUpscaler) Close() error {
	u.host.Forget(u.Network)
	return u.File.Close()
}

// openUpscaler opens an upscaler, or takes the last one if it is of the same file. It is a component of the host's
// planner, and stays open until another takes its place or the model is closed. Who has the right to compute calls it.
func (m *Model) openUpscaler(path string) (*esrgan.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if u := m.upscaler; u != nil {
		if u.path == path && u.modified.Equal(info.ModTime()) && u.size == info.Size() {
			return u.File, nil
		}
		m.upscaler = nil
		if err := u.Close(); err != nil {
			return nil, err
		}
	}
	f, err := esrgan.OpenFile(m.host.device, path, m.kernelOptions())
	if err != nil {
		return nil, err
	}
	m.host.Manage("upscaler", f.Network)
	f.OnOverflow(overflowed(m.options.Log, "upscaler"))
	m.upscaler = &openedUpscaler{f, m.host, path, info.ModTime(), info.Size()}
	return f, nil
}

// closeUpscaler closes the one that is open, if one is.
func (m *Model) closeUpscaler() error {
	u := m.upscaler
	if u == nil {
		return nil
	}
	m.upscaler = nil
	return u.Close()
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
