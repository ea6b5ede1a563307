package kernels

import "testing"

// TestOperands lists where every operand is, with all, some and none of the optional ones there.
func TestOperands(t *testing.T) {
	const no = Absent
	for _, c := range []struct {
		spec interface{ Operands() Operands }
		want Operands
	}{
		{Linear{}, Operands{0, no, 1, no, no, no, 2}},
		{Linear{Bias: true}, Operands{0, no, 1, 2, no, no, 3}},
		{Linear{Residual: true}, Operands{0, no, 1, no, no, 2, 3}},
		{Linear{Bias: true, Residual: true}, Operands{0, no, 1, 2, no, 3, 4}},
		{Conv2d{}, Operands{0, no, 1, no, no, no, 2}},
		{Conv2d{Concat: true}, Operands{0, 1, 2, no, no, no, 3}},
		{Conv2d{BroadcastBias: true, Residual: true}, Operands{0, no, 1, no, 2, 3, 4}},
		{Conv2d{Concat: true, Bias: true, BroadcastBias: true, Residual: true}, Operands{0, 1, 2, 3, 4, 5, 6}},
		{GroupNorm{}, Operands{0, no, 1, 2, no, no, 3}},
		{GroupNorm{Concat: true}, Operands{0, 1, 2, 3, no, no, 4}},
		{LayerNorm{}, Operands{0, no, 1, 2, no, no, 3}},
	} {
		if got := c.spec.Operands(); got != c.want {
			t.Errorf("%T%+v: %+v, want %+v", c.spec, c.spec, got, c.want)
		}
	}
	if in := []string{"x", "w"}; Operand(in, 1) != "w" || Operand(in, Absent) != "" {
		t.Errorf("operands are %q and %q, want w and none", Operand(in, 1), Operand(in, Absent))
	}
}
