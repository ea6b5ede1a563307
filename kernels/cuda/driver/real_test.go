package driver_test

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

//go:embed testdata/vector.ptx
var vectorPTX []byte

// TestRealDevice goes through the package on hardware: go test -c, and the program runs on any machine with a driver.
func TestRealDevice(t *testing.T) {
	begin := time.Now()
	d, err := driver.Open()
	if err != nil {
		require.Lacks(t, "cuda", err)
	}
	v := must(d.Device(0))(t)
	c := must(v.NewContext(driver.Block))(t)
	free, total, err := c.MemInfo()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, capability %v, CUDA %v, %d multiprocessors, L2 %d MiB, %d B shared memory a block, %d of %d MiB free; context after %v",
		v.Name, v.Capability, d.Version(), v.Multiprocessors, v.L2>>20, v.SharedPerBlock, free>>20, total>>20, time.Since(begin))
	r := newReal(t, v, c)
	t.Run("copies", r.copies)
	t.Run("launch", r.launches)
	t.Run("graph", r.graphs)
	t.Run("shared memory", r.sharedMemory)
	t.Run("capability 9", r.capability9)
	t.Run("compiler log", r.compilerLog)
	t.Run("out of memory", r.outOfMemory)
	r.close(t)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

const (
	realCount = 100_003 // no multiple of the block
	realSome  = 77
)

// real is a context with the vector kernels and data: a[i] = i, b[i] = 2i.
type real struct {
	device  *driver.Device
	context *driver.Context
	stream  *driver.Stream
	host    *driver.HostMemory
	a, b, c driver.Ptr
	module  *driver.Module
	add     *driver.Launch // c[i] = a[i] + b[i] for every i
	some    *driver.Launch // the same for i < realSome
}

var realShape = driver.Config{Grid: driver.Dim{X: (realCount + 255) / 256, Y: 1, Z: 1}, Block: driver.Dim{X: 256, Y: 1, Z: 1}}

func newReal(t *testing.T, v *driver.Device, c *driver.Context) *real {
	t.Helper()
	r := &real{device: v, context: c, stream: must(c.NewStream(0))(t), host: must(c.AllocHost(4*realCount, false))(t)}
	begin := time.Now()
	r.module = must(c.LoadModule(vectorPTX))(t)
	t.Logf("module loaded in %v", time.Since(begin))
	for i, p := range []*driver.Ptr{&r.a, &r.b, &r.c} {
		*p = must(c.Alloc(4 * realCount))(t)
		for j := range realCount {
			binary.LittleEndian.PutUint32(r.host.Bytes()[4*j:], math.Float32bits(float32(j*(i+1))))
		}
		if err := errors.Join(r.stream.CopyToDevice(*p, r.host, 0, 4*realCount), r.stream.Synchronize()); err != nil {
			t.Fatal(err)
		}
	}
	f := must(r.module.Function("add"))(t)
	r.add = must(f.Prepare(realShape, r.c, r.a, r.b, uint32(realCount)))(t)
	r.some = must(f.Prepare(realShape, r.c, r.a, r.b, uint32(realSome)))(t)
	return r
}

// sums clears c, runs work, and checks that c = a + b up to n and 0 from there.
func (r *real) sums(t *testing.T, n int, work func() error) {
	t.Helper()
	clear(r.host.Bytes())
	err := errors.Join(r.stream.Fill32(r.c, 0, realCount), work(), r.stream.CopyToHost(r.host, 0, r.c, 4*realCount), r.stream.Synchronize())
	if err != nil {
		t.Fatal(err)
	}
	for i := range realCount {
		want := float32(0)
		if i < n {
			want = float32(i) + float32(2*i)
		}
		if got := math.Float32frombits(binary.LittleEndian.Uint32(r.host.Bytes()[4*i:])); got != want {
			t.Fatalf("element %d is %v, want %v", i, got, want)
		}
	}
}

