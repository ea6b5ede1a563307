//go:build amd64 && !noasm

package cpu

import "golang.org/x/sys/cpu"

// variants returns what this machine can run, the best first. The AVX2 kernels use FMA and F16C too, the AVX-512
// kernels the extensions F, BW, DQ and VL.
func variants() []*variant {
	var all []*variant
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasFMA || !x.HasF16C {
		return []*variant{portable}
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		all = append(all, &variant{"avx512", gemmAVX512, &vecAVX512})
	}
	return append(all, &variant{"avx2", gemmAVX2, &vecAVX2}, portable)
}
