package esrgan

import (
	"math"
	"testing"
)

// TestCut: parts cover a side, are of one size no larger than a tile, overlap as far as asked, and weights add up to 1.
func TestCut(t *testing.T) {
	for _, unit := range []int{1, 2, 4} {
		for _, tile := range []int{32, 33, 100} {
			for _, overlap := range []int{0, 1, 8, 16} {
				for side := 1; side < 400; side++ {
					a := cut(side, tile, overlap, unit)
					most := (tile + unit - 1) / unit * unit
					if a.total < side || a.total >= side+unit || a.size > most || a.starts[0] != 0 || a.starts[len(a.starts)-1]+a.size != a.total || a.size%unit != 0 {
						t.Fatalf("side %d, tile %d, overlap %d, unit %d: %+v", side, tile, overlap, unit, a)
					}
					sum := make([]float64, a.total*3)
					for i, w := range a.weights(3) {
						if a.starts[i]%unit != 0 || i > 0 && a.starts[i-1]+a.size-a.starts[i] < overlap {
							t.Fatalf("side %d, tile %d, overlap %d, unit %d: %+v", side, tile, overlap, unit, a)
						}
						for k, v := range w {
							sum[3*a.starts[i]+k] += float64(v)
						}
					}
					for k, v := range sum {
						if math.Abs(v-1) > 1e-6 {
							t.Fatalf("side %d, tile %d, overlap %d, unit %d: weights at %d add up to %g", side, tile, overlap, unit, k, v)
						}
					}
				}
			}
		}
	}
}

// TestReflected: positions beyond the end are those of the image in a mirror.
func TestReflected(t *testing.T) {
	for _, c := range [][3]int{{3, 5, 3}, {5, 5, 3}, {7, 5, 1}, {1, 1, 0}, {3, 1, 0}, {3, 2, 0}} {
		if got := reflected(c[0], c[1]); got != c[2] {
			t.Errorf("position %d of %d is %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
