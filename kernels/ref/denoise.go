package ref

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

// sinusoid rounds the frequency and the angle to float32 in either precision: that is the definition, not an error,
// since the reference implementation does so and an angle near 1000 magnifies the last bit. (Its exp may miss the
// nearest float32 by one.)
func sinusoid[T float](s kernels.Sinusoid, in []Tensor) element[T] {
	t := in[0].F
	half := s.Dim / 2
	return func(i int) T {
		at := i % s.Dim
		if at >= 2*half {
			return 0
		}
		power := float32(-float32(math.Log(10000))*float32(at%half)) / float32(float64(half)-s.FreqShift)
		angle := float64(float32(t[i/s.Dim] * float32(math.Exp(float64(power)))))
		if (at < half) == s.CosFirst {
			return T(math.Cos(angle))
		}
		return T(math.Sin(angle))
	}
}

func scaleRepeat[T float](in []Tensor) element[T] {
	x, scale := in[0].F, T(in[1].F[0])
	return func(i int) T { return T(scale * T(x[i%len(x)])) }
}

func guidance[T float](s kernels.Guidance, in []Tensor) element[T] {
	m, scale := in[0].F, T(in[1].F[0])
	n := len(m) / 2
	sample := kernels.Elements(in[0].Shape[1:])
	cond := func(i int) T { return T(m[n+i]) }
	guided := func(i int) T { return T(m[i]) + T(scale*(cond(i)-T(m[i]))) }
	if !s.Rescale {
		return guided
	}
	phi := T(in[2].F[0])
	ratios := map[int]T{} // std(cond)/std(guided) by sample
	return func(i int) T {
		b := i / sample
		ratio, ok := ratios[b]
		if !ok {
			ratio = std(cond, b*sample, sample) / std(guided, b*sample, sample)
			ratios[b] = ratio
		}
		g := guided(i)
		return T(phi*T(g*ratio)) + T((1-phi)*g)
	}
}

// std is the unbiased standard deviation of n elements from first on.
func std[T float](f element[T], first, n int) T {
	var sum T
	for i := range n {
		sum += f(first + i)
	}
	mean := sum / T(n)
	var squares T
	for i := range n {
		d := f(first+i) - mean
		squares += T(d * d)
	}
	return sqrt(squares / T(n-1))
}

func solver[T float](s kernels.Solver, in []Tensor, out int) element[T] {
	x, m, noise, coefficients := in[0].F, in[1].F, in[2].F, in[3].F
	a, b, clip := coefficients[0], coefficients[1], T(coefficients[2])
	row := coefficients[3+out*(4+s.History):][:4+s.History]
	term := func(c, v float32) T {
		if c == 0 {
			return 0 // not 0·v, which NaN would survive
		}
		return T(T(c) * T(v))
	}
	return func(i int) T {
		y := term(row[0], x[i])
		if row[1] != 0 {
			x0 := term(a, x[i]) + term(b, m[i])
			if clip != 0 {
				x0 = max(-clip, min(clip, x0))
			}
			y += T(T(row[1]) * x0)
		}
		y += term(row[2], m[i])
		y += term(row[3], noise[i])
		for k, c := range row[4:] {
			y += term(c, in[4+k].F[i])
		}
		return y
	}
}
