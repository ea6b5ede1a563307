package cpu

import (
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
)

// measurePeak measures the variant's multiply-adds on all workers, in floating point operations a second.
func measurePeak(v *variant, p *workers) float64 {
	t := &peakTask{v: v, iterations: 1 << 12}
	best := 0.0
	for range 5 {
		for {
			start := time.Now()
			p.run(p.count(), t)
			if took := time.Since(start); took > 20*time.Millisecond {
				best = max(best, float64(p.count()*t.iterations*v.gemm.fmaFLOPs)/took.Seconds())
				break
			}
			t.iterations *= 2
		}
	}
	return best
}

// benchmark times a spec on every variant and reports GFLOP/s and the share of the measured peak.
func benchmark(b *testing.B, name string, spec kernels.Spec, dtype kernels.DType, shapes ...[]int) {
	for _, v := range variants() {
		b.Run(v.name+"/"+name, func(b *testing.B) {
			p := newWorkers(2)
			defer p.close()
			r := newRig(b)
			for i, s := range shapes {
				if i > 0 && dtype != kernels.F32 {
					r.add(dtype, kernels.Weight, 0.1, s...)
				} else {
					r.add(kernels.F32, kernels.Temp, 1, s...)
				}
			}
			out, err := spec.Infer(r.tensors)
			if err != nil {
				b.Fatal(err)
			}
			k := r.kernel(spec, out, v)
			y := []view{{shape: out[0].Shape, dtype: kernels.F32, f32: make([]float32, out[0].Len())}}
			shared, each := k.scratch()
			s := scratch{shared: make([]float32, shared)}
			for range p.count() {
				s.worker = append(s.worker, make([]float32, each))
			}
			peak := measurePeak(v, p)
			if err := k.run(p, r.in, y, s); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := k.run(p, r.in, y, s); err != nil {
					b.Fatal(err)
				}
			}
			rate := float64(spec.FLOPs(r.tensors)) * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate*1e-9, "GFLOP/s")
			b.ReportMetric(100*rate/peak, "%peak")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms")
		})
	}
}

func BenchmarkLinear(b *testing.B) {
	for _, c := range []struct {
		name    string
		m, n, k int
		act     kernels.Activation
	}{
		{"2048x640x640", 2048, 640, 640, kernels.Identity},
		{"512x1280x1280", 512, 1280, 1280, kernels.Identity},
		{"geglu512x10240x1280", 512, 10240, 1280, kernels.GEGLU},
		{"512x1280x5120", 512, 1280, 5120, kernels.Identity},
		{"text154x1280x2048", 154, 1280, 2048, kernels.Identity},
		{"time2x1280x1280", 2, 1280, 1280, kernels.Identity},
	} {
		benchmark(b, c.name, kernels.Linear{Act: c.act}, kernels.F16, []int{c.m, c.k}, []int{c.n, c.k})
	}
}

func BenchmarkConv2d(b *testing.B) {
	same := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	for _, c := range []struct {
		name       string
		b, h, w, c int
		o          int
	}{
		{"64x64x320", 2, 64, 64, 320, 320},
		{"32x32x640", 2, 32, 32, 640, 640},
		{"16x16x1280", 2, 16, 16, 1280, 1280},
		{"in64x64x4", 2, 64, 64, 4, 320},
		{"out64x64x320", 2, 64, 64, 320, 4},
		{"vae256x256x128", 1, 256, 256, 128, 128},
		{"vaeout256x256x128", 1, 256, 256, 128, 3},
		{"taesd256x256x64", 1, 256, 256, 64, 64},
		{"vae128x128x512", 1, 128, 128, 512, 512},
	} {
		benchmark(b, c.name, kernels.Conv2d{Stride: 1, Pad: same}, kernels.F16, []int{c.b, c.h, c.w, c.c}, []int{c.o, c.c, 3, 3})
	}
}

func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct {
		name          string
		b, t, s, h, d int
	}{
		{"self1024x10x64", 2, 1024, 1024, 10, 64},
		{"self256x20x64", 2, 256, 256, 20, 64},
		{"cross1024x10x64", 2, 1024, 77, 10, 64},
		{"vae4096x512", 1, 4096, 4096, 1, 512},
	} {
		x, y := []int{c.b, c.t, c.h * c.d}, []int{c.b, c.s, c.h * c.d}
		benchmark(b, c.name, kernels.Attention{Heads: c.h}, kernels.F32, x, y, y)
	}
}
