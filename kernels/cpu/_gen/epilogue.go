package main

// combine is the linear part of the epilogue: dst = c [+ bias] [+ residual].
func (g *isa) combine() {
	g.text("combine", "dst, c, bias, residual *float32, n int", 0, 40)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ c+8(FP), SI")
	g.op("MOVQ bias+16(FP), BX")
	g.op("MOVQ residual+24(FP), DX")
	g.op("MOVQ n+32(FP), CX")
	g.op("XORQ AX, AX")
	g.op("TESTQ BX, BX")
	g.op("JNE biased")
	g.op("TESTQ DX, DX")
	g.op("JNE residual_vectors")
	loop := func(name string, operands ...string) {
		add := func(instr, r string) {
			for _, o := range operands {
				g.op("%s (%s)(AX*4), %s, %s", instr, o, r, r)
			}
		}
		g.label(name + "_vectors")
		g.op("LEAQ %d(AX), R8", g.lanes)
		g.op("CMPQ R8, CX")
		g.op("JGT %s_rest", name)
		g.op("VMOVUPS (SI)(AX*4), %s", g.r(0))
		add("VADDPS", g.r(0))
		g.op("VMOVUPS %s, (DI)(AX*4)", g.r(0))
		g.op("MOVQ R8, AX")
		g.op("JMP %s_vectors", name)
		g.label(name + "_rest")
		g.op("CMPQ AX, CX")
		g.op("JGE done")
		g.op("VMOVSS (SI)(AX*4), X0")
		add("VADDSS", "X0")
		g.op("VMOVSS X0, (DI)(AX*4)")
		g.op("INCQ AX")
		g.op("JMP %s_rest", name)
	}
	loop("plain")
	loop("residual", "DX")
	g.label("biased")
	g.op("TESTQ DX, DX")
	g.op("JNE both_vectors")
	loop("bias", "BX")
	loop("both", "BX", "DX")
	g.label("done")
	g.ret()
}

// scale is dst = f·src.
func (g *isa) scale() {
	g.text("scale", "dst, src *float32, f float32, n int", 0, 32)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("VBROADCASTSS f+16(FP), %s", g.r(1))
	g.op("MOVQ n+24(FP), CX")
	g.op("XORQ AX, AX")
	g.label("vectors")
	g.op("LEAQ %d(AX), R8", g.lanes)
	g.op("CMPQ R8, CX")
	g.op("JGT rest")
	g.op("VMULPS (SI)(AX*4), %s, %s", g.r(1), g.r(0))
	g.op("VMOVUPS %s, (DI)(AX*4)", g.r(0))
	g.op("MOVQ R8, AX")
	g.op("JMP vectors")
	g.label("rest")
	g.op("CMPQ AX, CX")
	g.op("JGE done")
	g.op("VMULSS (SI)(AX*4), X1, X0")
	g.op("VMOVSS X0, (DI)(AX*4)")
	g.op("INCQ AX")
	g.op("JMP rest")
	g.label("done")
	g.ret()
}
