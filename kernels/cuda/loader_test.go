package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// stored is a source in memory that counts reads and releases and can refuse a tensor.
type stored struct {
	zeros
	data     map[string][]byte
	refuse   string
	read     int
	released int
}

func (s *stored) Tensor(name string) (kernels.DType, []int, []byte, error) {
	if name == s.refuse {
		return 0, nil, nil, errRefused
	}
	s.read++
	t := s.zeros[name]
	return t.DType, t.Shape, s.data[name], nil
}

func (s *stored) Release() error {
	s.released++
	return nil
}

var errRefused = errors.New("refused")

// element is number i of stored data, finite in every type.
func element(dtype kernels.DType, data []byte, i int) float32 {
	switch dtype {
	case kernels.F16:
		return kernels.FromF16(binary.LittleEndian.Uint16(data[2*i:]))
	case kernels.BF16:
		return kernels.FromBF16(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
}

// packedByHand is the expected memory of a packed weight, computed element by element.
func packedByHand(w *packed, data []byte) []byte {
	out := make([]byte, w.bytes())
	taps, c := w.taps(), w.packing.c1+w.packing.c2
	for i := range kernels.Elements(w.shape) {
		f := element(w.dtype, data, i)
		if w.packing.kind == packFloat {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(f))
			continue
		}
		tap, channel, row := i%taps, i/taps%c, i/taps/c
		if channel >= w.packing.c1 {
			channel += w.packing.p1 - w.packing.c1
		}
		if half := w.packing.half; half > 0 {
			row = row%half/8*16 + row/half*8 + row%half%8
		}
		h := kernels.ToF16(f)
		if w.precision == kernels.BF16 {
			h = kernels.ToBF16(f)
		}
		binary.LittleEndian.PutUint16(out[2*((row*taps+tap)*(w.packing.p1+w.packing.p2)+channel):], h)
	}
	return out
}

// loads are weights of every kind of packing: longer than a slot, shorter than a pixel, with rows that the end of a
// slot splits.
func loads(t *testing.T, d *Device) (*weights, *stored, []*packed) {
	t.Helper()
	src := &stored{zeros: zeros{}, data: map[string][]byte{}}
	made, err := d.NewWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	w := made.(*weights)
	random := rand.New(rand.NewPCG(1, 2))
	var list []*packed
	add := func(dtype kernels.DType, precision kernels.DType, p packing, shape ...int) {
		name := fmt.Sprint(len(list))
		one := kernels.Tensor{Name: name, Role: kernels.Weight, DType: dtype, Shape: shape}
		data := make([]byte, one.Bytes())
		for i := range one.Len() {
			f := float32(random.NormFloat64())
			switch dtype {
			case kernels.F16:
				binary.LittleEndian.PutUint16(data[2*i:], kernels.ToF16(f))
			case kernels.BF16:
				binary.LittleEndian.PutUint16(data[2*i:], kernels.ToBF16(f))
			default:
				binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(f))
			}
		}
		src.zeros[name], src.data[name] = one, data
		made, err := w.want(one, p, precision)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, made)
	}
	matrix := func(c1, p1, c2, p2, half int) packing {
		return packing{kind: packMatrix, c1: c1, p1: p1, c2: c2, p2: p2, half: half}
	}
	add(kernels.F16, kernels.F16, matrix(1000, 1000, 0, 0, 0), 3001, 1000)
	for range 300 {
		add(kernels.F16, kernels.F16, packing{kind: packFloat}, 320)
	}
	add(kernels.F32, kernels.F16, matrix(20, 24, 12, 16, 0), 130, 32, 3, 3)
	add(kernels.BF16, kernels.F16, matrix(64, 64, 0, 0, 1283), 2566, 64)
	add(kernels.F32, kernels.BF16, matrix(2048, 2048, 0, 0, 0), 2049, 2048)
	add(kernels.F32, kernels.BF16, packing{kind: packFloat}, 3)
	return w, src, list
}

