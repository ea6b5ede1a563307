//go:build !noasm

#include "textflag.h"
#include "vecmath_amd64.h"

// Registers: CX elements left, DI destination, SI, DX, BX sources, R8 vecConstants, K1 mask of the last vector,
// Z14 and Z15 bounds of exp. Functions of one element take it in Z4 and leave the result in Z0.

#define CONSTANTS \
	LEAQ ·vecConstants(SB), R8; \
	VBROADCASTSS EXPMAX(R8), Z15; \
	VBROADCASTSS EXPMIN(R8), Z14

// MASK makes the mask of the CX < 16 elements that are left.
#define MASK \
	MOVL $1, AX; \
	SHLL CX, AX; \
	DECL AX; \
	KMOVW AX, K1

// CLAMP brings Z0 into exp's range and keeps NaN, which is why the order of operands matters.
#define CLAMP \
	VMINPS Z0, Z15, Z0; \
	VMAXPS Z0, Z14, Z0

// EXP leaves exp(Z0) in Z2: n = round(x·log2e), r = x − n·ln2, then times 2ⁿ, which rounds denormals once. Uses Z1.
#define EXP \
	VMULPS.BCST LOG2E(R8), Z0, Z1; \
	VRNDSCALEPS $8, Z1, Z1; \
	VFNMADD231PS.BCST LN2HI(R8), Z1, Z0; \
	VFNMADD231PS.BCST LN2LO(R8), Z1, Z0; \
	VBROADCASTSS E6(R8), Z2; \
	VFMADD213PS.BCST E5(R8), Z0, Z2; \
	VFMADD213PS.BCST E4(R8), Z0, Z2; \
	VFMADD213PS.BCST E3(R8), Z0, Z2; \
	VFMADD213PS.BCST E2(R8), Z0, Z2; \
	VFMADD213PS.BCST ONE(R8), Z0, Z2; \
	VFMADD213PS.BCST ONE(R8), Z0, Z2; \
	VSCALEFPS Z1, Z2, Z2

// LOGISTIC leaves Z4/(1 + exp(Z0)) in Z0.
#define LOGISTIC \
	CLAMP; \
	EXP; \
	VADDPS.BCST ONE(R8), Z2, Z2; \
	VDIVPS Z2, Z4, Z0

#define SILU \
	VPXORD Z0, Z0, Z0; \
	VSUBPS Z4, Z0, Z0; \
	LOGISTIC

#define QUICKGELU \
	VPXORD Z0, Z0, Z0; \
	VFNMADD231PS.BCST QUICK(R8), Z4, Z0; \
	LOGISTIC

// GELU uses Z5 to Z7, and Z12 as the bound of the tail.
#define GELU \
	VANDPS.BCST ABS(R8), Z4, Z5; \
	VMINPS Z5, Z12, Z5; \
	VMULPS Z5, Z5, Z0; \
	VMULPS.BCST MINUSHALF(R8), Z0, Z0; \
	EXP; \
	VBROADCASTSS P4(R8), Z6; \
	VFMADD213PS.BCST P3(R8), Z5, Z6; \
	VFMADD213PS.BCST P2(R8), Z5, Z6; \
	VFMADD213PS.BCST P1(R8), Z5, Z6; \
	VFMADD213PS.BCST P0(R8), Z5, Z6; \
	VBROADCASTSS Q5(R8), Z7; \
	VFMADD213PS.BCST Q4(R8), Z5, Z7; \
	VFMADD213PS.BCST Q3(R8), Z5, Z7; \
	VFMADD213PS.BCST Q2(R8), Z5, Z7; \
	VFMADD213PS.BCST Q1(R8), Z5, Z7; \
	VFMADD213PS.BCST ONE(R8), Z5, Z7; \
	VDIVPS Z7, Z6, Z6; \
	VMULPS Z2, Z6, Z6; \
	VBROADCASTSS ONE(R8), Z0; \
	VSUBPS Z6, Z0, Z0; \
	VPMOVD2M Z4, K2; \
	VMOVAPS Z6, K2, Z0; \
	VMULPS Z4, Z0, Z0

