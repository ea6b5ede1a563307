//go:build !noasm

#include "textflag.h"
#include "vecmath_amd64.h"

// Registers: CX elements left, DI destination, SI, DX, BX sources, R8 vecConstants, Y13 mask of the last vector,
// Y14 and Y15 bounds of exp. Functions of one element take it in Y4 and leave the result in Y0.

#define CONSTANTS \
	LEAQ ·vecConstants(SB), R8; \
	VMOVUPS EXPMAX(R8), Y15; \
	VMOVUPS EXPMIN(R8), Y14

// MASK loads the mask of the CX < 8 elements that are left.
#define MASK \
	LEAQ ·vecTail(SB), R9; \
	MOVQ $8, AX; \
	SUBQ CX, AX; \
	VMOVUPS (R9)(AX*4), Y13

// CLAMP brings Y0 into exp's range and keeps NaN, which is why the order of operands matters.
#define CLAMP \
	VMINPS Y0, Y15, Y0; \
	VMAXPS Y0, Y14, Y0

// EXP leaves exp(Y0) in Y2: n = round(x·log2e), r = x − n·ln2, then 2ⁿ in two steps so that denormals round once. Uses Y1, Y3.
#define EXP \
	VMULPS LOG2E(R8), Y0, Y1; \
	VROUNDPS $8, Y1, Y1; \
	VFNMADD231PS LN2HI(R8), Y1, Y0; \
	VFNMADD231PS LN2LO(R8), Y1, Y0; \
	VMOVUPS E6(R8), Y2; \
	VFMADD213PS E5(R8), Y0, Y2; \
	VFMADD213PS E4(R8), Y0, Y2; \
	VFMADD213PS E3(R8), Y0, Y2; \
	VFMADD213PS E2(R8), Y0, Y2; \
	VFMADD213PS ONE(R8), Y0, Y2; \
	VFMADD213PS ONE(R8), Y0, Y2; \
	VCVTPS2DQ Y1, Y1; \
	VPSRAD $1, Y1, Y3; \
	VPSUBD Y3, Y1, Y1; \
	VPADDD BIAS(R8), Y1, Y1; \
	VPADDD BIAS(R8), Y3, Y3; \
	VPSLLD $23, Y1, Y1; \
	VPSLLD $23, Y3, Y3; \
	VMULPS Y1, Y2, Y2; \
	VMULPS Y3, Y2, Y2

// LOGISTIC leaves Y4/(1 + exp(Y0)) in Y0.
#define LOGISTIC \
	CLAMP; \
	EXP; \
	VADDPS ONE(R8), Y2, Y2; \
	VDIVPS Y2, Y4, Y0

#define SILU \
	VXORPS Y0, Y0, Y0; \
	VSUBPS Y4, Y0, Y0; \
	LOGISTIC

#define QUICKGELU \
	VXORPS Y0, Y0, Y0; \
	VFNMADD231PS QUICK(R8), Y4, Y0; \
	LOGISTIC

// GELU uses Y5 to Y7, and Y12 as the bound of the tail.
#define GELU \
	VANDPS ABS(R8), Y4, Y5; \
	VMINPS Y5, Y12, Y5; \
	VMULPS Y5, Y5, Y0; \
	VMULPS MINUSHALF(R8), Y0, Y0; \
	EXP; \
	VMOVUPS P4(R8), Y6; \
	VFMADD213PS P3(R8), Y5, Y6; \
	VFMADD213PS P2(R8), Y5, Y6; \
	VFMADD213PS P1(R8), Y5, Y6; \
	VFMADD213PS P0(R8), Y5, Y6; \
	VMOVUPS Q5(R8), Y7; \
	VFMADD213PS Q4(R8), Y5, Y7; \
	VFMADD213PS Q3(R8), Y5, Y7; \
	VFMADD213PS Q2(R8), Y5, Y7; \
	VFMADD213PS Q1(R8), Y5, Y7; \
	VFMADD213PS ONE(R8), Y5, Y7; \
	VDIVPS Y7, Y6, Y6; \
	VMULPS Y2, Y6, Y6; \
	VMOVUPS ONE(R8), Y0; \
	VSUBPS Y6, Y0, Y0; \
	VBLENDVPS Y4, Y6, Y0, Y0; \
	VMULPS Y4, Y0, Y0

// RELU keeps NaN, which is why the order of operands matters.
#define RELU \
	VXORPS Y0, Y0, Y0; \
	VMAXPS Y4, Y0, Y0

