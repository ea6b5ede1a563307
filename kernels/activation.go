package kernels

import "fmt"

// Activation is a function applied to each element, or for GEGLU to pairs of halves.
type Activation uint8

// The activations. Source: diffusers models/activations.py and models/autoencoders/vae.py (DecoderTiny), transformers
// activations.py; LeakyReLU is that of BasicSR archs/rrdbnet_arch.py.
const (
	Identity  Activation = iota
	SiLU                 // x·σ(x)
	GELU                 // x·Φ(x), exact (erf)
	QuickGELU            // x·σ(1.702x)
	ReLU                 // x above 0, else 0; NaN stays NaN
	SoftClamp            // 3·tanh(x/3), TAESD's clamp of latents
	LeakyReLU            // x above 0, else x/5; NaN stays NaN
	GEGLU                // the last axis in halves [value, gate]: value·GELU(gate); halves the width
)

var activations = [...]string{"identity", "silu", "gelu", "quick_gelu", "relu", "soft_clamp", "leaky_relu", "geglu"}

func (a Activation) String() string {
	if int(a) < len(activations) {
		return activations[a]
	}
	return fmt.Sprintf("Activation(%d)", uint8(a))
}

// width returns the last axis after the activation of n elements.
func (a Activation) width(op string, n int) (int, error) {
	if int(a) >= len(activations) {
		return 0, &OpError{op, "activation", a, activations}
	}
	if a != GEGLU {
		return n, nil
	}
	if n%2 != 0 {
		return 0, &OpError{op, "the width that GEGLU halves", n, "an even number"}
	}
	return n / 2, nil
}
