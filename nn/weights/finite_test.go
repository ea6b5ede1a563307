package weights

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		values []float32
		want   bool
	}{
		{nil, true}, {[]float32{0, -1, 65504, -65504, 6e-8}, true}, {[]float32{0, 1, inf}, false}, {[]float32{-inf, 0}, false}, {[]float32{1, nan, 1}, false},
	} {
		var f32, f16, bf16 []byte
		for _, v := range c.values {
			f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(v))
			f16 = binary.LittleEndian.AppendUint16(f16, kernels.ToF16(v))
			bf16 = binary.LittleEndian.AppendUint16(bf16, kernels.ToBF16(v))
		}
		for dtype, data := range map[kernels.DType][]byte{kernels.F32: f32, kernels.F16: f16, kernels.BF16: bf16} {
			if Finite(dtype, data) != c.want {
				t.Errorf("%v of %v: %v", c.values, dtype, !c.want)
			}
		}
	}
	large := binary.LittleEndian.AppendUint32(nil, math.Float32bits(math.MaxFloat32))
	if !Finite(kernels.F32, large) || !Finite(kernels.BF16, []byte{0x7f, 0x7f}) || !Finite(kernels.F16, []byte{0xff, 0x7b}) {
		t.Error("the largest numbers are not finite")
	}
}
