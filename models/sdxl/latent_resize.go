package sdxl

import (
	"math"

	"github.com/goxl/goxl/nn"
)

// resizing is a mode of torch's interpolate, with align_corners False. Weights of an output position are those of a
// kernel around its centre.
type resizing struct {
	nearest, exact bool // the nearest position; exact measures from the centres
	cubic          bool // else linear
	antialias      bool // the kernel is as wide as an output position, and is cut off at the border, not continued
}

// latentModes are A1111's latent upscalers (modules/shared_items.py, latent_upscale_modes) by their names in lower case.
var latentModes = map[string]resizing{
	"latent":                       {},
	"latent (antialiased)":         {antialias: true},
	"latent (bicubic)":             {cubic: true},
	"latent (bicubic antialiased)": {cubic: true, antialias: true},
	"latent (nearest)":             {nearest: true},
	"latent (nearest-exact)":       {nearest: true, exact: true},
}

// taps are the inputs that an output position is the weighted sum of.
type taps struct {
	at      []int
	weights []float32
}

// resize brings latents [N, C, H, W] to a height and a width.
func (m resizing) resize(x *Tensor, height, width int) *Tensor {
	n, c, h, w := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	rows, columns := m.taps(h, height), m.taps(w, width)
	out := nn.NewTensor(n, c, height, width)
	line := make([]float32, w)
	for plane := range n * c {
		from, to := x.Data[plane*h*w:][:h*w], out.Data[plane*height*width:][:height*width]
		for y, row := range rows {
			clear(line)
			for k, i := range row.at {
				for j, v := range from[i*w:][:w] {
					line[j] += row.weights[k] * v
				}
			}
			for j, column := range columns {
				var sum float32
				for k, i := range column.at {
					sum += column.weights[k] * line[i]
				}
				to[y*width+j] = sum
			}
		}
	}
	return out
}

// taps are those of each output position, of a side of so many positions.
func (m resizing) taps(in, out int) []taps {
	scale := float64(in) / float64(out)
	all := make([]taps, out)
	for i := range all {
		switch center := scale * (float64(i) + 0.5); {
		case m.nearest && m.exact:
			all[i] = taps{[]int{min(int(center), in-1)}, []float32{1}}
		case m.nearest:
			all[i] = taps{[]int{min(int(scale*float64(i)), in-1)}, []float32{1}}
		case m.antialias:
			all[i] = m.widened(center, max(scale, 1), in)
		default:
			all[i] = m.sampled(center-0.5, in)
		}
	}
	return all
}

// sampled are the taps around a position; those beyond the border are the border's.
func (m resizing) sampled(position float64, in int) (t taps) {
	reach, kernel := 1, linearKernel
	if m.cubic {
		reach, kernel = 2, func(x float64) float64 { return cubicKernel(x, -0.75) }
	} else {
		position = max(position, 0)
	}
	first := int(math.Floor(position)) - reach + 1
	for k := range 2 * reach {
		t.at = append(t.at, min(max(first+k, 0), in-1))
		t.weights = append(t.weights, float32(kernel(position-float64(first+k))))
	}
	return t
}

// widened are the taps inside the image that a kernel of a width covers, which add up to 1.
func (m resizing) widened(center, width float64, in int) (t taps) {
	support, kernel := width, linearKernel
	if m.cubic {
		support, kernel = 2*width, func(x float64) float64 { return cubicKernel(x, -0.5) }
	}
	low, high := max(int(center-support+0.5), 0), min(int(center+support+0.5), in)
	sum := 0.0
	for i := low; i < high; i++ {
		sum += kernel((float64(i) - center + 0.5) / width)
	}
	for i := low; i < high; i++ {
		t.at = append(t.at, i)
		t.weights = append(t.weights, float32(kernel((float64(i)-center+0.5)/width)/sum))
	}
	return t
}

func linearKernel(x float64) float64 { return max(1-math.Abs(x), 0) }

// cubicKernel is Keys' convolution kernel.
func cubicKernel(x, a float64) float64 {
	switch x = math.Abs(x); {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((x-5)*x+8)*x*a - 4*a
	}
	return 0
}
