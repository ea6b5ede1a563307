package sdxl

import (
	"fmt"

	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// checkLatents refuses latents of another shape than [n, channels, height, width], where 0 is any, and NaN and Inf.
func checkLatents(field string, x *Tensor, n, channels, height, width int) error {
	if err := x.Check(field, n, channels, height, width); err != nil {
		want := []any{n, channels, height, width}
		for i, axis := range []string{"N", "C", "H", "W"} {
			if want[i] == 0 {
				want[i] = axis
			}
		}
		return &RequestError{Field: field, Value: shapeOf(x), Allowed: fmt.Sprint(want) + " with a value for each element"}
	}
	return checkFinite(field, x)
}

// checkFinite refuses NaN and Inf, which nobody could trace back to a tensor later. No tensor is fine.
func checkFinite(field string, x *Tensor) error {
	if x == nil {
		return nil
	}
	for i, v := range x.Data {
		if v-v != 0 {
			return bad(field, fmt.Sprintf("%v at value %d", v, i), "finite numbers")
		}
	}
	return nil
}

// channelsLast reorders [N, C, H, W] to the device's [N, H, W, C].
func channelsLast(x *Tensor) []float32 {
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
func channelsFirst(shape []int, data []float32) *Tensor {
	x := nn.NewTensor(shape...)
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

// one copies the latents of image i in the autoencoder's order.
func one(x *Tensor, i int) vae.Image {
	c, h, w := x.Shape[1], x.Shape[2], x.Shape[3]
	single := &Tensor{Shape: []int{1, c, h, w}, Data: x.Data[i*c*h*w : (i+1)*c*h*w]}
	return vae.Image{Height: h, Width: w, Channels: c, Data: channelsLast(single)}
}
