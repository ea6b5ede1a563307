package main

import "fmt"

// tile multiplies mr rows by a packed panel two registers wide, all sums in registers. For each k it loads one row of the panel
// and broadcasts one element of each row of A.
func (g *isa) tile() {
	pointers := []string{"AX", "BX", "CX", "DX", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13"}[:g.mr]
	acc := func(row, half int) string { return g.r(2*row + half) }
	b0, b1, temp := 2*g.mr, 2*g.mr+1, 2*g.mr+2
	step := func(u int, index string) {
		g.op("VMOVUPS %d(R14), %s", 2*u*g.bytes(), g.r(b0))
		g.op("VMOVUPS %d(R14), %s", (2*u+1)*g.bytes(), g.r(b1))
		for i, p := range pointers {
			t := g.r(temp + i%g.temps)
			g.op("VBROADCASTSS %d(%s)%s, %s", 4*u, p, index, t)
			g.op("VFMADD231PS %s, %s, %s", t, g.r(b0), acc(i, 0))
			g.op("VFMADD231PS %s, %s, %s", t, g.r(b1), acc(i, 1))
		}
	}
	g.text("tile", "a *tileArgs", 48, 8)
	g.op("MOVQ a+0(FP), R15")
	g.op("MOVQ tileArgs_residual(R15), AX")
	g.op("MOVQ tileArgs_ldo(R15), BX")
	g.op("SHLQ $2, BX")
	g.op("TESTQ AX, AX")
	g.op("JEQ output")
	g.prefetch()
	g.label("output")
	g.op("MOVQ tileArgs_out(R15), AX")
	g.op("TESTQ AX, AX")
	g.op("JNE prefetch")
	g.op("MOVQ tileArgs_c(R15), AX")
	g.op("MOVQ tileArgs_ldc(R15), BX")
	g.op("SHLQ $2, BX")
	g.label("prefetch")
	g.prefetch()
	for i := range 2 * g.mr {
		g.op("VXORPS %s, %s, %s", g.r(i), g.r(i), g.r(i))
	}
	g.op("MOVQ tileArgs_b(R15), R14")
	g.op("MOVQ tileArgs_rows(R15), AX")
	g.op("MOVQ AX, rows-8(SP)")
	g.op("MOVQ tileArgs_taps(R15), AX")
	g.op("MOVQ AX, taps-16(SP)")
	g.op("MOVQ tileArgs_k(R15), AX")
	g.op("SHLQ $2, AX")
	g.op("MOVQ AX, end-24(SP)")
	g.op("ANDQ $~15, AX")
	g.op("MOVQ AX, end4-32(SP)")
	g.op("MOVQ tileArgs_ahead(R15), AX")
	g.op("MOVQ AX, ahead-40(SP)")
	g.label("tap")
	g.op("MOVQ rows-8(SP), R15")
	for i, p := range pointers {
		g.op("MOVQ %d(R15), %s", 8*i, p)
	}
	g.op("ADDQ $%d, R15", 8*g.mr)
	g.op("MOVQ R15, rows-8(SP)")
	g.op("XORQ R15, R15")
	g.op("CMPQ R15, end4-32(SP)")
	g.op("JGE last")
	g.op("CMPQ R15, ahead-40(SP)")
	g.op("JNE fetch")
	g.op("PCALIGN $32")
	g.label("by4")
	for u := range 4 {
		step(u, "(R15*1)")
	}
	g.op("ADDQ $%d, R14", 8*g.bytes())
	g.op("ADDQ $16, R15")
	g.op("CMPQ R15, end4-32(SP)")
	g.op("JLT by4")
	g.label("last")
	g.op("CMPQ R15, end-24(SP)")
	g.op("JGE next")
	step(0, "(R15*1)")
	g.op("ADDQ $%d, R14", 2*g.bytes())
	g.op("ADDQ $4, R15")
	g.op("JMP last")
	// As by4, but R15 is how far ahead rows are fetched, for which the pointers advance.
	g.label("fetch")
	g.op("MOVQ end4-32(SP), R15")
	g.op("ADDQ %s, R15", pointers[0])
	g.op("MOVQ R15, stop-48(SP)")
	g.op("MOVQ ahead-40(SP), R15")
	g.op("PCALIGN $32")
	g.label("fetching")
	for u := range 4 {
		step(u, "")
		for i := u; i < g.mr; i += 4 {
			g.op("PREFETCHT0 (%s)(R15*1)", pointers[i])
		}
	}
	for _, p := range pointers {
		g.op("ADDQ $16, %s", p)
	}
	g.op("ADDQ $%d, R14", 8*g.bytes())
	g.op("CMPQ %s, stop-48(SP)", pointers[0])
	g.op("JNE fetching")
	g.op("MOVQ end4-32(SP), R15")
	for _, p := range pointers {
		g.op("SUBQ R15, %s", p)
	}
	g.op("JMP last")
	g.label("next")
	g.op("DECQ taps-16(SP)")
	g.op("JNZ tap")
	sums := make([][]string, g.mr)
	for i := range sums {
		sums[i] = []string{acc(i, 0), acc(i, 1)}
	}
	g.finish(sums, g.bytes(), []string{g.r(b0), g.r(b1)})
}

// prefetch fetches the mr rows of a tile that are BX bytes apart, from AX.
func (g *isa) prefetch() {
	for i := range g.mr {
		g.op("PREFETCHT0 (AX)")
		if g.lanes == 16 {
			g.op("PREFETCHT0 64(AX)")
		}
		if i < g.mr-1 {
			g.op("ADDQ BX, AX")
		}
	}
}

// finish adds C to the sums and writes them there, or adds bias and residual, applies ReLU and writes to the output. The
// sums are rows of registers of so many bytes; it needs as many others as a row has.
func (g *isa) finish(sums [][]string, bytes int, temps []string) {
	each := func(op func(i, half int, acc string)) {
		for i := range sums {
			for half, acc := range sums[i] {
				op(i, half, acc)
			}
		}
	}
	// rows states op for every sum, with its address, from the register base, rows ld bytes apart.
	rows := func(base, ld string, op func(mem, acc string)) {
		each(func(i, half int, acc string) {
			if i > 0 && half == 0 {
				g.op("ADDQ %s, %s", ld, base)
			}
			op(fmt.Sprintf("%d(%s)", half*bytes, base), acc)
		})
	}
	add := func(operand, acc string) { g.op("VADDPS %s, %s, %s", operand, acc, acc) }
	g.op("MOVQ a+0(FP), R15")
	g.op("MOVQ tileArgs_c(R15), AX")
	g.op("MOVQ tileArgs_ldc(R15), BX")
	g.op("SHLQ $2, BX")
	g.op("CMPQ tileArgs_accumulate(R15), $0")
	g.op("JEQ summed")
	g.op("MOVQ AX, CX")
	rows("CX", "BX", add)
	g.label("summed")
	g.op("MOVQ tileArgs_out(R15), DX")
	g.op("TESTQ DX, DX")
	g.op("JEQ store")
	g.op("MOVQ DX, AX")
	g.op("MOVQ tileArgs_ldo(R15), BX")
	g.op("SHLQ $2, BX")
	g.op("MOVQ tileArgs_bias(R15), CX")
	g.op("TESTQ CX, CX")
	g.op("JEQ biased")
	for half, t := range temps {
		g.op("VMOVUPS %d(CX), %s", half*bytes, t)
	}
	each(func(_, half int, acc string) { add(temps[half], acc) })
	g.label("biased")
	g.op("MOVQ tileArgs_residual(R15), CX")
	g.op("TESTQ CX, CX")
	g.op("JEQ joined")
	rows("CX", "BX", add)
	g.label("joined")
	g.op("CMPQ tileArgs_relu(R15), $0")
	g.op("JEQ store")
	g.op("VXORPS %s, %s, %s", temps[0], temps[0], temps[0])
	each(func(_, _ int, acc string) { g.op("VMAXPS %s, %s, %s", acc, temps[0], acc) }) // in this order it keeps NaN
	g.label("store")
	rows("AX", "BX", func(mem, acc string) { g.op("VMOVUPS %s, %s", acc, mem) })
	g.ret()
}

// peak is as many independent multiply-adds as a tile has sums, without memory.
func (g *isa) peak() {
	g.text("fmaPeak", "iterations int", 0, 8)
	g.op("MOVQ iterations+0(FP), CX")
	for i := range 2*g.mr + 2 {
		g.op("VXORPS %s, %s, %s", g.r(i), g.r(i), g.r(i))
	}
	g.op("PCALIGN $32")
	g.label("loop")
	for i := range 2 * g.mr {
		g.op("VFMADD231PS %s, %s, %s", g.r(2*g.mr), g.r(2*g.mr+1), g.r(i))
	}
	g.op("DECQ CX")
	g.op("JNZ loop")
	g.ret()
}
