package main

import "fmt"

// narrowCols is how many columns a narrow tile has.
const narrowCols = 4

// narrow multiplies a few rows by four columns, vectors of k at a time, and adds up the lanes of each sum at the end.
func (g *isa) narrow() {
	pointers := []string{"AX", "BX", "CX", "DX", "SI", "DI"}[:g.thin]
	acc := func(row, col int) int { return narrowCols*row + col }
	x := func(row int) string { return g.r(narrowCols*g.thin + row) }
	w := (narrowCols + 1) * g.thin // the register of the weights
	g.text("narrow", "a *tileArgs", 0, 8)
	for i := range narrowCols * g.thin {
		g.op("VXORPS %s, %s, %s", g.r(i), g.r(i), g.r(i))
	}
	g.op("MOVQ a+0(FP), R15")
	g.op("MOVQ tileArgs_b(R15), R14")
	g.op("MOVQ tileArgs_rows(R15), R13")
	g.op("MOVQ tileArgs_taps(R15), R12")
	g.op("MOVQ tileArgs_ahead(R15), R11")
	g.op("MOVQ tileArgs_k(R15), R10")
	g.label("tap")
	for i, p := range pointers {
		g.op("MOVQ %d(R13), %s", 8*i, p)
	}
	g.op("ADDQ $%d, R13", 8*g.thin)
	g.op("MOVQ R10, R9")
	g.op("PCALIGN $32")
	g.label("vector")
	for i, p := range pointers {
		g.op("VMOVUPS (%s), %s", p, x(i))
		g.op("PREFETCHT0 (%s)(R11*1)", p)
		g.op("ADDQ $%d, %s", g.bytes(), p)
	}
	for j := range narrowCols {
		g.op("VMOVUPS %d(R14), %s", j*g.bytes(), g.r(w))
		for i := range pointers {
			g.op("VFMADD231PS %s, %s, %s", x(i), g.r(w), g.r(acc(i, j)))
		}
	}
	g.op("ADDQ $%d, R14", narrowCols*g.bytes())
	g.op("SUBQ $%d, R9", g.lanes)
	g.op("JGT vector")
	g.op("DECQ R12")
	g.op("JNZ tap")
	t := w - 1 // the row registers are free
	sums := make([][]string, g.thin)
	for i := range sums {
		g.addLanes(acc(i, 0), t)
		sums[i] = []string{fmt.Sprintf("X%d", acc(i, 0))}
	}
	g.finish(sums, 4*narrowCols, []string{fmt.Sprintf("X%d", t)})
}

// addLanes adds up the lanes of four registers from r, which become the four lanes of X register r. It uses register t.
func (g *isa) addLanes(r, t int) {
	pair := func(op string, a, b int) {
		g.op("VUNPCKL%s %s, %s, %s", op, g.r(b), g.r(a), g.r(t))
		g.op("VUNPCKH%s %s, %s, %s", op, g.r(b), g.r(a), g.r(a))
		g.op("VADDPS %s, %s, %s", g.r(t), g.r(a), g.r(a))
	}
	pair("PS", r, r+1)
	pair("PS", r+2, r+3)
	pair("PD", r, r+2) // now each 128 bits hold parts of the four sums
	if g.lanes == 16 {
		g.op("VEXTRACTF64X4 $1, Z%d, Y%d", r, t)
		g.op("VADDPS Y%d, Y%d, Y%d", t, r, r)
		g.op("VEXTRACTF32X4 $1, Y%d, X%d", r, t)
	} else {
		g.op("VEXTRACTF128 $1, Y%d, X%d", r, t)
	}
	g.op("VADDPS X%d, X%d, X%d", t, r, r)
}
