package ref

import "github.com/goxl/goxl/kernels"

// floats are the elements of the operand at a place among the inputs, nil if it is absent.
func floats(in []Tensor, at int) []float32 { return kernels.Operand(in, at).F }

func linear[T float](s kernels.Linear, in []Tensor) element[T] {
	at := s.Operands()
	x, w, bias, residual := floats(in, at.X), floats(in, at.Weight), floats(in, at.Bias), floats(in, at.Residual)
	n, k := in[at.Weight].Shape[0], in[at.Weight].Shape[1]
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
	at := s.Operands()
	x, x2, weight := in[at.X], floats(in, at.X2), floats(in, at.Weight)
	bias, broadcastBias, residual := floats(in, at.Bias), floats(in, at.BroadcastBias), floats(in, at.Residual)
	h, w, c := x.Shape[1], x.Shape[2], x.Shape[3]
	o, kh, kw := in[at.Weight].Shape[0], in[at.Weight].Shape[2], in[at.Weight].Shape[3]
	c2 := in[at.Weight].Shape[1] - c
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
		if broadcastBias != nil {
			sum += T(broadcastBias[b*o+ch])
		}
		if s.ActLast {
			return act(s.Act, sum+T(residual[i]))
		}
		y := act(s.Act, sum)
		if residual != nil {
			y += T(residual[i])
		}
		return y
	}
}
