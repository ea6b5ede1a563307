package preprocess

import (
	"image"
	"math"
)

// Canny finds edges: cv2.Canny of an RGB image with an aperture of 3 and the L1 norm of the gradient, white on black.
// Thresholds are of that norm, in either order.
func Canny(img *image.NRGBA, low, high float64) *image.NRGBA {
	if low > high {
		low, high = high, low
	}
	e := newEdges(img)
	strong := e.suppress(int(math.Floor(low)), int(math.Floor(high)))
	for len(strong) > 0 { // weak edges count where they touch strong ones
		at := strong[len(strong)-1]
		strong = strong[:len(strong)-1]
		y, x := at/e.width, at%e.width
		for ny := max(0, y-1); ny <= min(e.height-1, y+1); ny++ {
			for nx := max(0, x-1); nx <= min(e.width-1, x+1); nx++ {
				if near := ny*e.width + nx; e.kind[near] == weakEdge {
					e.kind[near] = strongEdge
					strong = append(strong, near)
				}
			}
		}
	}
	return grey(e.width, e.height, func(x, y int) uint8 {
		if e.kind[y*e.width+x] == strongEdge {
			return 255
		}
		return 0
	})
}

// edges are gradients of an image: of each pixel that of the channel where it is largest.
type edges struct {
	width, height int
	dx, dy        []int
	norm          []int // with a border of zeros, so that a row has width + 2
	kind          []uint8
}

const (
	noEdge uint8 = iota
	weakEdge
	strongEdge
)

func newEdges(img *image.NRGBA) *edges {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	e := &edges{width: w, height: h, dx: make([]int, w*h), dy: make([]int, w*h), norm: make([]int, (w+2)*(h+2)), kind: make([]uint8, w*h)}
	for y := range h {
		above, here, below := img.Pix[max(0, y-1)*img.Stride:], img.Pix[y*img.Stride:], img.Pix[min(h-1, y+1)*img.Stride:]
		for x := range w {
			left, middle, right := 4*max(0, x-1), 4*x, 4*min(w-1, x+1)
			best := -1
			for c := range 3 {
				a, b := int(above[left+c]), int(above[right+c])
				f, g := int(below[left+c]), int(below[right+c])
				dx := b - a + 2*(int(here[right+c])-int(here[left+c])) + g - f
				dy := f - a + 2*(int(below[middle+c])-int(above[middle+c])) + g - b
				if n := abs(dx) + abs(dy); n > best {
					best, e.dx[y*w+x], e.dy[y*w+x] = n, dx, dy
				}
			}
			e.norm[(y+1)*(w+2)+x+1] = best
		}
	}
	return e
}

func abs(v int) int { return max(v, -v) }

// suppress keeps the pixels whose gradient is the largest across the edge, and returns those above high. Source: OpenCV
// modules/imgproc/src/canny.cpp.
func (e *edges) suppress(low, high int) (strong []int) {
	const shift, tangent22 = 15, 13573 // of 22.5 degrees, 0.4142135623730950488·2^15, rounded
	row := e.width + 2
	for y := range e.height {
		for x := range e.width {
			at := (y+1)*row + x + 1
			m := e.norm[at]
			if m <= low {
				continue
			}
			dx, dy := e.dx[y*e.width+x], e.dy[y*e.width+x]
			ax, ay := abs(dx), abs(dy)<<shift
			t22 := ax * tangent22
			var largest bool
			switch {
			case ay < t22:
				largest = m > e.norm[at-1] && m >= e.norm[at+1]
			case ay > t22+ax<<(shift+1):
				largest = m > e.norm[at-row] && m >= e.norm[at+row]
			default:
				s := 1
				if dx^dy < 0 {
					s = -1
				}
				largest = m > e.norm[at-row-s] && m > e.norm[at+row+s]
			}
			if !largest {
				continue
			}
			here := y*e.width + x
			if e.kind[here] = weakEdge; m > high {
				e.kind[here] = strongEdge
				strong = append(strong, here)
			}
		}
	}
	return strong
}
