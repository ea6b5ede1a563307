package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// spoiling is a device that changes one element of every result of one size.
type spoiling struct {
	kernels.Device
	bytes int // of the result, 0 is none
	with  func(x float32) float32
}

type spoiledProgram struct {
	kernels.Program
	by spoiling
}

func (s spoiling) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	program, err := s.Device.Compile(p, w, o)
	return spoiledProgram{program, s}, err
}

func (s spoiledProgram) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	err := s.Program.Read(ctx, v, dst)
	if last := dst[len(dst)-4:]; len(dst) == s.by.bytes {
		x := math.Float32frombits(binary.LittleEndian.Uint32(last))
		binary.LittleEndian.PutUint32(last, math.Float32bits(s.by.with(x)))
	}
	return err
}

// onCPU stands in for a card that computes correctly.
func onCPU(t *testing.T) kernels.Device {
	t.Helper()
	d, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// A device that computes correctly passes. One wrong element of any result, NaN and Inf are found, and the error names
// the operation.
func TestSelfCheckFinds(t *testing.T) {
	d := onCPU(t)
	start := time.Now()
	if err := selfCheck(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", time.Since(start))
	q := newKnownAnswers()
	sizes := map[int64]bool{}
	for _, a := range q.tests {
		size := q.plan.Tensors[a.out].Bytes()
		if a.result == 0 || sizes[size] { // the first of a size is the one that fails
			continue
		}
		sizes[size] = true
		for _, c := range []struct {
			with func(x float32) float32
			says string
		}{
			{func(x float32) float32 { return x + 2 }, "of its norm, at most 0.002 is rounding"},
			{func(float32) float32 { return float32(math.NaN()) }, "of the result is NaN"},
			{func(float32) float32 { return float32(math.Inf(-1)) }, "of the result is -Inf"},
		} {
			err := selfCheck(t.Context(), spoiling{d, int(size), c.with})
			if err == nil || !strings.HasPrefix(err.Error(), a.name+": ") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s: … %s", err, a.name, c.says)
			}
		}
	}
	if len(sizes) < 6 {
		t.Errorf("%d sizes of results", len(sizes))
	}
}

// What the check launches on either family.
func TestSelfCheckLaunches(t *testing.T) {
	for _, c := range []struct {
		card           drivertest.Device
		limited, large bool
		want           string // of activations, which only copy, none
	}{
		{drivertest.H100, false, false, "gemm_pingpong_64x80 layer_norm_768 gemm_pingpong_64x80 gemm_pingpong_64x80 flash_wgmma_128x128 flash_wgmma_64x80 group_norm_4 group_sums group_scale gemm_pingpong_64x80 gemm_pingpong_64x80 conv_few"},
		{drivertest.H100, true, false, "gemm_pingpong_64x160 layer_norm_768 gemm_pingpong_64x160 gemm_pingpong_64x160 flash_wgmma_128x128 flash_wgmma_64x80 group_norm_4 group_sums group_scale gemm_pingpong_128x160 gemm_pingpong_64x160 conv_few"},
		{drivertest.H100, true, true, "gemm_cooperative_256x128 layer_norm_768 gemm_cooperative_256x128 gemm_cooperative_128x160 flash_wgmma_128x128 flash_wgmma_64x80 group_norm_4 group_sums group_scale gemm_cooperative_128x160 gemm_cooperative_128x160 conv_few"},
		{drivertest.RTX3060, false, false, "gemm_64x64 layer_norm_768 layer_norm_768 gemm_64x64 gemm_64x64 flash_64 flash_64 group_norm_4 group_sums group_scale gemm_128x160 gemm_64x64 conv_few"},
		{drivertest.RTX3060, true, false, "gemm_128x128 layer_norm_768 layer_norm_768 gemm_128x128 gemm_64x64 flash_64 flash_64 group_norm_4 group_sums group_scale gemm_128x128 gemm_128x128 conv_few"},
	} {
		drv, err := driver.New(drivertest.New(c.card))
		if err != nil {
			t.Fatal(err)
		}
		d, err := open(drv, Options{})
		if err != nil {
			t.Fatal(err)
		}
		q := newKnownAnswers()
		w, err := d.NewWeights(q)
		if err != nil {
			t.Fatal(err)
		}
		var device kernels.Device = d
		if c.limited {
			device = limitedSMs{d, c.large}
		}
		compiled, err := device.Compile(&q.plan, w, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range compiled.(*program).nodes {
			for _, l := range n.launches {
				if l.kernel != "activate_8" {
					got = append(got, l.kernel)
				}
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, limited %t, large %t: %v, want %s", c.card.Name, c.limited, c.large, got, c.want)
		}
		if err := errors.Join(compiled.Close(), w.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}

// The error about a card that computes nothing names the card and says what to do. The check leaves nothing open.
func TestSelfCheckText(t *testing.T) {
	for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
		d, _ := fakeDevice(t, Options{Precision: precision}, 1<<30)
		err := d.SelfCheck(t.Context())
		limit := map[kernels.DType]string{kernels.F16: "0.002", kernels.BF16: "0.016"}[precision]
		if want := "cuda:0 (" + d.Info().Detail + ") failed its self-check: linear layer with bias and residual: the result is wrong by 1 of its norm, at most " +
			limit + " is rounding; -device cpu computes on the CPU"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.SelfCheck(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// TestSelfCheck checks a real card in both precisions, with the kernels of either family.
func TestSelfCheck(t *testing.T) {
	first := card(t, Options{})
	for _, precision := range first.Info().Precisions {
		for _, variant := range first.Info().Variants {
			d := card(t, Options{Precision: precision, Variant: variant})
			for range 2 { // the second time kernels are loaded
				start := time.Now()
				if err := d.SelfCheck(t.Context()); err != nil {
					t.Errorf("%s %v: %v", variant, precision, err)
				}
				t.Logf("%s %v: %v", variant, precision, time.Since(start).Round(time.Millisecond))
			}
		}
	}
}
