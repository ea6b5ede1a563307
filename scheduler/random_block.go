package scheduler

import "math"

// normalBlock is the number of values that torch's vectorised Box-Muller turns at once.
const normalBlock = 16

// boxMuller turns d[0:16] from uniform to normal as ATen's normal_fill_16_AVX2 does: value j pairs with j+8.
func boxMuller(d []float32) {
	d = d[:normalBlock]
	for j := range normalBlock / 2 {
		u1, u2 := 1-d[j], d[j+normalBlock/2]
		radius := float32(math.Sqrt(float64(-2 * logCephes(u1))))
		sin, cos := sincosCephes(float32(2*math.Pi) * u2)
		d[j] = radius * cos
		d[j+normalBlock/2] = radius * sin
	}
}

// fma rounds a*b+c once to float32. The product of two float32 is exact in float64, so the float64 sum carries the
// only rounding before the last; a fused instruction there changes nothing.
func fma(a, b, c float32) float32 {
	return float32(float64(a)*float64(b) + float64(c))
}

// Every float32 product below that feeds a sum is wrapped in float32(): a compiler may otherwise fuse the two.

// logCephes is the natural logarithm of avx_mathfun.h for normal x > 0, with the contractions that compilers apply.
func logCephes(x float32) float32 {
	const sqrtHalf = 0.707106781186547524
	fraction, exponent := math.Frexp(float64(x)) // fraction in [0.5, 1)
	m, e := float32(fraction), float32(exponent)
	if m < float32(sqrtHalf) {
		e--
		m = (m - 1) + m
	} else {
		m--
	}
	z := float32(m * m)
	y := float32(7.0376836292e-2)
	for _, c := range [...]float32{
		-1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
		-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
	} {
		y = fma(y, m, c)
	}
	y = float32(y * m)
	y = fma(y, z, float32(e*-2.12194440e-4))
	y = fma(-z, 0.5, y)
	m += y
	return fma(e, 0.693359375, m)
}

// sincosCephes is sincos256_ps of avx_mathfun.h for x >= 0.
func sincosCephes(x float32) (sin, cos float32) {
	octant := int32(float32(x * 1.27323954473516))
	octant = (octant + 1) &^ 1
	y := float32(octant)
	x = fma(y, -0.78515625, x)
	x = fma(y, -2.4187564849853515625e-4, x)
	x = fma(y, -3.77489497744594108e-8, x)
	z := float32(x * x)

	c := fma(2.443315711809948e-5, z, -1.388731625493765e-3)
	c = fma(c, z, 4.166664568298827e-2)
	c = float32(c * z)
	c = fma(c, z, -float32(z*0.5))
	c++

	s := fma(-1.9515295891e-4, z, 8.3321608736e-3)
	s = fma(s, z, -1.6666654611e-1)
	s = float32(s * z)
	s = fma(s, x, x)

	if octant&2 != 0 {
		s, c = c, s
	}
	if octant&4 != 0 {
		s = -s
	}
	if ^(octant-2)&4 != 0 {
		c = -c
	}
	return s, c
}
