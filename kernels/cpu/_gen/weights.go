package main

import "fmt"

// pack transposes blocks of lanes rows by lanes columns.
func (g *isa) pack(t string) {
	n := g.lanes
	g.text("pack"+t, "dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int", 0, 40)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ ld+16(FP), R8")
	g.op("MOVQ offsets+24(FP), DX")
	g.op("MOVQ k+32(FP), CX")
	g.op("LEAQ (R8)(R8*2), R9")
	bases := []string{"SI", "R10", "R11", "R12"}[:n/4]
	for i := 1; i < len(bases); i++ {
		g.op("LEAQ (%s)(R8*4), %s", bases[i-1], bases[i])
	}
	g.label("block")
	for i := range n {
		b := bases[i/4]
		g.widen(t, [...]string{"(" + b + ")", "(" + b + ")(R8*1)", "(" + b + ")(R8*2)", "(" + b + ")(R9*1)"}[i%4], g.r(i))
	}
	// Within 128-bit lanes: pairs of rows, then fours; afterwards register 4g+c holds in lane L column 4L+c of rows 4g…4g+3.
	for i := 0; i < n; i += 2 {
		g.op("VUNPCKLPS %s, %s, %s", g.r(i+1), g.r(i), g.r(n+i))
		g.op("VUNPCKHPS %s, %s, %s", g.r(i+1), g.r(i), g.r(n+i+1))
	}
	for i := 0; i < n; i += 4 {
		g.op("VUNPCKLPD %s, %s, %s", g.r(n+i+2), g.r(n+i), g.r(i))
		g.op("VUNPCKHPD %s, %s, %s", g.r(n+i+2), g.r(n+i), g.r(i+1))
		g.op("VUNPCKLPD %s, %s, %s", g.r(n+i+3), g.r(n+i+1), g.r(i+2))
		g.op("VUNPCKHPD %s, %s, %s", g.r(n+i+3), g.r(n+i+1), g.r(i+3))
	}
	// Across lanes.
	column := make([]string, n)
	if n == 8 {
		for c := range 4 {
			g.op("VPERM2F128 $0x20, %s, %s, %s", g.r(4+c), g.r(c), g.r(8+c))
			g.op("VPERM2F128 $0x31, %s, %s, %s", g.r(4+c), g.r(c), g.r(12+c))
			column[c], column[4+c] = g.r(8+c), g.r(12+c)
		}
	} else {
		for c := range 4 {
			low01, low23, high01, high23 := g.r(16+4*c), g.r(17+4*c), g.r(18+4*c), g.r(19+4*c)
			g.op("VSHUFF32X4 $0x44, %s, %s, %s", g.r(4+c), g.r(c), low01)
			g.op("VSHUFF32X4 $0x44, %s, %s, %s", g.r(12+c), g.r(8+c), low23)
			g.op("VSHUFF32X4 $0xee, %s, %s, %s", g.r(4+c), g.r(c), high01)
			g.op("VSHUFF32X4 $0xee, %s, %s, %s", g.r(12+c), g.r(8+c), high23)
			g.op("VSHUFF32X4 $0x88, %s, %s, %s", low23, low01, g.r(c))
			g.op("VSHUFF32X4 $0xdd, %s, %s, %s", low23, low01, g.r(4+c))
			g.op("VSHUFF32X4 $0x88, %s, %s, %s", high23, high01, g.r(8+c))
			g.op("VSHUFF32X4 $0xdd, %s, %s, %s", high23, high01, g.r(12+c))
			for l := range 4 {
				column[4*l+c] = g.r(4*l + c)
			}
		}
	}
	for i, c := range column {
		g.op("MOVLQSX %d(DX), AX", 4*i)
		g.op("VMOVUPS %s, (DI)(AX*4)", c)
	}
	for _, b := range bases {
		g.op("ADDQ $%d, %s", n*size(t), b)
	}
	g.op("ADDQ $%d, DX", 4*n)
	g.op("SUBQ $%d, CX", n)
	g.op("JGT block")
	g.ret()
}

// dot multiplies up to dotRows rows of A with four rows of weights as they lie in the file.
func (g *isa) dot(t string) {
	g.text("dot"+t, "dst, a *float32, w unsafe.Pointer, ld, k int", 0, 40)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ a+8(FP), SI")
	g.op("MOVQ w+16(FP), R10")
	g.op("MOVQ ld+24(FP), R8")
	g.op("MOVQ k+32(FP), CX")
	g.op("LEAQ (R10)(R8*1), R11")
	g.op("LEAQ (R10)(R8*2), R12")
	g.op("LEAQ (R11)(R8*2), R13")
	rows := []string{"R10", "R11", "R12", "R13"}
	for i := range 8 {
		g.op("VXORPS %s, %s, %s", g.r(i), g.r(i), g.r(i))
	}
	g.label("step")
	for u := range 2 {
		g.op("VMOVUPS %d(SI), %s", u*g.bytes(), g.r(8))
		for i, p := range rows {
			g.widen(t, fmt.Sprintf("%d(%s)", u*g.lanes*size(t), p), g.r(9+i))
			g.op("VFMADD231PS %s, %s, %s", g.r(8), g.r(9+i), g.r(4*u+i))
		}
	}
	g.op("ADDQ $%d, SI", 2*g.bytes())
	for _, p := range rows {
		g.op("ADDQ $%d, %s", 2*g.lanes*size(t), p)
	}
	g.op("SUBQ $%d, CX", 2*g.lanes)
	g.op("JGT step")
	for i := range rows {
		g.op("VADDPS %s, %s, %s", g.r(4+i), g.r(i), g.r(i))
		if g.lanes == 16 {
			g.op("VEXTRACTF64X4 $1, Z%d, Y8", i)
			g.op("VADDPS Y8, Y%d, Y%d", i, i)
		}
		g.op("VEXTRACTF128 $1, Y%d, X8", i)
		g.op("VADDPS X8, X%d, X%d", i, i)
	}
	// Four vectors of four to one vector of four sums.
	g.op("VHADDPS X1, X0, X0")
	g.op("VHADDPS X3, X2, X2")
	g.op("VHADDPS X2, X0, X0")
	g.op("VADDPS (DI), X0, X0")
	g.op("VMOVUPS X0, (DI)")
	g.ret()
}

// gather copies k rows of two registers each, ld bytes apart, to a dense panel.
func (g *isa) gather() {
	g.text("gather", "dst, src *float32, ld, k int", 0, 32)
	g.op("MOVQ dst+0(FP), DI")
	g.op("MOVQ src+8(FP), SI")
	g.op("MOVQ ld+16(FP), R8")
	g.op("MOVQ k+24(FP), CX")
	g.label("row")
	for i := range 2 {
		g.op("VMOVUPS %d(SI), %s", i*g.bytes(), g.r(i))
	}
	for i := range 2 {
		g.op("VMOVUPS %s, %d(DI)", g.r(i), i*g.bytes())
	}
	g.op("ADDQ R8, SI")
	g.op("ADDQ $%d, DI", 2*g.bytes())
	g.op("DECQ CX")
	g.op("JNZ row")
	g.ret()
}
