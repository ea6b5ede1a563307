package kernels

// Operands says which input of a spec each operand is, and Absent for one that the spec does not have. It is the only
// place that knows the order of inputs: X, X2, Weight, Bias, BroadcastBias, Residual.
type Operands struct {
	X, X2, Weight, Bias, BroadcastBias, Residual int
	Count                                        int // of inputs
}

// Absent is the place of an operand that a spec does not have.
const Absent = -1

// Operand returns the operand at a place among a node's inputs, the zero T if it is Absent.
func Operand[T any](in []T, at int) (operand T) {
	if at != Absent {
		operand = in[at]
	}
	return operand
}

// operands places x and weight, and those of the others that are there.
func operands(x2, bias, broadcastBias, residual bool) (o Operands) {
	next := func(there bool) int {
		if !there {
			return Absent
		}
		o.Count++
		return o.Count - 1
	}
	o.X, o.X2, o.Weight, o.Bias, o.BroadcastBias, o.Residual = next(true), next(x2), next(true), next(bias), next(broadcastBias), next(residual)
	return o
}

// Operands returns the places of the inputs.
func (s Linear) Operands() Operands { return operands(false, s.Bias, false, s.Residual) }

// Operands returns the places of the inputs.
func (s Conv2d) Operands() Operands { return operands(s.Concat, s.Bias, s.BroadcastBias, s.Residual) }

// Operands returns the places of the inputs.
func (s GroupNorm) Operands() Operands { return operands(s.Concat, true, false, false) }

// Operands returns the places of the inputs.
func (s LayerNorm) Operands() Operands { return operands(false, true, false, false) }
