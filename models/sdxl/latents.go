package sdxl

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/models/vae"
)

func newLatents(shape [4]int) *Latents {
	return &Latents{Shape: shape, Data: make([]float32, shape[0]*shape[1]*shape[2]*shape[3])}
}

// check refuses latents of another shape.
func (x *Latents) check(field string, want [4]int) error {
	if x.Shape != want || len(x.Data) != want[0]*want[1]*want[2]*want[3] {
		return &RequestError{Field: field, Value: fmt.Sprintf("%v with %d values", x.Shape, len(x.Data)), Allowed: fmt.Sprint(want)}
	}
	return nil
}

// channelsLast reorders [N, C, H, W] to the device's [N, H, W, C].
func (x *Latents) channelsLast() []float32 {
	n, c, plane := x.Shape[0], x.Shape[1], x.Shape[2]*x.Shape[3]
	out := make([]float32, len(x.Data))
	for i := range n {
		for k := range c {
			for j, v := range x.Data[(i*c+k)*plane : (i*c+k+1)*plane] {
				out[(i*plane+j)*c+k] = v
			}
		}
	}
	return out
}

// channelsFirst undoes channelsLast; shape is [N, C, H, W].
func channelsFirst(shape [4]int, data []float32) *Latents {
	x := newLatents(shape)
	n, c, plane := shape[0], shape[1], shape[2]*shape[3]
	for i := range n {
		for j := range plane {
			for k := range c {
				x.Data[(i*c+k)*plane+j] = data[(i*plane+j)*c+k]
			}
		}
	}
	return x
}

// imageLatents returns what image to image starts from. Draws come in diffusers' order: the posterior's, once for all pictures, then the noise.
func (r *Run) imageLatents(ctx context.Context) ([]float32, error) {
	q := r.request
	var start []float32
	if q.ImageLatents != nil {
		start = q.ImageLatents.channelsLast()
	} else {
		b := q.Image.Bounds()
		if err := r.p.tile(false, false, Size{b.Dy(), b.Dx()}); err != nil {
			return nil, err
		}
		moments, err := r.p.vae.EncodeImage(ctx, toNRGBA(q.Image))
		if err != nil {
			return nil, err
		}
		one := newLatents([4]int{1, r.p.vae.Config.LatentChannels, moments.Height, moments.Width})
		r.random.Randn(one.Data)
		z := r.p.vae.Sample(moments, one.channelsLast())
		r.p.vae.Scale(z)
		start = z.Data
	}
	x := make([]float32, 0, r.elements())
	for len(x) < r.elements() {
		x = append(x, start...)
	}
	if q.DenoisingStart == 0 {
		noise := r.draw()
		scale, sigma := r.schedule.AddNoise(0)
		a, b := float32(scale), float32(sigma)
		for i := range x {
			x[i] = float32(a*x[i]) + float32(b*noise[i])
		}
	}
	return x, nil
}

// elements is the length of the latents.
func (r *Run) elements() int {
	s := r.latentShape()
	return s[0] * s[1] * s[2] * s[3]
}

// one copies the latents of picture i in the autoencoder's order.
func (x *Latents) one(i int) vae.Planes {
	c, h, w := x.Shape[1], x.Shape[2], x.Shape[3]
	single := Latents{Shape: [4]int{1, c, h, w}, Data: x.Data[i*c*h*w : (i+1)*c*h*w]}
	return vae.Planes{Height: h, Width: w, Channels: c, Data: single.channelsLast()}
}
