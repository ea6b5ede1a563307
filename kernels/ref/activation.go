package ref

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

func exp[T float](x T) T { return T(math.Exp(float64(x))) }

func sqrt[T float](x T) T { return T(math.Sqrt(float64(x))) }

func sigmoid[T float](x T) T { return 1 / (1 + exp(-x)) }

// gelu is x·Φ(x). Φ(x) = erfc(−x/√2)/2 keeps its digits where x is far below zero.
func gelu[T float](x T) T { return T(x * T(math.Erfc(-float64(x)/math.Sqrt2)/2)) }

// act applies an activation that works on single elements.
func act[T float](a kernels.Activation, x T) T {
	switch a {
	case kernels.SiLU:
		return T(x * sigmoid(x))
	case kernels.GELU:
		return gelu(x)
	case kernels.QuickGELU:
		return T(x * sigmoid(T(1.702)*x))
	case kernels.ReLU:
		if x < 0 {
			return 0
		}
	case kernels.LeakyReLU:
		if x < 0 {
			return T(T(float32(0.2)) * x)
		}
	case kernels.SoftClamp:
		return T(3 * math.Tanh(float64(x)/3))
	}
	return x
}

func activate[T float](s kernels.Activate, in []Tensor) element[T] {
	x := in[0]
	if s.Act != kernels.GEGLU {
		return func(i int) T { return act(s.Act, T(x.F[i])) }
	}
	n := x.Shape[len(x.Shape)-1] / 2
	return func(i int) T {
		at := i/n*2*n + i%n
		return T(T(x.F[at]) * gelu(T(x.F[at+n])))
	}
}
