package nn_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/internal/tinyunet"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/kernels/ref"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestUpdateUNet changes weights of a tiny UNet.
func TestUpdateUNet(t *testing.T) {
	t.Run("cpu", func(t *testing.T) {
		dev, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		updateUNet(t, dev)
	})
	t.Run("cuda", func(t *testing.T) {
		dev, err := cuda.Open(cuda.Options{})
		if err != nil {
			require.Lacks(t, "cuda", err)
		}
		updateUNet(t, dev)
	})
}

// unetUpdates are updates of a tiny UNet: of every third tensor, and of the matrices of attentions and feed-forwards,
// as adapters of the low-rank kind change them.
func unetUpdates(t *testing.T, src kernels.Source) (whole, low *kernels.Update) {
	t.Helper()
	shapes := map[string][]int{}
	low = &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	r := rand.New(rand.NewPCG(1, 2))
	normal := func(n int) kernels.Factor {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(0.1 * r.NormFloat64())
		}
		return kernels.FloatFactor(x)
	}
	for _, name := range src.Names() {
		_, shape, err := src.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		shapes[name] = shape
		if strings.Contains(name, "transformer_blocks") && len(shape) == 2 {
			rows, columns := kernels.Matrix(shape)
			low.LowRank[name] = []kernels.LowRank{{Rank: 4, Scale: 0.8, Up: normal(4 * rows), Down: normal(4 * columns)}}
		}
	}
	whole = &kernels.Update{Source: weights.Synthetic("another", shapes, kernels.F32)}
	for i, name := range src.Names() {
		if i%3 == 0 {
			whole.Whole = append(whole.Whole, name)
		}
	}
	if len(low.LowRank) < 20 || len(whole.Whole) < 100 {
		t.Fatalf("the updates have %d and %d tensors", len(low.LowRank), len(whole.Whole))
	}
	return whole, low
}

// updateUNet closes the device.
func updateUNet(t *testing.T, dev kernels.Device) {
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	s, out := tinyunet.Subject(t, "..", 1)
	whole, low := unetUpdates(t, s.Source)
	open := func(src kernels.Source) *nn.Network {
		n, err := nn.NewNetwork(dev, src, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	compute := func(n *nn.Network, key string) []float32 {
		t.Helper()
		x, err := computed(ctx, n, key, s, len(out))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	fresh := func(u *kernels.Update) []float32 {
		n := open(ref.Updated(s.Source, u))
		x := compute(n, "a")
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		return x
	}
	base, other, merged := fresh(nil), fresh(whole), fresh(low)
	n := open(s.Source)
	update := func(u *kernels.Update) {
		t.Helper()
		if err := n.Update(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	same := func(what, key string, want []float32) {
		t.Helper()
		if !slices.Equal(compute(n, key), want) {
			t.Errorf("%s: program %s computes something else than a network that was opened so", what, key)
		}
	}
	same("opened", "a", base)
	same("opened", "b", base)
	update(whole)
	same("updated", "a", other)
	same("updated", "b", other)
	if err := n.Trim(); err != nil {
		t.Fatal(err)
	}
	same("updated, compiled again", "a", other)
	found, err := n.Compare(ctx, s.Build, s.Inputs, true)
	if err != nil {
		t.Fatal(err)
	}
	if found.First != nil {
		t.Errorf("updated: %v", found.First)
	}
	update(low)
	mine := compute(n, "a")
	same("with products", "b", mine)
	var apart, size, change float64
	for i := range mine {
		apart = max(apart, math.Abs(float64(mine[i]-merged[i])))
		size = max(size, math.Abs(float64(merged[i])))
		change = max(change, math.Abs(float64(merged[i]-base[i])))
	}
	// Sums in another order, in weights of float32 of which a card keeps 16 bits.
	if budget := map[bool]float64{true: 1e-5, false: 2e-2}[dev.Info().HostMemory]; !(apart <= budget*size) || change <= 2*budget*size {
		t.Errorf("with products the output is %g from one of merged weights, want %g at most; they change it by %g", apart, budget*size, change)
	} else {
		t.Logf("with products: %.0f %% of the budget, which is %.1f %% of the change", 100*apart/(budget*size), 100*budget*size/change)
	}
	update(nil)
	same("back", "a", base)

	before := memoryUsed(t, dev)
	var heap uint64
	for i := range 100 {
		u := []*kernels.Update{low, whole, nil}[i%3]
		update(u)
		if i%10 < 3 {
			same("one of a hundred", "a", map[*kernels.Update][]float32{low: mine, whole: other, nil: base}[u])
		}
		if i == 9 {
			heap = heapBytes()
		}
	}
	update(nil)
	same("after a hundred", "b", base)
	if after := memoryUsed(t, dev); after != before {
		t.Errorf("the device has %d bytes after a hundred updates, %d before", after, before)
	}
	if after := heapBytes(); after > heap+heap/4+1<<20 {
		t.Errorf("the heap has %d bytes after a hundred updates, %d after ten", after, heap)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := n.Update(cancelled, low); !errors.Is(err, context.Canceled) {
		t.Errorf("an update that was cancelled: %v", err)
	}
	same("cancelled", "a", base)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// computed is the output of a program of the subject.
func computed(ctx context.Context, n *nn.Network, key string, s nn.Subject, size int) ([]float32, error) {
	p, err := n.Program(key, s.Build)
	if err != nil {
		return nil, err
	}
	for name, x := range s.Inputs {
		if err := p.SetFloats(name, x.([]float32)...); err != nil {
			return nil, err
		}
	}
	x := make([]float32, size)
	return x, errors.Join(p.Run(ctx), p.Floats(ctx, "out", x))
}

func memoryUsed(t *testing.T, dev kernels.Device) int64 {
	t.Helper()
	m, err := dev.Memory()
	if err != nil {
		t.Fatal(err)
	}
	return m.Used - m.Arena
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