// LEAKYRELU is the larger of x and x/5, and NaN where x is.
#define LEAKYRELU \
	MOVL $0x3e4ccccd, AX; \
	VMOVD AX, X0; \
	VBROADCASTSS X0, Y0; \
	VMULPS Y4, Y0, Y0; \
	VMAXPS Y4, Y0, Y0

#define UNARY(FUNCTION) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	CONSTANTS; \
	VMOVUPS TAILMAX(R8), Y12; \
loop: \
	CMPQ CX, $8; \
	JLT tail; \
	VMOVUPS (SI), Y4; \
	FUNCTION; \
	VMOVUPS Y0, (DI); \
	ADDQ $32, SI; \
	ADDQ $32, DI; \
	SUBQ $8, CX; \
	JMP loop; \
tail: \
	TESTQ CX, CX; \
	JZ done; \
	MASK; \
	VMASKMOVPS (SI), Y13, Y4; \
	FUNCTION; \
	VMASKMOVPS Y0, Y13, (DI); \
done: \
	VZEROUPPER; \
	RET

// func siluAVX2(dst, src *float32, n int)
TEXT ·siluAVX2(SB), NOSPLIT, $0-24
	UNARY(SILU)

// func geluAVX2(dst, src *float32, n int)
TEXT ·geluAVX2(SB), NOSPLIT, $0-24
	UNARY(GELU)

// func quickGELUAVX2(dst, src *float32, n int)
TEXT ·quickGELUAVX2(SB), NOSPLIT, $0-24
	UNARY(QUICKGELU)

// func reluAVX2(dst, src *float32, n int)
TEXT ·reluAVX2(SB), NOSPLIT, $0-24
	UNARY(RELU)

// func leakyReLUAVX2(dst, src *float32, n int)
TEXT ·leakyReLUAVX2(SB), NOSPLIT, $0-24
	UNARY(LEAKYRELU)

// PRELU takes x in Y0 and slopes in Y1. A comparison with 0 is false for NaN, which stays.
#define PRELU \
	VXORPS Y2, Y2, Y2; \
	VCMPPS $1, Y2, Y0, Y2; \
	VMULPS Y1, Y0, Y1; \
	VBLENDVPS Y2, Y1, Y0, Y0

// func preluAVX2(dst, x, slope *float32, n int)
TEXT ·preluAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ slope+16(FP), DX
	MOVQ n+24(FP), CX

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VMOVUPS (DX), Y1
	PRELU
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VMASKMOVPS (DX), Y13, Y1
	PRELU
	VMASKMOVPS Y0, Y13, (DI)

done:
	VZEROUPPER
	RET

// func gegluAVX2(dst, value, gate *float32, n int)
TEXT ·gegluAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ value+8(FP), DX
	MOVQ gate+16(FP), SI
	MOVQ n+24(FP), CX
	CONSTANTS
	VMOVUPS TAILMAX(R8), Y12

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y4
	GELU
	VMULPS (DX), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, DI
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y4
	GELU
	VMASKMOVPS (DX), Y13, Y1
	VMULPS Y1, Y0, Y0
	VMASKMOVPS Y0, Y13, (DI)

done:
	VZEROUPPER
	RET

// REDUCE folds the lanes of Y into the lowest of X, its lower half, by OP. Uses X3.
#define REDUCE(OP, X, Y) \
	VEXTRACTF128 $1, Y, X3; \
	OP X3, X, X; \
	VPERMILPS $0x4e, X, X3; \
	OP X3, X, X; \
	VPERMILPS $0xb1, X, X3; \
	OP X3, X, X

// func expShiftSumAVX2(x *float32, n int, shift float32) float32
TEXT ·expShiftSumAVX2(SB), NOSPLIT, $0-28
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	VBROADCASTSS shift+16(FP), Y9
	CONSTANTS
	VXORPS Y8, Y8, Y8

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (DI), Y0
	VSUBPS Y9, Y0, Y0
	CLAMP
	EXP
	VMOVUPS Y2, (DI)
	VADDPS Y2, Y8, Y8
	ADDQ $32, DI
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (DI), Y13, Y0
	VSUBPS Y9, Y0, Y0
	CLAMP
	EXP
	VMASKMOVPS Y2, Y13, (DI)
	VANDPS Y13, Y2, Y2
	VADDPS Y2, Y8, Y8

