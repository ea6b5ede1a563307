package golden

import (
	"math"
	"testing"
)

func TestDistance(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name      string
		got, want []float32
		d         float64 // −1: an error
	}{
		{"equal", []float32{1, -2}, []float32{1, -2}, 0},
		{"off by a tenth", []float32{3.3, 4.4}, []float32{3, 4}, 0.1},
		{"NaN", []float32{nan, 4}, []float32{3, 4}, -1},
		{"NaN on both sides", []float32{nan, 4}, []float32{nan, 4}, -1},
		{"Inf on both sides", []float32{inf, 4}, []float32{inf, 4}, -1},
		{"zero reference", []float32{0, 0}, []float32{0, 0}, -1},
		{"shorter", []float32{3}, []float32{3, 4}, -1},
	} {
		d, err := Distance(c.got, c.want)
		if (err != nil) != (c.d < 0) || err == nil && math.Abs(d-c.d) > 1e-6 {
			t.Errorf("%s: %v, %v, want %v", c.name, d, err, c.d)
		}
	}
}
