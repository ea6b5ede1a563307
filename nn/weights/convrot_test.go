package weights

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// checkRotated compares a rotated weight with its definition in float64, element by element the nearest float16, and
// ComfyUI's with it, within what a sum of so many float32 may be off.
func checkRotated(t *testing.T, src *Component, name string, group int, comfy []float32) {
	t.Helper()
	q, err := src.Raw(name)
	if err != nil {
		t.Fatal(err)
	}
	_, shape, scaleData, err := src.set.Tensor(name + "_scale")
	if err != nil || shape[1] != 1 {
		t.Fatalf("%s: scales %v, error %v", name, shape, err)
	}
	rows := shape[0]
	row := len(q) / rows
	got := readFloats(t, src, name)
	worst := 0.
	for r := range rows {
		scale := float64(math.Float32frombits(binary.LittleEndian.Uint32(scaleData[4*r:])))
		for i := range row {
			var sum, magnitude float64
			first := r*row + i - i%group
			for j := range group {
				x := float64(int8(q[first+j])) * scale / math.Sqrt(float64(group))
				sum += x * kronecker(i%group, j, group)
				magnitude += math.Abs(x)
			}
			if want := kernels.FromF16(kernels.ToF16(float32(sum))); got[r*row+i] != want {
				t.Fatalf("%s: row %d, element %d is %g, want %g", name, r, i, got[r*row+i], want)
			}
			worst = max(worst, math.Abs(float64(comfy[r*row+i])-sum)/(magnitude*float64(group)*0x1p-24))
		}
	}
	t.Logf("%s: ComfyUI's float32 uses %.3f of its rounding", name, worst)
	if worst > 1 || math.IsNaN(worst) {
		t.Errorf("%s is another function than ComfyUI's", name)
	}
}

// kronecker is an element of the Kronecker power of 2·H₄.
func kronecker(i, j, size int) float64 {
	sign := 1.
	for ; size > 1; size /= 4 {
		if i%4+j%4 == 3 {
			sign = -sign
		}
		i, j = i/4, j/4
	}
	return sign
}

// BenchmarkDequantise makes a weight of 2560×1280, of which SDXL's UNet has as many elements 783 times.
func BenchmarkDequantise(b *testing.B) {
	data := make([]byte, 2560*1280)
	for i := range data {
		data[i] = byte(i * 7)
	}
	rows := make([]float32, 2560)
	for i := range rows {
		rows[i] = 1e-3
	}
	for name, q := range map[string]*quantised{
		"scaled": {stored: "F8_E4M3", scales: rows[:1]}, "rows": {stored: "I8", scales: rows}, "rotated": {stored: "I8", scales: rows, group: 256},
	} {
		q.dtype, q.shape = kernels.F16, []int{2560, 1280}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				q.made = nil
				q.values(data)
			}
		})
	}
}
