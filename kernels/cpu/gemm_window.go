package cpu

// window says which pixels of an image each output position reads; a matrix is an image of one row and a window of one
// pixel.
type window struct {
	h, w            int // source
	upH, upW        int // size the source is resized to by nearest neighbour; h, w if it is not
	outH, outW      int
	kh, kw, stride  int
	padTop, padLeft int
	positions       int // outH·outW
	// lines and columns are the source's line and column that a tap reads at each place of the padded, resized image, −1
	// on padding.
	lines, columns []int32
}

func (g *window) init() {
	g.positions = g.outH * g.outW
	g.lines = places((g.outH-1)*g.stride+g.kh, g.padTop, g.h, g.upH)
	g.columns = places((g.outW-1)*g.stride+g.kw, g.padLeft, g.w, g.upW)
}

// places maps each of n places, pad of them before an axis of length up, to the axis of length size that is resized to
// it.
func places(n, pad, size, up int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = -1
		if at := i - pad; at >= 0 && at < up {
			all[i] = int32(at * size / up)
		}
	}
	return all
}

// locate fills a table with the pixels that the taps of the given rows read, counted through the batch, −1 on padding
// and past the last row: groups of mr rows, in each for every tap mr entries.
func (g *window) locate(table []int32, mr, row, rows int) {
	taps := g.kh * g.kw
	b, p := row/g.positions, row%g.positions
	outY, outX := p/g.outW, p%g.outW
	for r := range roundUp(rows, mr) {
		entries := table[r/mr*mr*taps+r%mr:]
		if r >= rows {
			for t := range taps {
				entries[t*mr] = -1
			}
			continue
		}
		columns, at := g.columns[outX*g.stride:][:g.kw], 0
		for _, y := range g.lines[outY*g.stride:][:g.kh] {
			line := (int32(b*g.h) + y) * int32(g.w)
			for _, x := range columns {
				pixel := line + x
				if x|y < 0 {
					pixel = -1
				}
				entries[at] = pixel
				at += mr
			}
		}
		if outX++; outX == g.outW {
			outX = 0
			if outY++; outY == g.outH {
				outY = 0
				b++
			}
		}
	}
}
