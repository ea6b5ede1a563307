package cpu

import "math"

// vecPortable computes in float64, one element at a time: every machine has it, and the others are tested beside it.
var vecPortable = vecKernels{
	silu: func(dst, src []float32) {
		dst = dst[:len(dst):len(dst)]
		for i, x := range src[:len(dst)] {
			dst[i] = float32(float64(x) / (1 + exp(-float64(x))))
		}
	},
	gelu: func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			dst[i] = float32(gelu(float64(x)))
		}
	},
	quickGELU: func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			dst[i] = float32(float64(x) / (1 + exp(-float64(quickMul)*float64(x))))
		}
	},
	relu: func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			if x < 0 {
				x = 0
			}
			dst[i] = x
		}
	},
	leakyReLU: func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			if x < 0 {
				x *= 0.2
			}
			dst[i] = x
		}
	},
	softClamp: softClamp,
	geglu: func(dst, value, gate []float32) {
		value = value[:len(dst)]
		for i, x := range gate[:len(dst)] {
			dst[i] = value[i] * float32(gelu(float64(x)))
		}
	},
	expShiftSum: func(x []float32, shift float32) float32 {
		var sum float64
		for i, v := range x {
			e := float32(exp(float64(v - shift)))
			x[i] = e
			sum += float64(e)
		}
		return float32(sum)
	},
	max: func(x []float32) float32 {
		m := float32(math.Inf(-1))
		for _, v := range x {
			if v > m {
				m = v
			}
		}
		return m
	},
	sums: func(x []float32, shift float32) (sum, square float32) {
		var s, q float64
		for _, v := range x {
			d := float64(v - shift)
			s += d
			q += d * d
		}
		return float32(s), float32(q)
	},
	accumulate: func(sum, square, x, shift []float32) {
		n := len(sum)
		square, x, shift = square[:n], x[:n], shift[:n]
		for i, v := range x {
			d := v - shift[i]
			sum[i] += d
			square[i] += d * d
		}
	},
	scaleShift: func(dst, x, scale, shift []float32) {
		n := len(dst)
		x, scale, shift = x[:n], scale[:n], shift[:n]
		for i, v := range x {
			dst[i] = v*scale[i] + shift[i]
		}
	},
	normalize: func(dst, x, scale, shift []float32, mean, rstd float32) {
		n := len(dst)
		x, scale, shift = x[:n], scale[:n], shift[:n]
		for i, v := range x {
			dst[i] = (v-mean)*rstd*scale[i] + shift[i]
		}
	},
	prelu: func(dst, x, slope []float32) {
		n := len(dst)
		x, slope = x[:n], slope[:n]
		for i, v := range x {
			if v < 0 {
				v *= slope[i]
			}
			dst[i] = v
		}
	},
	add: func(dst, x, y []float32) {
		n := len(dst)
		x, y = x[:n], y[:n]
		for i, v := range x {
			dst[i] = v + y[i]
		}
	},
}

// softClamp serves every variant: it is applied to latents alone, which are few.
func softClamp(dst, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = float32(3 * math.Tanh(float64(x)/3))
	}
}

// exp is e^x to float32 accuracy for results that are rounded to float32; beyond float32's range it gives +Inf and 0.
func exp(x float64) float64 {
	switch {
	case x > expMax:
		return math.Inf(1)
	case x < expMin:
		return 0
	case x != x:
		return x
	}
	n := math.Floor(x*math.Log2E + 0.5)
	r := x - n*math.Ln2
	p := expPoly[4]
	for i := 3; i >= 0; i-- {
		p = p*r + expPoly[i]
	}
	return (1 + r + r*r*p) * math.Float64frombits(uint64(int64(n)+1023)<<52)
}

// gelu is x·Φ(x).
func gelu(x float64) float64 {
	a := min(math.Abs(x), tailMax)
	p, q := tailNum[4], tailDen[5]
	for i := 3; i >= 0; i-- {
		p = p*a + tailNum[i]
	}
	for i := 4; i >= 0; i-- {
		q = q*a + tailDen[i]
	}
	tail := exp(-a*a/2) * p / q
	if x < 0 {
		return x * tail
	}
	return x * (1 - tail)
}
