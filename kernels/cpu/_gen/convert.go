package main

// widenRow is dst = src in float32, for n elements, a multiple of lanes.
func (g *isa) widenRow(t string) {
	g.text("widen"+t, "dst *float32, src *uint16, n int", 0, 24)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.op("XORQ AX, AX")
	g.label("vector")
	g.widen(t, "(SI)(AX*2)", g.r(0))
	g.op("VMOVUPS %s, (DI)(AX*4)", g.r(0))
	g.op("ADDQ $%d, AX", g.lanes)
	g.op("CMPQ AX, CX")
	g.op("JLT vector")
	g.ret()
}

// narrowRow is dst = src rounded to 16 bits, to nearest even, for n elements, a multiple of lanes.
func (g *isa) narrowRow(t string) {
	g.text("narrow"+t, "dst *uint16, src *float32, n int", 0, 24)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ n+16(FP), CX")
	g.op("XORQ AX, AX")
	if t == "BF16" {
		for i, c := range []string{"$1", "$0x7fff", "$0x400000"} { // the lowest bit kept, what rounds, what makes a NaN quiet
			g.op("MOVL %s, R8", c)
			g.op("VMOVD R8, X%d", 5+i)
			g.op("VPBROADCASTD X%d, %s", 5+i, g.r(5+i))
		}
	}
	half := "Y"
	if g.lanes == 8 {
		half = "X"
	}
	g.label("vector")
	g.op("VMOVUPS (SI)(AX*4), %s", g.r(0))
	if t == "F16" {
		g.op("VCVTPS2PH $0, %s, %s1", g.r(0), half)
	} else {
		g.roundBF16()
	}
	g.op("VMOVUPS %s1, (DI)(AX*2)", half)
	g.op("ADDQ $%d, AX", g.lanes)
	g.op("CMPQ AX, CX")
	g.op("JLT vector")
	g.ret()
}

// roundBF16 rounds register 0 to the 16 bits of register 1.
func (g *isa) roundBF16() {
	g.op("VPSRLD $16, %s, %s", g.r(0), g.r(1))
	if g.lanes == 16 {
		g.op("VPANDD %s, %s, %s", g.r(5), g.r(1), g.r(1))
		g.op("VPADDD %s, %s, %s", g.r(6), g.r(1), g.r(1))
		g.op("VPADDD %s, %s, %s", g.r(0), g.r(1), g.r(1))
		g.op("VCMPPS $3, %s, %s, K1", g.r(0), g.r(0))
		g.op("VPORD %s, %s, K1, %s", g.r(7), g.r(0), g.r(1))
		g.op("VPSRLD $16, %s, %s", g.r(1), g.r(1))
		g.op("VPMOVDW %s, Y1", g.r(1))
		return
	}
	g.op("VPAND %s, %s, %s", g.r(5), g.r(1), g.r(1))
	g.op("VPADDD %s, %s, %s", g.r(6), g.r(1), g.r(1))
	g.op("VPADDD %s, %s, %s", g.r(0), g.r(1), g.r(1))
	g.op("VCMPPS $3, %s, %s, %s", g.r(0), g.r(0), g.r(2))
	g.op("VPOR %s, %s, %s", g.r(7), g.r(0), g.r(3))
	g.op("VBLENDVPS %s, %s, %s, %s", g.r(2), g.r(3), g.r(1), g.r(1))
	g.op("VPSRLD $16, %s, %s", g.r(1), g.r(1))
	g.op("VPACKUSDW %s, %s, %s", g.r(1), g.r(1), g.r(1))
	g.op("VPERMQ $0xd8, %s, %s", g.r(1), g.r(1))
}
