package cpu

// vecKernels are functions over dense vectors. Where there are several slices the first one gives the length and the
// others are at least as long; dst may be one of the sources, but must not overlap one otherwise.
type vecKernels struct {
	silu      func(dst, src []float32) // x·σ(x)
	gelu      func(dst, src []float32) // x·Φ(x)
	quickGELU func(dst, src []float32) // x·σ(1.702x)
	relu      func(dst, src []float32) // x above 0, else 0; NaN stays NaN
	leakyReLU func(dst, src []float32) // x above 0, else x/5; NaN stays NaN
	softClamp func(dst, src []float32) // 3·tanh(x/3)
	// geglu is value·GELU(gate).
	geglu func(dst, value, gate []float32)
	// expShiftSum replaces x by exp(x−shift) and returns the sum.
	expShiftSum func(x []float32, shift float32) float32
	// max returns the largest element, −Inf if there is none; NaN is passed over.
	max func(x []float32) float32
	// sums returns Σ(x−shift) and Σ(x−shift)².
	sums func(x []float32, shift float32) (sum, square float32)
	// accumulate adds x−shift to sum and (x−shift)² to square, element by element.
	accumulate func(sum, square, x, shift []float32)
	// scaleShift is x·scale + shift, element by element.
	scaleShift func(dst, x, scale, shift []float32)
	// normalize is (x−mean)·rstd·scale + shift.
	normalize func(dst, x, scale, shift []float32, mean, rstd float32)
	// prelu is x above 0, else x·slope; NaN stays NaN.
	prelu func(dst, x, slope []float32)
	// add is x + y.
	add func(dst, x, y []float32)
}