// RELU keeps NaN, which is why the order of operands matters.
#define RELU \
	VPXORD Z0, Z0, Z0; \
	VMAXPS Z4, Z0, Z0

// LEAKYRELU is the larger of x and x/5, and NaN where x is.
#define LEAKYRELU \
	MOVL $0x3e4ccccd, AX; \
	VPBROADCASTD AX, Z0; \
	VMULPS Z4, Z0, Z0; \
	VMAXPS Z4, Z0, Z0

#define UNARY(FUNCTION) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	CONSTANTS; \
	VBROADCASTSS TAILMAX(R8), Z12; \
loop: \
	CMPQ CX, $16; \
	JLT tail; \
	VMOVUPS (SI), Z4; \
	FUNCTION; \
	VMOVUPS Z0, (DI); \
	ADDQ $64, SI; \
	ADDQ $64, DI; \
	SUBQ $16, CX; \
	JMP loop; \
tail: \
	TESTQ CX, CX; \
	JZ done; \
	MASK; \
	VMOVUPS.Z (SI), K1, Z4; \
	FUNCTION; \
	VMOVUPS Z0, K1, (DI); \
done: \
	VZEROUPPER; \
	RET

// func siluAVX512(dst, src *float32, n int)
TEXT ·siluAVX512(SB), NOSPLIT, $0-24
	UNARY(SILU)

// func geluAVX512(dst, src *float32, n int)
TEXT ·geluAVX512(SB), NOSPLIT, $0-24
	UNARY(GELU)

// func quickGELUAVX512(dst, src *float32, n int)
TEXT ·quickGELUAVX512(SB), NOSPLIT, $0-24
	UNARY(QUICKGELU)

// func reluAVX512(dst, src *float32, n int)
TEXT ·reluAVX512(SB), NOSPLIT, $0-24
	UNARY(RELU)

// func leakyReLUAVX512(dst, src *float32, n int)
TEXT ·leakyReLUAVX512(SB), NOSPLIT, $0-24
	UNARY(LEAKYRELU)

// PRELU takes x in Z0 and slopes in Z1. A comparison with 0 is false for NaN, which stays.
#define PRELU \
	VPXORD Z2, Z2, Z2; \
	VCMPPS $1, Z2, Z0, K2; \
	VMULPS Z1, Z0, K2, Z0

// func preluAVX512(dst, x, slope *float32, n int)
TEXT ·preluAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ slope+16(FP), DX
	MOVQ n+24(FP), CX

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VMOVUPS (DX), Z1
	PRELU
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (DX), K1, Z1
	PRELU
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func gegluAVX512(dst, value, gate *float32, n int)
TEXT ·gegluAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ value+8(FP), DX
	MOVQ gate+16(FP), SI
	MOVQ n+24(FP), CX
	CONSTANTS
	VBROADCASTSS TAILMAX(R8), Z12

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z4
	GELU
	VMULPS (DX), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DX
	ADDQ $64, DI
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z4
	GELU
	VMOVUPS.Z (DX), K1, Z1
	VMULPS Z1, Z0, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// REDUCE folds the lanes of Z into the lowest of X, its lowest quarter, by OP; Y is its lower half. Uses Y3.
#define REDUCE(OP, X, Y, Z) \
	VEXTRACTF64X4 $1, Z, Y3; \
	OP Y3, Y, Y; \
	VEXTRACTF128 $1, Y, X3; \
	OP X3, X, X; \
	VPERMILPS $0x4e, X, X3; \
	OP X3, X, X; \
	VPERMILPS $0xb1, X, X3; \
	OP X3, X, X

// func expShiftSumAVX512(x *float32, n int, shift float32) float32
TEXT ·expShiftSumAVX512(SB), NOSPLIT, $0-28
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	VBROADCASTSS shift+16(FP), Z9
	CONSTANTS
	VPXORD Z8, Z8, Z8

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (DI), Z0
	VSUBPS Z9, Z0, Z0
	CLAMP
	EXP
	VMOVUPS Z2, (DI)
	VADDPS Z2, Z8, Z8
	ADDQ $64, DI
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (DI), K1, Z0
	VSUBPS Z9, Z0, Z0
	CLAMP
	EXP
	VMOVUPS Z2, K1, (DI)
	VADDPS Z2, Z8, K1, Z8

