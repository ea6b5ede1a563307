package driver_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

func little64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
func little32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func TestLaunch(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	p.launchAll(t)
	if err := p.stream.Launch(must(p.function.Prepare(shape, p.memory, int32(-2)))(t)); err != nil {
		t.Fatal(err)
	}
	got := f.Launches()
	base := drivertest.Launch{Kernel: "add", Grid: shape.Grid, Block: shape.Block, Stream: got[0].Stream,
		Arguments: [][]byte{little64(uint64(p.memory)), little32(7)}}
	changed := base
	changed.Arguments = [][]byte{base.Arguments[0], little32(1<<32 - 2)}
	if d := cmp.Diff([]drivertest.Launch{base, changed}, got); d != "" {
		t.Errorf("launches (-want +got):\n%s", d)
	}
}

func (p *parts) launchAll(t testing.TB) {
	t.Helper()
	if err := p.stream.Launch(p.launch); err != nil {
		t.Fatal(err)
	}
}

// TestLaunchAllocates holds launches to no allocation.
func TestLaunchAllocates(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	f.Quiet = true
	if n := testing.AllocsPerRun(100, func() { p.launchAll(t) }); n != 0 {
		t.Errorf("a launch makes %v allocations", n)
	}
}

// BenchmarkLaunch is this package's share of a launch: locks, thread, cuCtxSetCurrent and the call, all on the fake.
func BenchmarkLaunch(b *testing.B) {
	f := drivertest.New(drivertest.H100)
	p := newParts(b, f)
	f.Quiet = true
	b.ReportAllocs()
	for b.Loop() {
		if err := p.stream.Launch(p.launch); err != nil {
			b.Fatal(err)
		}
	}
}

type pair struct {
	A driver.Ptr
	B [2]float32
}

func TestPrepareRefuses(t *testing.T) {
	dim := func(x, y, z uint32) driver.Dim { return driver.Dim{X: x, Y: y, Z: z} }
	one := dim(1, 1, 1)
	for name, c := range map[string]struct {
		config driver.Config
		args   []any
		want   string
	}{
		"no grid":          {driver.Config{Block: one}, []any{driver.Ptr(0), int32(0)}, "grid is 0x0x0"},
		"high grid":        {driver.Config{Grid: dim(1, 65536, 1), Block: one}, []any{driver.Ptr(0), int32(0)}, "grid is 1x65536x1"},
		"no block":         {driver.Config{Grid: one}, []any{driver.Ptr(0), int32(0)}, "block is 0x0x0"},
		"large block":      {driver.Config{Grid: one, Block: dim(512, 2, 2)}, []any{driver.Ptr(0), int32(0)}, "2048 threads, want at most 1024"},
		"overflowed block": {driver.Config{Grid: one, Block: dim(1<<31, 2, 1)}, []any{driver.Ptr(0), int32(0)}, "want at most 1024"},
		"shared memory": {driver.Config{Grid: one, Block: one, DynamicShared: 49153}, []any{driver.Ptr(0), int32(0)},
			"49153 bytes, want 0 to 49152"},
		"int":           {shape, []any{driver.Ptr(0), 7}, "type is int,"},
		"nil":           {shape, []any{nil, int32(7)}, "value is nil"},
		"Go pointer":    {shape, []any{new(int32), int32(7)}, "type is *int32"},
		"string inside": {shape, []any{struct{ S string }{}, int32(7)}, "field S: type is string"},
		"too few":       {shape, []any{driver.Ptr(0)}, "1 arguments, want more"},
		"too many":      {shape, []any{driver.Ptr(0), int32(0), int32(0)}, "3 arguments, want 2"},
		"wrong size":    {shape, []any{driver.Ptr(0), int64(0)}, "argument 1 (int64) has 8 bytes, want 4"},
		"4 KB":          {shape, []any{[4096]byte{}, int32(0)}, "want at most 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts(t, drivertest.New(drivertest.H100))
			_, err := p.function.Prepare(c.config, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "add") {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestStructArgument(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	f.Kernels["add"] = []int{16}
	l := must(p.function.Prepare(shape, pair{A: 5, B: [2]float32{1, 2}}))(t)
	if err := p.stream.Launch(l); err != nil {
		t.Fatal(err)
	}
	want := append(append(little64(5), little32(0x3f800000)...), little32(0x40000000)...)
	if d := cmp.Diff([][]byte{want}, f.Launches()[0].Arguments); d != "" {
		t.Error(d)
	}
}

// TestOldDriver has none of the optional functions: what needs one says which CUDA it came with, the rest works.
func TestOldDriver(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	f.Version, f.Missing = 11040, driver.OptionalNames()
	_, c := newContext(t, f)
	m := must(c.LoadModule([]byte(".version 7.0")))(t)
	fn := must(m.Function("any"))(t)
	must(fn.Prepare(shape, int32(1)))(t)
	_, err := c.EncodeTiled(tiled(1 << 20))
	var e *driver.VersionError
	if !errors.As(err, &e) || e.Have != 11040 || e.Need != 12000 {
		t.Errorf("error is %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestOldDevice has less shared memory.
func TestOldDevice(t *testing.T) {
	_, c := newContext(t, drivertest.New(drivertest.RTX3060))
	m := must(c.LoadModule([]byte(".version 7.0")))(t)
	fn := must(m.Function("any"))(t)
	if err := fn.SetMaxDynamicShared(101377); err == nil || !strings.Contains(err.Error(), "101376") {
		t.Errorf("error is %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestSharedMemory(t *testing.T) {
	p := newParts(t, drivertest.New(drivertest.H100))
	if err := p.function.SetMaxDynamicShared(99 << 10); err != nil {
		t.Fatal(err)
	}
	c := shape
	c.DynamicShared = 99 << 10
	if err := p.stream.Launch(must(p.function.Prepare(c, p.memory, int32(1)))(t)); err != nil {
		t.Error(err)
	}
}

func TestOtherContext(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	other := must(p.device.NewContext(driver.Block))(t)
	s := must(other.NewStream(0))(t)
	if err := s.Launch(p.launch); err == nil || !strings.Contains(err.Error(), "another context") {
		t.Errorf("error is %v", err)
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Error(err)
	}
}

func TestCompilerLog(t *testing.T) {
	_, c := newContext(t, drivertest.New(drivertest.H100))
	_, err := c.LoadModule([]byte(".target sm_80"))
	if !errors.Is(err, driver.InvalidPTX) || !strings.Contains(err.Error(), "ptxas fatal: Missing .version directive") {
		t.Errorf("error is %v", err)
	}
	if _, err := c.LoadModule(nil); err == nil {
		t.Error("an empty image was loaded")
	}
}

func TestEvents(t *testing.T) {
	p := newParts(t, drivertest.New(drivertest.H100))
	if d := must(p.end.Since(p.start))(t); d != time.Millisecond {
		t.Errorf("time is %v, want 1ms", d)
	}
	if !must(p.end.Query())(t) {
		t.Error("nothing is done")
	}
	if err := errors.Join(p.stream.Wait(p.end), p.end.Synchronize()); err != nil {
		t.Error(err)
	}
}

func TestQueryWorkUnderWay(t *testing.T) {
	f := drivertest.New(drivertest.H100)
	p := newParts(t, f)
	f.Fail("cuEventQuery", 1, driver.NotReady)
	if must(p.end.Query())(t) {
		t.Error("work under way is done")
	}
}
