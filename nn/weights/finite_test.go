package weights

import (
	"bytes"
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
	for n := range 20 { // wherever among how many others it stands
		for at := range n {
			for dtype, bits := range map[kernels.DType]uint16{kernels.F16: 0xfc00, kernels.BF16: 0x7f80} {
				data := bytes.Repeat([]byte{0xff, 0x3b}, n)
				if !Finite(dtype, data) {
					t.Fatalf("%v: %d numbers are not finite", dtype, n)
				}
				binary.LittleEndian.PutUint16(data[2*at:], bits)
				if Finite(dtype, data) {
					t.Fatalf("%v: infinity at %d of %d is finite", dtype, at, n)
				}
			}
		}
	}
	large := binary.LittleEndian.AppendUint32(nil, math.Float32bits(math.MaxFloat32))
	if !Finite(kernels.F32, large) || !Finite(kernels.BF16, []byte{0x7f, 0x7f}) || !Finite(kernels.F16, []byte{0xff, 0x7b}) {
		t.Error("the largest numbers are not finite")
	}
}
