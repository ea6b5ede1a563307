package main

// tile multiplies mr rows by a packed panel two registers wide, all sums in registers. For each k it loads one row of the panel
// and broadcasts one element of each row of A.
func (g *isa) tile() {
	pointers := []string{"AX", "BX", "CX", "DX", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13"}[:g.mr]
	acc := func(row, half int) string { return g.r(2*row + half) }
	b0, b1, temp := 2*g.mr, 2*g.mr+1, 2*g.mr+2
	step := func(u int) {
		g.op("VMOVUPS %d(R14), %s", 2*u*g.bytes(), g.r(b0))
		g.op("VMOVUPS %d(R14), %s", (2*u+1)*g.bytes(), g.r(b1))
		for i, p := range pointers {
			t := g.r(temp + i%g.temps)
			g.op("VBROADCASTSS %d(%s)(R15*1), %s", 4*u, p, t)
			g.op("VFMADD231PS %s, %s, %s", t, g.r(b0), acc(i, 0))
			g.op("VFMADD231PS %s, %s, %s", t, g.r(b1), acc(i, 1))
		}
	}
	g.text("tile", "a *tileArgs", 32, 8)
	g.op("MOVQ a+0(FP), R15")
	g.op("MOVQ tileArgs_c(R15), AX")
	g.op("MOVQ tileArgs_ldc(R15), BX")
	g.op("SHLQ $2, BX")
	for i := range g.mr {
		g.op("PREFETCHT0 (AX)")
		if g.lanes == 16 {
			g.op("PREFETCHT0 64(AX)")
		}
		if i < g.mr-1 {
			g.op("ADDQ BX, AX")
		}
	}
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
	g.op("PCALIGN $32")
	g.label("by4")
	for u := range 4 {
		step(u)
	}
	g.op("ADDQ $%d, R14", 8*g.bytes())
	g.op("ADDQ $16, R15")
	g.op("CMPQ R15, end4-32(SP)")
	g.op("JLT by4")
	g.label("last")
	g.op("CMPQ R15, end-24(SP)")
	g.op("JGE next")
	step(0)
	g.op("ADDQ $%d, R14", 2*g.bytes())
	g.op("ADDQ $4, R15")
	g.op("JMP last")
	g.label("next")
	g.op("DECQ taps-16(SP)")
	g.op("JNZ tap")
	g.op("MOVQ a+0(FP), R15")
	g.op("MOVQ tileArgs_c(R15), AX")
	g.op("MOVQ tileArgs_ldc(R15), BX")
	g.op("SHLQ $2, BX")
	g.op("CMPQ tileArgs_accumulate(R15), $0")
	g.op("JEQ store")
	g.op("MOVQ AX, CX")
	for i := range g.mr {
		g.op("VADDPS (CX), %s, %s", acc(i, 0), acc(i, 0))
		g.op("VADDPS %d(CX), %s, %s", g.bytes(), acc(i, 1), acc(i, 1))
		if i < g.mr-1 {
			g.op("ADDQ BX, CX")
		}
	}
	g.label("store")
	for i := range g.mr {
		g.op("VMOVUPS %s, (AX)", acc(i, 0))
		g.op("VMOVUPS %s, %d(AX)", acc(i, 1), g.bytes())
		if i < g.mr-1 {
			g.op("ADDQ BX, AX")
		}
	}
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
