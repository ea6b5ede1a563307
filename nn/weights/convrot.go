package weights

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/goxl/goxl/kernels"
)

// maxRotation is the largest group of a rotation. Sums of that many int8 are exact in float32.
const maxRotation = 16384

// checkRotation refuses groups that can't be rotated, or that do not divide the rows of the weight.
func checkRotation(q *quantised) error {
	size := q.group
	for size > 1 && size%4 == 0 {
		size /= 4
	}
	if size != 1 || q.group < 4 || q.group > maxRotation || q.stored != "I8" || len(q.shape) != 2 || q.shape[1]%q.group != 0 {
		return errors.New("not a rotation")
	}
	return nil
}

// unrotate undoes the rotation of ConvRot: every group of a row was multiplied with the Kronecker power of
//
//	      ⎛ 1  1  1 −1⎞
//	H₄ =  ⎜ 1  1 −1  1⎟ / 2
//	      ⎜ 1 −1  1  1⎟
//	      ⎝−1  1  1  1⎠
//
// whose size is the group's, before it was quantised. That matrix is symmetric and its own inverse. Sums are of
// integers, and the scale comes last, so that every weight is the exact one rounded to float32. Source: comfy_kitchen
// tensor/int8_utils.py, stable-diffusion.cpp docs/int8_convrot.md.
func (q *quantised) unrotate(out, data []byte, scale float32) {
	sums := make([]int32, q.group)
	scale *= float32(1 / math.Sqrt(float64(q.group))) // a power of two
	for ; len(data) > 0; data = data[q.group:] {
		hadamard(sums, data)
		if q.dtype == kernels.F32 {
			for i, s := range sums {
				binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(float32(s)*scale))
			}
		} else {
			for i, s := range sums {
				binary.LittleEndian.PutUint16(out[2*i:], kernels.ToF16(float32(s)*scale))
			}
		}
		out = out[q.group*q.dtype.Size():]
	}
}

// hadamard multiplies as many int8 as x is long, a power of four, with the Kronecker power of 2·H₄, one factor at a
// time: row r of 2·H₄ is the sum of all less twice the element 3−r.
func hadamard(x []int32, int8s []byte) {
	int8s = int8s[:len(x)]
	for i := 0; i+4 <= len(x); i += 4 {
		a, b, c, d := int32(int8(int8s[i])), int32(int8(int8s[i+1])), int32(int8(int8s[i+2])), int32(int8(int8s[i+3]))
		sum := a + b + c + d
		x[i], x[i+1], x[i+2], x[i+3] = sum-2*d, sum-2*c, sum-2*b, sum-2*a
	}
	for stride := 4; stride < len(x); stride *= 4 {
		for rest := x; len(rest) > 0; rest = rest[4*stride:] {
			a, b, c, d := rest[:stride], rest[stride:][:stride], rest[2*stride:][:stride], rest[3*stride:][:stride]
			for i := range a {
				sum := a[i] + b[i] + c[i] + d[i]
				a[i], b[i], c[i], d[i] = sum-2*d[i], sum-2*c[i], sum-2*b[i], sum-2*a[i]
			}
		}
	}
}