func (r *real) copies(t *testing.T) {
	const text = "from here to there"
	n := int64(len(text))
	b := r.host.Bytes()
	clear(b)
	copy(b, text)
	p := must(r.context.Alloc(64))(t)
	err := errors.Join(r.stream.CopyToDevice(p, r.host, 0, n), r.stream.CopyDevice(p+32, p, n), r.stream.CopyToHost(r.host, 64, p+32, n),
		r.stream.Synchronize(), r.context.Synchronize(), r.context.Free(p))
	if got := string(b[64 : 64+n]); err != nil || got != text {
		t.Errorf("copy is %q, error %v", got, err)
	}
}

func (r *real) launches(t *testing.T) {
	r.sums(t, realCount, func() error { return r.stream.Launch(r.add) })
	r.sums(t, realSome, func() error { return r.stream.Launch(r.some) })
	f := must(r.module.Function("add"))(t)
	t.Logf("add: %+v", must(f.Info())(t))
	if r.device.Driver >= 12040 {
		if _, err := f.Prepare(realShape, r.c, r.a, r.b); err == nil {
			t.Error("a launch without its last argument was prepared")
		}
	}
	start, end := must(r.context.NewEvent(true))(t), must(r.context.NewEvent(true))(t)
	const n = 2000
	once := func() {
		if err := r.stream.Launch(r.add); err != nil {
			t.Fatal(err)
		}
	}
	allocs := testing.AllocsPerRun(100, once)
	if err := errors.Join(r.stream.Synchronize(), r.stream.Record(start)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range n {
		once()
	}
	host := time.Since(begin)
	if err := errors.Join(r.stream.Record(end), end.Synchronize()); err != nil {
		t.Fatal(err)
	}
	t.Logf("launch: %v on the host, %v on the device, %v allocations", host/n, must(end.Since(start))(t)/n, allocs)
	if allocs != 0 {
		t.Errorf("a launch makes %v allocations", allocs)
	}
	if err := errors.Join(start.Close(), end.Close()); err != nil {
		t.Error(err)
	}
}

func (r *real) graphs(t *testing.T) {
	side := must(r.context.NewStream(0))(t)
	fork, join := must(r.context.NewEvent(false))(t), must(r.context.NewEvent(false))(t)
	record := func() error {
		return errors.Join(r.stream.Fill32(r.c, 0, realCount), r.stream.Record(fork), side.Wait(fork), side.Launch(r.add), side.Record(join),
			r.stream.Wait(join))
	}
	g := must(r.stream.Capture(record))(t)
	begin := time.Now()
	x := must(g.Instantiate())(t)
	t.Logf("instantiated in %v", time.Since(begin))
	r.sums(t, realCount, func() error { return x.Launch(r.stream) })
	long := must(r.stream.Capture(func() error {
		var err error
		for range 100 {
			err = errors.Join(err, r.stream.Launch(r.add))
		}
		return err
	}))(t)
	y := must(long.Instantiate())(t)
	r.sums(t, realCount, func() error { return y.Launch(r.stream) })
	begin = time.Now()
	for range 20 {
		if err := y.Launch(r.stream); err != nil {
			t.Fatal(err)
		}
	}
	host := time.Since(begin)
	if err := r.stream.Synchronize(); err != nil {
		t.Fatal(err)
	}
	t.Logf("graph of 100 kernels: %v on the host, %v in all", host/20, time.Since(begin)/20)
	// What cannot be captured spoils the capture and not the stream.
	if _, err := r.stream.Capture(func() error { return r.stream.Synchronize() }); err == nil {
		t.Error("waiting was captured")
	} else {
		t.Log(err)
	}
	r.sums(t, realCount, func() error { return x.Launch(r.stream) })
	err := errors.Join(x.Close(), y.Close(), g.Close(), long.Close(), fork.Close(), join.Close(), side.Close())
	if err != nil {
		t.Error(err)
	}
}

func (r *real) close(t *testing.T) {
	t.Helper()
	err := errors.Join(r.stream.Close(), r.host.Close(), r.context.Free(r.a), r.context.Free(r.b), r.context.Free(r.c), r.module.Close())
	if err != nil {
		t.Error(err)
	}
}
