package sdxl

import (
	"context"
	"time"
)

// Start prepares a run: it encodes the prompts and, for image-to-image, the image, and draws the first noise. It waits
// for the right to compute.
func (m *Model) Start(ctx context.Context, r Request) (*Run, error) {
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	return m.start(ctx, r, nil)
}

// start is Start for who has the right to compute. shared are the adapters of a base, which stay on a component that the
// model shares with it; nil for none.
func (m *Model) start(ctx context.Context, request Request, shared *adapterSet) (*Run, error) {
	r, err := m.prepare(ctx, request, shared)
	if err != nil {
		return nil, err
	}
	if err = r.admit(ctx); err == nil {
		err = r.begin(ctx)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// prepare resolves a request, puts its adapters on the model, encodes its prompts, and opens what steers it by images.
// admit and begin follow.
func (m *Model) prepare(ctx context.Context, request Request, shared *adapterSet) (run *Run, err error) {
	if request.Hires != nil {
		return nil, bad("hires", "given", "absent in one pass: Generate does both")
	}
	q, err := m.resolve(m.Spec().ChoosePreset(seeded(request)))
	if err != nil {
		return nil, err
	}
	q.request.Preview = m.wantedPreview(q.request.Preview)
	// What follows may close programs of the UNet's that a live run has its latents in, and changes its weights.
	if err := m.host.park(ctx, m.UNet.Network); err != nil {
		return nil, err
	}
	images, err := m.openImages(q) // before the shape, which has the number of their tokens
	if err != nil {
		return nil, err
	}
	r := &Run{m: m, unet: m.UNet, q: q, shape: m.shape(q), started: time.Now(), warnings: q.warnings}
	r.noise = newNoise(q, r.elements())
	warn := func(s string) { r.warnings = append(r.warnings, s) }
	if err := r.adapt(ctx, shared); err != nil {
		return nil, err
	}
	if r.conditioning, err = m.condition(ctx, q, r.shape.guided, warn); err == nil {
		r.conditioning.images, err = m.encodeImages(ctx, q, images, r.shape.guided)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	if err := r.openControls(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// admit makes sure, before the first step, that there is memory for previews, steps and images.
func (r *Run) admit(ctx context.Context) error {
	if err := r.preparePreviews(ctx); err != nil {
		return err
	}
	if err := r.m.admit(r.q, r.shape); err != nil {
		return err
	}
	return r.admitControls()
}

// begin gives a run what its first step begins with.
func (r *Run) begin(ctx context.Context) (err error) {
	switch r.q.Task {
	case Inpaint:
		r.x, err = r.inpaintLatents(ctx)
	case ImageToImage:
		r.x, err = r.imageLatents(ctx)
	default:
		r.x = r.firstLatents()
	}
	if err != nil {
		return err
	}
	r.retry = retry{noise: r.noise.clone(), given: []given{{0, r.x}}}
	r.history = r.noHistory()
	return nil
}
