package cpu

// The functions are built on two approximations, both fitted (Lawson's method) so that their error is below float32's:
//
//	exp(r) = 1 + r + r²·(E[0] + … + E[4]·r⁴), |r| ≤ ln2/2, relative error 3.1e-9
//	Φ(−a) = exp(−a²/2)·P(a)/Q(a), 0 ≤ a ≤ 14.5, relative error 5.9e-9
//
// Φ comes from the tail, so that GELU does not cancel on the negative side.
var (
	expPoly  = [...]float64{0.4999999403953552, 0.1666651964187622, 0.04166839271783829, 0.008368780836462975, 0.0013814467238262296}
	tailNum  = [...]float64{0.500000002953911, 0.4382965762900581, 0.18323632369943899, 0.040633620480969614, 0.00411636573075616}
	tailDen  = [...]float64{1, 1.6744781337964239, 1.2025081077622983, 0.4694737548965667, 0.10185982846082461, 0.010318079000320252}
	quickMul = float32(1.702)
)

const (
	expMax  = 89   // exp overflows from 88.73 on
	expMin  = -104 // exp is below half the least denormal
	tailMax = 14.5 // Φ(−a) rounds to zero
)
