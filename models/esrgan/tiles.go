package esrgan

import "fmt"

// DefaultTile is the most pixels a side that are enlarged at once where nothing else is said, DefaultHostTile on a
// device that computes in the process's own memory, DefaultOverlap what neighbours share. ComfyUI's are 512 and 32.
const (
	DefaultTile     = 512
	DefaultHostTile = 256
	DefaultOverlap  = 32
)

// Least is the smallest tile.
const Least = 32

// CheckTiles returns the error of a tile or an overlap that can't be used; 0 is the default tile.
func CheckTiles(tile, overlap int) error {
	if tile != 0 && tile < Least {
		return fmt.Errorf("tile is %d pixels: must be at least %d", tile, Least)
	}
	if tile == 0 {
		tile = DefaultHostTile
	}
	if overlap < 0 || 2*overlap > tile {
		return fmt.Errorf("overlap is %d pixels: must be 0 to %d, half a tile", overlap, tile/2)
	}
	return nil
}

// axis is how one side of an image is cut: parts of one size that begin at starts.
type axis struct {
	size   int
	starts []int
	total  int // the side, rounded up to the unit
}

// cut divides a side into as few parts of at most tile pixels as can be, which overlap by overlap pixels or more. They
// are of one size, so that one program computes all, and no larger than that takes. Starts and sizes are multiples of
// unit.
func cut(side, tile, overlap, unit int) axis {
	up := func(n int) int { return (n + unit - 1) / unit * unit }
	a := axis{total: up(side)}
	tile = up(tile)
	if a.total <= tile {
		a.size, a.starts = a.total, []int{0}
		return a
	}
	overlap = up(overlap)
	step := max(tile-overlap, unit)
	n := (a.total - overlap + step - 1) / step
	a.size = up((a.total + (n-1)*overlap + n - 1) / n)
	for i := range n {
		a.starts = append(a.starts, up(i*(a.total-a.size)/(n-1)))
	}
	return a
}

// weights are what each position of a part counts, at scale times the size: 1 where no other part lies. Between
// neighbours they go over in a straight ramp, and the weights of all parts at a position add up to 1.
func (a axis) weights(scale int) [][]float32 {
	parts := make([][]float32, len(a.starts))
	sum := make([]float32, a.total*scale)
	for i, start := range a.starts {
		w := make([]float32, a.size*scale)
		rise, fall := 0, 0 // positions shared with the part before and the one behind
		if i > 0 {
			rise = max(a.starts[i-1]+a.size-start, 0) * scale
		}
		if i < len(a.starts)-1 {
			fall = max(start+a.size-a.starts[i+1], 0) * scale
		}
		for k := range w {
			w[k] = 1
			if k < rise { // the middle of a position, so that the ramps of both neighbours are alike
				w[k] *= float32(2*k+1) / float32(2*rise)
			}
			if behind := len(w) - 1 - k; behind < fall {
				w[k] *= float32(2*behind+1) / float32(2*fall)
			}
			sum[start*scale+k] += w[k]
		}
		parts[i] = w
	}
	for i, w := range parts {
		for k := range w {
			w[k] /= sum[a.starts[i]*scale+k]
		}
	}
	return parts
}