// checkLoad compares a loaded weight with packedByHand, and again after a swap.
func checkLoad(t *testing.T, d *Device) {
	ctx := context.Background()
	w, src, list := loads(t, d)
	for range 2 {
		if err := w.SetResident(ctx, true); err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			got, want := make([]byte, p.bytes()), packedByHand(p, src.data[p.name])
			if err := d.down.download(ctx, d.stream, got, p.at); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("weight %s %v, %+v: byte %d of %d is %d, want %d", p.name, p.shape, p.packing, i, len(want), got[i], want[i])
				}
			}
		}
		if err := w.SetResident(ctx, false); err != nil {
			t.Fatal(err)
		}
	}
	if src.released != 2 {
		t.Errorf("the source was released %d times, want once a load", src.released)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestLoad(t *testing.T) { checkLoad(t, card(t, Options{})) }

// TestLoadFails lets every kind of call of a load fail: an error, no memory held, and the next load works.
func TestLoadFails(t *testing.T) {
	ctx := context.Background()
	d, f := fakeDevice(t, Options{}, 1<<30)
	w, src, list := loads(t, d)
	if err := w.SetResident(ctx, true); err != nil { // what stays, pinned memory and modules, is there now
		t.Fatal(err)
	}
	whole := w.Bytes()
	if err := w.SetResident(ctx, false); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for what, broken := range map[string]struct {
		ctx   context.Context
		cause func()
		want  error
	}{
		"no memory":      {ctx, func() { f.Fail("cuMemAlloc_v2", 1, driver.OutOfMemory) }, kernels.ErrMemory},
		"no room":        {ctx, func() { f.Fail("cuMemAlloc_v2", 2, driver.OutOfMemory) }, kernels.ErrMemory},
		"a copy":         {ctx, func() { f.Fail("cuMemcpyHtoDAsync_v2", 3, driver.InvalidValue) }, driver.InvalidValue},
		"a launch":       {ctx, func() { f.Fail("cuLaunchKernel", 200, driver.LaunchOutOfResources) }, driver.LaunchOutOfResources},
		"a tensor":       {ctx, func() { src.refuse = list[len(list)-2].name }, errRefused},
		"the caller":     {cancelled, func() {}, context.Canceled},
		"waiting for it": {ctx, func() { f.Fail("cuStreamWaitEvent", 2, driver.InvalidHandle) }, driver.InvalidHandle},
	} {
		broken.cause()
		if err := w.SetResident(broken.ctx, true); !errors.Is(err, broken.want) {
			t.Errorf("%s failed: %v, want %v", what, err, broken.want)
		}
		src.refuse = ""
		if w.Bytes() != 0 || d.memory.used != 0 {
			t.Errorf("%s failed: %d bytes of weights and %d in all are held", what, w.Bytes(), d.memory.used)
		}
		if err := w.SetResident(ctx, true); err != nil || w.Bytes() != whole {
			t.Errorf("after %s failed: %d bytes, %v, want %d", what, w.Bytes(), err, whole)
		}
		if err := w.SetResident(ctx, false); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestLoadSpeed measures a swap on the card: a GiB of fp16 matrices from memory that the host has touched.
func TestLoadSpeed(t *testing.T) {
	d := card(t, Options{})
	src := &stored{zeros: zeros{}, data: map[string][]byte{}}
	made, err := d.NewWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	w := made.(*weights)
	for i := range 80 {
		name := fmt.Sprint(i)
		src.zeros[name] = kernels.Tensor{Name: name, Role: kernels.Weight, DType: kernels.F16, Shape: []int{5120, 1280}}
		p := packing{kind: packMatrix, c1: 1280, p1: 1280}
		if i%2 == 1 {
			src.zeros[name] = kernels.Tensor{Name: name, Role: kernels.Weight, DType: kernels.F16, Shape: []int{640, 1280, 3, 3}}
		}
		src.data[name] = make([]byte, src.zeros[name].Bytes())
		if _, err := w.want(src.zeros[name], p, kernels.F16); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		start := time.Now()
		if err := w.SetResident(context.Background(), true); err != nil {
			t.Fatal(err)
		}
		spent := time.Since(start)
		t.Logf("%.2f GB in %v: %.1f GB/s", float64(w.Bytes())/1e9, spent.Round(time.Millisecond), float64(w.Bytes())/1e9/spent.Seconds())
		if err := w.SetResident(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
