package cpu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/kerneltest"
)

// layers is a plan with weights of every type and size class, some of them used by what is computed once a request.
func layers(t *testing.T) *planner {
	s := &planner{}
	weight := func(name string, dtype kernels.DType, shape ...int) kernels.Value {
		return s.weight(name, make([]float32, kernels.Elements(shape)), dtype, shape...)
	}
	text := s.value(kernels.Request, kernels.F32, "text", 2, 40)
	x := s.value(kernels.Step, kernels.F32, "x", 2, 6, 6, 24)
	time := s.node(t, "time", kernels.Linear{Bias: true}, kernels.Temp, text, weight("time.weight", kernels.F16, 33, 40), weight("time.bias", kernels.F16, 33))[0]
	h := s.node(t, "conv", kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}, Bias: true, BroadcastBias: true}, kernels.Temp,
		x, weight("conv.weight", kernels.BF16, 33, 24, 3, 3), weight("conv.bias", kernels.F32, 33), time)[0]
	h = s.node(t, "norm", kernels.LayerNorm{Eps: 1e-5}, kernels.Temp, h, weight("norm.weight", kernels.BF16, 33), weight("norm.bias", kernels.F16, 33))[0]
	s.node(t, "ff", kernels.Linear{Act: kernels.GEGLU}, kernels.Result, h, weight("ff.weight", kernels.F16, 70, 33))
	s.node(t, "out", kernels.Linear{}, kernels.Result, h, weight("out.weight", kernels.F32, 7, 33))
	return s
}

func TestUpdates(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) { kerneltest.Updates(t, d, &layers(t).plan, kernels.Options{}) })
}

func TestMerges(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *Device) { kerneltest.Merges(t, d, kernels.Options{}) })
}

// normals are n random numbers.
func normals(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sin(12.9898*float64(i)) * 0.1)
	}
	return x
}

