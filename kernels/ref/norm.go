package ref

import "github.com/goxl/goxl/kernels"

// moments are the statistics that a norm subtracts and divides by.
type moments[T float] struct{ mean, std T }

// measure takes n values in lines of width, summed line by line and then over the lines, and returns their mean and
// √(variance + eps), with the biased variance taken about that mean.
func measure[T float](n, width int, eps float64, at func(i int) float32) moments[T] {
	total := func(term func(x T) T) T {
		var sum T
		for i := 0; i < n; i += width {
			var line T
			for j := i; j < i+width; j++ {
				line += term(T(at(j)))
			}
			sum += line
		}
		return sum
	}
	mean := total(func(x T) T { return x }) / T(n)
	variance := total(func(x T) T { return T((x - mean) * (x - mean)) }) / T(n)
	return moments[T]{mean, sqrt(variance + T(eps))}
}

func groupNorm[T float](s kernels.GroupNorm, in []Tensor) element[T] {
	at := s.Operands()
	x, weight, bias := in[at.X], floats(in, at.Weight), floats(in, at.Bias)
	pixels, width, c := x.Shape[1]*x.Shape[2], x.Shape[2], x.Shape[3]
	value := func(pixel, ch int) float32 { return x.F[pixel*c+ch] }
	channels := c
	if s.Concat {
		x2, c2 := floats(in, at.X2), in[at.X2].Shape[3]
		channels += c2
		value = func(pixel, ch int) float32 {
			if ch < c {
				return x.F[pixel*c+ch]
			}
			return x2[pixel*c2+ch-c]
		}
	}
	size := channels / s.Groups
	known := map[int]moments[T]{}
	return func(i int) T {
		pixel, ch := i/channels, i%channels
		b, group := pixel/pixels, ch/size
		m, ok := known[b*s.Groups+group]
		if !ok {
			m = measure[T](pixels*size, width*size, s.Eps, func(j int) float32 {
				return value(b*pixels+j/size, group*size+j%size)
			})
			known[b*s.Groups+group] = m
		}
		y := T((T(value(pixel, ch)) - m.mean) / m.std)
		return act(s.Act, T(y*T(weight[ch]))+T(bias[ch]))
	}
}

func layerNorm[T float](s kernels.LayerNorm, in []Tensor) element[T] {
	at := s.Operands()
	x, weight, bias := in[at.X], floats(in, at.Weight), floats(in, at.Bias)
	c := x.Shape[len(x.Shape)-1]
	var m moments[T]
	last := -1
	return func(i int) T {
		row, ch := i/c, i%c
		if row != last {
			last = row
			m = measure[T](c, c, s.Eps, func(j int) float32 { return x.F[row*c+j] })
		}
		y := T((T(x.F[i]) - m.mean) / m.std)
		return T(y*T(weight[ch])) + T(bias[ch])
	}
}