done:
	REDUCE(VADDPS, X8, Y8)
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func maxAVX2(x *float32, n int) float32
TEXT ·maxAVX2(SB), NOSPLIT, $0-20
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	LEAQ ·vecConstants(SB), R8
	VMOVUPS MINUSINF(R8), Y8
	VMOVUPS Y8, Y7

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VMAXPS Y8, Y0, Y8
	ADDQ $32, SI
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VBLENDVPS Y13, Y0, Y7, Y0
	VMAXPS Y8, Y0, Y8

done:
	REDUCE(VMAXPS, X8, Y8)
	VMOVSS X8, ret+16(FP)
	VZEROUPPER
	RET

// func sumsAVX2(x *float32, n int, shift float32) (sum, square float32)
TEXT ·sumsAVX2(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VBROADCASTSS shift+16(FP), Y9
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VSUBPS Y9, Y0, Y0
	VADDPS Y0, Y7, Y7
	VFMADD231PS Y0, Y0, Y8
	ADDQ $32, SI
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VSUBPS Y9, Y0, Y0
	VANDPS Y13, Y0, Y0
	VADDPS Y0, Y7, Y7
	VFMADD231PS Y0, Y0, Y8

done:
	REDUCE(VADDPS, X7, Y7)
	REDUCE(VADDPS, X8, Y8)
	VMOVSS X7, sum+24(FP)
	VMOVSS X8, square+28(FP)
	VZEROUPPER
	RET

// func accumulateAVX2(sum, square, x, shift *float32, n int)
TEXT ·accumulateAVX2(SB), NOSPLIT, $0-40
	MOVQ sum+0(FP), DI
	MOVQ square+8(FP), DX
	MOVQ x+16(FP), SI
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VSUBPS (BX), Y0, Y0
	VADDPS (DI), Y0, Y1
	VMOVUPS (DX), Y2
	VFMADD231PS Y0, Y0, Y2
	VMOVUPS Y1, (DI)
	VMOVUPS Y2, (DX)
	ADDQ $32, SI
	ADDQ $32, BX
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VMASKMOVPS (BX), Y13, Y1
	VSUBPS Y1, Y0, Y0
	VMASKMOVPS (DI), Y13, Y1
	VADDPS Y1, Y0, Y1
	VMASKMOVPS (DX), Y13, Y2
	VFMADD231PS Y0, Y0, Y2
	VMASKMOVPS Y1, Y13, (DI)
	VMASKMOVPS Y2, Y13, (DX)

done:
	VZEROUPPER
	RET

// func scaleShiftAVX2(dst, x, scale, shift *float32, n int)
TEXT ·scaleShiftAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ scale+16(FP), DX
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VMOVUPS (DX), Y1
	VFMADD213PS (BX), Y1, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, BX
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VMASKMOVPS (DX), Y13, Y1
	VMASKMOVPS (BX), Y13, Y2
	VFMADD213PS Y2, Y1, Y0
	VMASKMOVPS Y0, Y13, (DI)

done:
	VZEROUPPER
	RET

// func normalizeAVX2(dst, x, scale, shift *float32, n int, mean, rstd float32)
TEXT ·normalizeAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ scale+16(FP), DX
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX
	VBROADCASTSS mean+40(FP), Y8
	VBROADCASTSS rstd+44(FP), Y9

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VSUBPS Y8, Y0, Y0
	VMULPS Y9, Y0, Y0
	VMOVUPS (DX), Y1
	VFMADD213PS (BX), Y1, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, BX
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VSUBPS Y8, Y0, Y0
	VMULPS Y9, Y0, Y0
	VMASKMOVPS (DX), Y13, Y1
	VMASKMOVPS (BX), Y13, Y2
	VFMADD213PS Y2, Y1, Y0
	VMASKMOVPS Y0, Y13, (DI)

done:
	VZEROUPPER
	RET

// func addAVX2(dst, x, y *float32, n int)
TEXT ·addAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DX
	MOVQ n+24(FP), CX

loop:
	CMPQ CX, $8
	JLT tail
	VMOVUPS (SI), Y0
	VADDPS (DX), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMASKMOVPS (SI), Y13, Y0
	VMASKMOVPS (DX), Y13, Y1
	VADDPS Y1, Y0, Y0
	VMASKMOVPS Y0, Y13, (DI)

done:
	VZEROUPPER
	RET
