package taesd_test

import (
	"syscall"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/vae"
)

// BenchmarkDecode decodes an image of 1024×1024 by the full model. cpu-s/op is the CPU time of all threads, which
// a busy machine does not change much.
func BenchmarkDecode(b *testing.B) {
	a := opened(b, processor(b), synthetic(taesd.TAESDXL, kernels.F16), taesd.TAESDXL)
	z := vae.NewImage(128, 128, 4)
	for i := range z.Data {
		z.Data[i] = float32(i%17)/8 - 1
	}
	used := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Sec) + float64(u.Utime.Usec)/1e6
	}
	if _, err := a.DecodeImage(b.Context(), z); err != nil { // compiles
		b.Fatal(err)
	}
	start := used()
	for b.Loop() {
		if _, err := a.DecodeImage(b.Context(), z); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((used()-start)/float64(b.N), "cpu-s/op")
}