done:
	REDUCE(VADDPS, X8, Y8, Z8)
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func maxAVX512(x *float32, n int) float32
TEXT ·maxAVX512(SB), NOSPLIT, $0-20
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	LEAQ ·vecConstants(SB), R8
	VBROADCASTSS MINUSINF(R8), Z8

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VMAXPS Z8, Z0, Z8
	ADDQ $64, SI
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VMAXPS Z8, Z0, K1, Z8

done:
	REDUCE(VMAXPS, X8, Y8, Z8)
	VMOVSS X8, ret+16(FP)
	VZEROUPPER
	RET

// func sumsAVX512(x *float32, n int, shift float32) (sum, square float32)
TEXT ·sumsAVX512(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VBROADCASTSS shift+16(FP), Z9
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VSUBPS Z9, Z0, Z0
	VADDPS Z0, Z7, Z7
	VFMADD231PS Z0, Z0, Z8
	ADDQ $64, SI
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VSUBPS Z9, Z0, Z0
	VADDPS Z0, Z7, K1, Z7
	VFMADD231PS Z0, Z0, K1, Z8

done:
	REDUCE(VADDPS, X7, Y7, Z7)
	REDUCE(VADDPS, X8, Y8, Z8)
	VMOVSS X7, sum+24(FP)
	VMOVSS X8, square+28(FP)
	VZEROUPPER
	RET

// func accumulateAVX512(sum, square, x, shift *float32, n int)
TEXT ·accumulateAVX512(SB), NOSPLIT, $0-40
	MOVQ sum+0(FP), DI
	MOVQ square+8(FP), DX
	MOVQ x+16(FP), SI
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VSUBPS (BX), Z0, Z0
	VADDPS (DI), Z0, Z1
	VMOVUPS (DX), Z2
	VFMADD231PS Z0, Z0, Z2
	VMOVUPS Z1, (DI)
	VMOVUPS Z2, (DX)
	ADDQ $64, SI
	ADDQ $64, BX
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (BX), K1, Z1
	VSUBPS Z1, Z0, Z0
	VMOVUPS.Z (DI), K1, Z1
	VADDPS Z1, Z0, Z1
	VMOVUPS.Z (DX), K1, Z2
	VFMADD231PS Z0, Z0, Z2
	VMOVUPS Z1, K1, (DI)
	VMOVUPS Z2, K1, (DX)

done:
	VZEROUPPER
	RET

// func scaleShiftAVX512(dst, x, scale, shift *float32, n int)
TEXT ·scaleShiftAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ scale+16(FP), DX
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VMOVUPS (DX), Z1
	VFMADD213PS (BX), Z1, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, BX
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (DX), K1, Z1
	VMOVUPS.Z (BX), K1, Z2
	VFMADD213PS Z2, Z1, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func normalizeAVX512(dst, x, scale, shift *float32, n int, mean, rstd float32)
TEXT ·normalizeAVX512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ scale+16(FP), DX
	MOVQ shift+24(FP), BX
	MOVQ n+32(FP), CX
	VBROADCASTSS mean+40(FP), Z8
	VBROADCASTSS rstd+44(FP), Z9

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VSUBPS Z8, Z0, Z0
	VMULPS Z9, Z0, Z0
	VMOVUPS (DX), Z1
	VFMADD213PS (BX), Z1, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, BX
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VSUBPS Z8, Z0, Z0
	VMULPS Z9, Z0, Z0
	VMOVUPS.Z (DX), K1, Z1
	VMOVUPS.Z (BX), K1, Z2
	VFMADD213PS Z2, Z1, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func addAVX512(dst, x, y *float32, n int)
TEXT ·addAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DX
	MOVQ n+24(FP), CX

loop:
	CMPQ CX, $16
	JLT tail
	VMOVUPS (SI), Z0
	VADDPS (DX), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP loop

tail:
	TESTQ CX, CX
	JZ done
	MASK
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (DX), K1, Z1
	VADDPS Z1, Z0, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET
