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

// TestRamp: what two parts share goes over from one to the other in a straight line, at every scale.
func TestRamp(t *testing.T) {
	a := cut(56, 32, 8, 1)
	if len(a.starts) != 2 || a.size != 32 || a.starts[1] != 24 {
		t.Fatalf("%+v", a)
	}
	for _, scale := range []int{1, 4} {
		w := a.weights(scale)
		for k := range 8 * scale {
			want := (float64(k) + 0.5) / float64(8*scale)
			if left, right := float64(w[0][24*scale+k]), float64(w[1][k]); math.Abs(right-want) > 1e-6 || math.Abs(left-(1-want)) > 1e-6 {
				t.Errorf("scale %d: position %d weighs %g and %g, want %g and %g", scale, k, left, right, 1-want, want)
			}
		}
		if w[0][24*scale-1] != 1 || w[1][8*scale] != 1 {
			t.Errorf("scale %d: a position of one part weighs %g and %g, want 1", scale, w[0][24*scale-1], w[1][8*scale])
		}
	}
}