// TestUpdateMemory: tensors that are merged count as made, take memory once however often they are merged again, and
// give it back with the update; where there is no room for them the update is refused, and all is as before.
func TestUpdateMemory(t *testing.T) {
	const c = 1024
	d := newTestDevice(t, Options{Threads: 2})
	var s planner
	x := s.value(kernels.Step, kernels.F32, "x", 4, c)
	for _, name := range []string{"a", "b", "c", "d"} {
		x = s.node(t, name, kernels.Linear{}, kernels.Temp, x, s.weight(name, normals(c*c), kernels.F16, c, c))[0]
	}
	out := s.node(t, "out", kernels.Add{}, kernels.Result, x, x)[0]
	src := &watchedSource{memorySource: s.source, storage: map[string]kernels.Storage{"a": kernels.Mapped, "b": kernels.Mapped, "c": kernels.Mapped, "d": kernels.Mapped}}
	w, err := d.NewWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Compile(&s.plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, p, 0, normals(4*c))
	run(t, p)
	fresh := read(t, p, out, 4*c)
	update := func(scale float32, names ...string) *kernels.Update {
		u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
		for _, name := range names {
			u.LowRank[name] = []kernels.LowRank{{Up: kernels.FloatFactor(normals(c * 8)), Down: kernels.FloatFactor(normals(8 * c)), Rank: 8, Scale: scale}}
		}
		return u
	}
	const one = 2 * c * c
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	sets := []*kernels.Update{update(1, "a", "b"), update(-2, "b", "c"), update(0.5, "a", "b", "c", "d"), nil}
	want := []int64{2 * one, 2 * one, 4 * one, 0}
	var first [][]float32
	var before int64
	for i := range 100 {
		if err := w.Update(t.Context(), sets[i%4]); err != nil {
			t.Fatal(err)
		}
		if n := w.Bytes(); n != want[i%4] {
			t.Fatalf("update %d: the weights take %d bytes, want %d", i, n, want[i%4])
		}
		run(t, p)
		got := read(t, p, out, 4*c)
		switch {
		case i < 4:
			first = append(first, got)
		case !slices.Equal(got, first[i%4]):
			t.Fatalf("update %d gives another result than update %d", i, i%4)
		}
		if i == 7 {
			before = heap()
		}
	}
	if after := heap(); after > before+one/4 {
		t.Errorf("the heap has %d bytes after 100 updates, %d after 8", after, before)
	}
	if !slices.Equal(first[3], fresh) || slices.Equal(first[0], fresh) || slices.Equal(first[0], first[1]) {
		t.Error("updates change nothing, or not back")
	}
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	d.memory.limit = m.Used + one
	refused(t, "an update without room", w.Update(t.Context(), sets[2]), m.Used+4*one-m.Arena, m.Used+one) // the arena made room
	if n := w.Bytes(); n != 0 {
		t.Errorf("the weights take %d bytes after an update was refused", n)
	}
	run(t, p)
	if !slices.Equal(read(t, p, out, 4*c), fresh) {
		t.Error("another result after an update was refused")
	}
	d.memory.limit = math.MaxInt64
	if err := errors.Join(w.Update(t.Context(), sets[0]), p.Close()); err != nil {
		t.Fatal(err)
	}
	if n := w.Bytes(); n != 0 {
		t.Errorf("the weights take %d bytes without programs", n)
	}
	if p, err = d.Compile(&s.plan, w, kernels.Options{}); err != nil {
		t.Fatal(err)
	}
	write(t, p, 0, normals(4*c))
	run(t, p)
	if !slices.Equal(read(t, p, out, 4*c), first[0]) {
		t.Error("a program that is compiled after an update computes without it")
	}
	if err := errors.Join(p.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	d.ifIdle(d.drop)
	holds(t, d, "closed", 0, 0)
}

// TestUpdateCancelled cancels an update between two tensors: the ones that were merged already are made again from the
// update before.
func TestUpdateCancelled(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 1})
	s := layers(t)
	source := &cancelling{memorySource: s.source}
	w, err := d.NewWeights(source)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Compile(&s.plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := kernels.Value(1)
	write(t, p, x, normals(2*6*6*24))
	run(t, p)
	out := kernels.Value(len(s.plan.Tensors) - 1)
	want := read(t, p, out, 2*6*6*7)
	u := &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
	for name, m := range s.source.tensors {
		rows, columns := kernels.Matrix(m.shape)
		u.LowRank[name] = []kernels.LowRank{{Up: kernels.FloatFactor(normals(rows)), Down: kernels.FloatFactor(normals(columns)), Rank: 1, Scale: 1}}
	}
	for after := range len(u.LowRank) - 1 {
		ctx, cancel := context.WithCancel(t.Context())
		source.left, source.cancel = after, cancel
		if err := w.Update(ctx, u); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at tensor %d: %v", after, err)
		}
		source.cancel = nil
		run(t, p)
		if !slices.Equal(read(t, p, out, 2*6*6*7), want) {
			t.Errorf("cancelled at tensor %d: another result", after)
		}
	}
	if err := errors.Join(p.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// cancelling cancels when it has given so many tensors.
type cancelling struct {
	memorySource
	left   int
	cancel func()
}

func (s *cancelling) Tensor(name string) (kernels.DType, []int, []byte, error) {
	if s.cancel != nil {
		if s.left--; s.left < 0 {
			s.cancel()
		}
	}
	return s.memorySource.Tensor(name)
}

// TestConvert compares conversions of rows with those of single numbers, for every 16-bit number and many others.
func TestConvert(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	x := sweep()
	for x = append(x, normals(1000)...); len(x)%32 != 0; {
		x = append(x, 1)
	}
	for i := range 1 << 16 { // halfway between neighbours, and a little beside that
		for _, f := range []float32{kernels.FromF16(uint16(i)), kernels.FromBF16(uint16(i))} {
			b := math.Float32bits(f)
			x = append(x, math.Float32frombits(b+0x1000), math.Float32frombits(b+0x1001), math.Float32frombits(b+0x8000), math.Float32frombits(b+0x7fff))
		}
	}
	eachVariant(t, func(t *testing.T, v *variant) {
		wide, narrow := make([]float32, len(all)), make([]uint16, len(x))
		for name, c := range map[string]struct {
			widen  func(dst *float32, src *uint16, n int)
			narrow func(dst *uint16, src *float32, n int)
			from   func(uint16) float32
			to     func(float32) uint16
		}{
			"fp16": {v.gemm.widenF16, v.gemm.narrowF16, kernels.FromF16, kernels.ToF16},
			"bf16": {v.gemm.widenBF16, v.gemm.narrowBF16, kernels.FromBF16, kernels.ToBF16},
		} {
			c.widen(&wide[0], &all[0], len(all))
			for i, h := range all {
				if want := c.from(h); wide[i] != want && (wide[i] == wide[i] || want == want) {
					t.Fatalf("%s: %#x is %g, want %g", name, h, wide[i], want)
				}
			}
			c.narrow(&narrow[0], &x[0], len(x))
			for i, f := range x {
				if got, want := c.from(narrow[i]), c.from(c.to(f)); math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
					t.Fatalf("%s: %g (%#x) rounds to %g, want %g", name, f, math.Float32bits(f), got, want)
				}
			}
		}
	})
}

// BenchmarkMerge merges factors of rank 32 into float16 matrices of the UNet's sizes, in memory that updates use again.
// The UNet has 2.57·10⁹ such numbers.
func BenchmarkMerge(b *testing.B) {
	for _, shape := range [][]int{{1280, 1280}, {10240, 1280}, {640, 640, 3, 3}} {
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			d := newTestDevice(b, Options{})
			rows, columns := kernels.Matrix(shape)
			half := func(n int) []uint16 {
				x := make([]uint16, n)
				for i, f := range normals(n) {
					x[i] = kernels.ToF16(f)
				}
				return x
			}
			src := view{shape: shape, dtype: kernels.F16, u16: half(rows * columns)}
			dst := view{shape: shape, dtype: kernels.F16, u16: make([]uint16, rows*columns)}
			products := []kernels.LowRank{{
				Up: kernels.Factor{DType: kernels.F16, Data: rawBytes(half(rows * 32))}, Down: kernels.Factor{DType: kernels.F16, Data: rawBytes(half(32 * columns))},
				Rank: 32, Scale: 0.7,
			}}
			m := merger{device: d}
			for b.Loop() {
				if err := m.merge(dst, src, products); err != nil {
					b.Fatal(err)
				}
			}
			numbers := float64(rows) * float64(columns) * float64(b.N)
			b.ReportMetric(64*numbers/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(b.Elapsed().Seconds()/numbers*2.57e9, "s/UNet")
		})
	}
}
