package ref

import "github.com/goxl/goxl/kernels"

// optional takes the next input if it is there.
func optional(there bool, rest *[]Tensor) []float32 {
	if !there {
		return nil
	}
	t := (*rest)[0]
	*rest = (*rest)[1:]
	return t.F
}

func linear[T float](s kernels.Linear, in []Tensor) element[T] {
	x, w, rest := in[0].F, in[1].F, in[2:]
	n, k := in[1].Shape[0], in[1].Shape[1]
	bias := optional(s.Bias, &rest)
	residual := optional(s.Residual, &rest)
	product := func(row, col int) T {
		var sum T
		a, b := x[row*k:][:k], w[col*k:][:k]
		for i := range a {
			sum += T(T(a[i]) * T(b[i]))
		}
		if bias != nil {
			sum += T(bias[col])
		}
		return sum
	}
	width := n
	if s.Act == kernels.GEGLU {
		width = n / 2
	}
	return func(i int) T {
		row, col := i/width, i%width
		y := product(row, col)
		if s.Act == kernels.GEGLU {
			y = T(y * gelu(product(row, col+width)))
		} else {
			y = act(s.Act, y)
		}
		if residual != nil {
			y += T(residual[i])
		}
		return y
	}
}

func conv2d[T float](s kernels.Conv2d, in []Tensor) element[T] {
	x, rest := in[0], in[1:]
	h, w, c := x.Shape[1], x.Shape[2], x.Shape[3]
	var x2 []float32
	var c2 int
	if s.Concat {
		c2 = rest[0].Shape[3]
		x2 = optional(true, &rest)
	}
	o, kh, kw := rest[0].Shape[0], rest[0].Shape[2], rest[0].Shape[3]
	weight := optional(true, &rest)
	bias := optional(s.Bias, &rest)
	rowBias := optional(s.RowBias, &rest)
	residual := optional(s.Residual, &rest)
	upH, upW := h, w
	if s.UpH > 0 {
		upH, upW = s.UpH, s.UpW
	}
	outH := (upH+s.Pad.Top+s.Pad.Bottom-kh)/s.Stride + 1
	outW := (upW+s.Pad.Left+s.Pad.Right-kw)/s.Stride + 1
	return func(i int) T {
		ch, col, row, b := i%o, i/o%outW, i/o/outW%outH, i/o/outW/outH
		var sum T
		for ky := range kh {
			for kx := range kw {
				iy, ix := row*s.Stride-s.Pad.Top+ky, col*s.Stride-s.Pad.Left+kx
				if iy < 0 || iy >= upH || ix < 0 || ix >= upW {
					continue
				}
				pixel := (b*h+iy*h/upH)*w + ix*w/upW
				tap := weight[ch*(c+c2)*kh*kw+ky*kw+kx:]
				for k, v := range x.F[pixel*c:][:c] {
					sum += T(T(v) * T(tap[k*kh*kw]))
				}
				if s.Concat {
					for k, v := range x2[pixel*c2:][:c2] {
						sum += T(T(v) * T(tap[(c+k)*kh*kw]))
					}
				}
			}
		}
		if bias != nil {
			sum += T(bias[ch])
		}
		if rowBias != nil {
			sum += T(rowBias[b*o+ch])
		}
		y := act(s.Act, sum)
		if residual != nil {
			y += T(residual[i])
		}
		return y
	}
}
