package esrgan

import (
	"image"
	"image/draw"
	"math"
	"runtime"
	"sync"
)

// pixels are an image's red, green and blue bytes.
type pixels struct {
	width, height int
	data          []uint8 // four bytes a pixel
}

func newPixels(img image.Image) pixels {
	bounds := img.Bounds()
	p := pixels{width: bounds.Dx(), height: bounds.Dy()}
	if own, ok := img.(*image.NRGBA); ok && own.Stride == 4*p.width {
		p.data = own.Pix[own.PixOffset(bounds.Min.X, bounds.Min.Y):]
		return p
	}
	copied := image.NewNRGBA(image.Rect(0, 0, p.width, p.height))
	draw.Draw(copied, copied.Bounds(), img, bounds.Min, draw.Src)
	p.data = copied.Pix
	return p
}

// reflected is the position that stands for one beyond the end: the image in a mirror at its last pixel, as torch's
// padding mode "reflect".
func reflected(i, n int) int {
	if i >= n {
		i = 2*(n-1) - i
	}
	return min(max(i, 0), n-1)
}

// values are a part's colours in 0…1. unit×unit pixels become the channels of one position: colour, row, column (torch
// nn.PixelUnshuffle).
func (p pixels) values(part image.Rectangle, unit int) []float32 {
	width, channels := part.Dx()/unit, 3*unit*unit
	out := make([]float32, part.Dy()/unit*width*channels)
	for y := range part.Dy() {
		row := p.data[4*reflected(part.Min.Y+y, p.height)*p.width:]
		for x := range part.Dx() {
			pixel := row[4*reflected(part.Min.X+x, p.width):][:3]
			at := (y/unit*width+x/unit)*channels + y%unit*unit + x%unit
			for c, v := range pixel {
				out[at+c*unit*unit] = float32(v) / 255
			}
		}
	}
	return out
}

// band are the values of some rows of the result, and what tiles have added to them.
type band struct {
	width, height int
	values        []float32
}

func newBand(width, height int) *band {
	return &band{width, height, make([]float32, 3*width*height)}
}

// add adds a tile whose columns begin at x, weighted by column and row. Where shuffle is above 1, a position of the tile
// has shuffle×shuffle pixels as channels: row, column, colour.
func (b *band) add(tile []float32, x int, columns, rows []float32, shuffle int) {
	shuffle = max(shuffle, 1)
	width := len(columns)
	parallel(len(rows), func(y int) {
		to := b.values[3*(y*b.width+x):][:3*width]
		// Of a row of positions, each has a run of 3·shuffle values for this row of pixels.
		from := tile[y/shuffle*width*3*shuffle+y%shuffle*3*shuffle:]
		for k := range width {
			v, w := from[k/shuffle*3*shuffle*shuffle+k%shuffle*3:][:3], rows[y]*columns[k]
			to[3*k] += w * v[0]
			to[3*k+1] += w * v[1]
			to[3*k+2] += w * v[2]
		}
	})
}

// write rounds the first rows to bytes, half to even, writes them to the image from row y on, and moves up what is below
// them.
func (b *band) write(img *image.NRGBA, y, rows int) {
	width := img.Rect.Dx()
	parallel(min(rows, img.Rect.Dy()-y), func(r int) {
		from, to := b.values[3*r*b.width:], img.Pix[(y+r)*img.Stride:]
		for k := range width {
			for c, v := range from[3*k:][:3] {
				to[4*k+c] = uint8(math.RoundToEven(float64(min(max(v, 0), 1) * 255)))
			}
			to[4*k+3] = 255
		}
	})
	rest := copy(b.values, b.values[3*rows*b.width:])
	clear(b.values[rest:])
}

// parallel calls f for 0 to n−1, on every core, and waits.
func parallel(n int, f func(i int)) {
	parts := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() {
			for i := part * n / parts; i < (part+1)*n/parts; i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}
