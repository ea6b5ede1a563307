package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// rgbDecoder makes previews by latentRGB: a convolution and bytes, on the device. Its programs are used by who has the
// right to compute, but for reading what they gave, which a device with a queue does beside the steps that follow. So
// that a preview need not wait for the one before to be read, there are two programs of a size, in turns.
type rgbDecoder struct {
	network    *nn.Network
	projection *nn.Conv2d
	queues     bool // the device does
	channels   int
	readings   [2]*reading // the last one of each turn; nil before
	turn       int
}

// reading is a preview that comes from the device.
type reading struct {
	done   chan struct{} // closed once the fields below are there
	images []*image.NRGBA
	err    error
}

// wait returns once the preview is there, or ctx ends. No reading is there at once.
func (r *reading) wait(ctx context.Context) error {
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rgbDecoder opens the model's own, the first time. Its caller has the right to compute.
func (m *Model) rgbDecoder() (*rgbDecoder, error) {
	rgb, err := m.Spec().latentRGB()
	if err != nil {
		return nil, err
	}
	if d := m.previews[rgb]; d != nil {
		return d, nil
	}
	d := &rgbDecoder{
		projection: nn.NewConv2d(len(rgb.factors), 3, 1), queues: kernels.Queues(m.host.device), channels: len(rgb.factors),
	}
	bound, err := nn.Bind(d.projection, rgb.source())
	if err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	if d.network, err = nn.NewNetwork(m.host.device, bound, m.kernelOptions()); err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	// The planner makes room for it, but never evicts it: a few numbers, which may be read at that moment.
	d.network.Manage(m.host.memory)
	m.closers = append(m.closers, d)
	if m.previews == nil {
		m.previews = map[*latentRGB]*rgbDecoder{}
	}
	m.previews[rgb] = d
	return d, nil
}

// program is that of a turn for latents of a shape.
func (d *rgbDecoder) program(s shape, turn int) (*nn.Program, error) {
	key := fmt.Sprintf("preview %d of %d×%d×%d", turn, s.batch, s.height, s.width)
	return d.network.Program(key, func(b *nn.Builder) {
		x := b.Input("x0", kernels.Step, kernels.F32, s.batch, s.height, s.width, d.channels)
		b.Output("image", b.ToPixels(d.projection.Forward(b, x)))
	})
}

// prepare compiles both programs of a shape, so that there is memory for them. That may close those of another shape: it
// waits until nothing is read any more.
func (d *rgbDecoder) prepare(ctx context.Context, s shape) error {
	for turn := range d.readings {
		if err := d.readings[turn].wait(ctx); err != nil {
			return err
		}
	}
	for turn := range d.readings {
		if _, err := d.program(s, turn); err != nil {
			return fmt.Errorf("preview: %w", err)
		}
	}
	return nil
}

// start makes the images of what a state of another program holds, and begins to read them. The reading does not end
// with ctx, but once the device has computed.
func (d *rgbDecoder) start(ctx context.Context, s shape, from *nn.Program, state string) (*reading, error) {
	turn := d.turn
	if err := d.readings[turn].wait(ctx); err != nil {
		return nil, err
	}
	p, err := d.program(s, turn)
	if err == nil {
		err = p.CopyFrom("x0", from, state)
	}
	if err == nil {
		err = p.Run(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	r := &reading{done: make(chan struct{})}
	d.readings[turn], d.turn = r, (turn+1)%len(d.readings)
	if d.queues {
		go r.read(context.WithoutCancel(ctx), p, s)
	} else {
		r.read(ctx, p, s)
	}
	return r, nil
}

// read fills the reading in.
func (r *reading) read(ctx context.Context, p *nn.Program, s shape) {
	defer close(r.done)
	size := 4 * s.height * s.width
	pixels := make([]uint8, s.batch*size)
	if r.err = p.Pixels(ctx, "image", pixels); r.err != nil {
		r.err = fmt.Errorf("preview: %w", r.err)
		return
	}
	for i := range s.batch {
		r.images = append(r.images, &image.NRGBA{Pix: pixels[i*size : (i+1)*size : (i+1)*size], Stride: 4 * s.width, Rect: image.Rect(0, 0, s.width, s.height)})
	}
}

// Close waits for what is read, and frees the programs.
func (d *rgbDecoder) Close() error {
	var failed []error
	for _, r := range d.readings {
		failed = append(failed, r.wait(context.Background()))
	}
	return errors.Join(append(failed, d.network.Close())...)
}
