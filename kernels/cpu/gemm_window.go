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
}

// locate fills a table with the pixels that the taps of the given rows read, counted through the batch, −1 on padding
// and past the last row: groups of mr rows, in each for every tap mr entries. It returns how many pixels of the source
// these are, the highest index plus one.
func (g *window) locate(table []int32, mr, row, rows int) int {
	reach, taps := 0, g.kh*g.kw
	b, p := row/g.positions, row%g.positions
	outY, outX := p/g.outW, p%g.outW
	for r := range roundUp(rows, mr) {
		entries := table[r/mr*mr*taps+r%mr:]
		for i := range g.kh {
			y := outY*g.stride + i - g.padTop
			inside := r < rows && y >= 0 && y < g.upH
			if inside && g.upH != g.h {
				y = y * g.h / g.upH
			}
			line := (b*g.h + y) * g.w
			for j := range g.kw {
				x := outX*g.stride + j - g.padLeft
				pixel := -1
				if inside && x >= 0 && x < g.upW {
					if g.upW != g.w {
						x = x * g.w / g.upW
					}
					pixel = line + x
					reach = max(reach, pixel+1)
				}
				entries[(i*g.kw+j)*mr] = int32(pixel)
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
	return reach
}
