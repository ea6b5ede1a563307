package driver_test

import (
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// parts is one of everything, in a context of a fake. add has a pointer and an int.
type parts struct {
	device     *driver.Device
	context    *driver.Context
	stream     *driver.Stream
	start, end *driver.Event
	host       *driver.HostMemory
	memory     driver.Ptr // 1 KiB
	module     *driver.Module
	function   *driver.Function
	launch     *driver.Launch
	graph      *driver.Graph
	exec       *driver.GraphExec
}

var shape = driver.Config{Grid: driver.Dim{X: 4, Y: 1, Z: 1}, Block: driver.Dim{X: 128, Y: 1, Z: 1}}

func newParts(t testing.TB, f *drivertest.Fake) *parts {
	t.Helper()
	f.Kernels = map[string][]int{"add": {8, 4}}
	p := &parts{}
	p.device, p.context = newContext(t, f)
	p.stream = must(p.context.NewStream(0))(t)
	p.start, p.end = must(p.context.NewEvent(true))(t), must(p.context.NewEvent(true))(t)
	p.host = must(p.context.AllocHost(64, true))(t)
	p.memory = must(p.context.Alloc(1 << 10))(t)
	p.module = must(p.context.LoadModule([]byte(".version 7.0")))(t)
	p.function = must(p.module.Function("add"))(t)
	p.launch = must(p.function.Prepare(shape, p.memory, int32(7)))(t)
	p.graph = must(p.stream.Capture(func() error { return p.stream.Launch(p.launch) }))(t)
	p.exec = must(p.graph.Instantiate())(t)
	if err := errors.Join(p.stream.Record(p.start), p.stream.Record(p.end)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(p.exec.Close(), p.graph.Close(), p.module.Close(), p.context.Free(p.memory), p.host.Close(), p.start.Close(),
			p.end.Close(), p.stream.Close())
		if err != nil {
			t.Error(err)
		}
	})
	return p
}

// uses has, for every function that works in a context, a use of it that returns its error.
func uses() map[string]func(*parts) error {
	free := func(p *parts) error { m := p.memory; p.memory = 0; return p.context.Free(m) }
	second := func(_ any, err error) error { return err }
	return map[string]func(*parts) error{
		"cuCtxSetCurrent":            func(p *parts) error { return p.context.Synchronize() },
		"cuCtxSynchronize":           func(p *parts) error { return p.context.Synchronize() },
		"cuMemGetInfo_v2":            func(p *parts) error { _, _, err := p.context.MemInfo(); return err },
		"cuMemAlloc_v2":              func(p *parts) error { return second(p.context.Alloc(1)) },
		"cuMemFree_v2":               free,
		"cuMemHostAlloc":             func(p *parts) error { return second(p.context.AllocHost(1, false)) },
		"cuMemFreeHost":              func(p *parts) error { return p.host.Close() },
		"cuMemcpyHtoDAsync_v2":       func(p *parts) error { return p.stream.CopyToDevice(p.memory, p.host, 0, 16) },
		"cuMemcpyDtoHAsync_v2":       func(p *parts) error { return p.stream.CopyToHost(p.host, 0, p.memory, 16) },
		"cuMemcpyDtoDAsync_v2":       func(p *parts) error { return p.stream.CopyDevice(p.memory, p.memory+16, 16) },
		"cuMemsetD8Async":            func(p *parts) error { return p.stream.Fill(p.memory, 1, 16) },
		"cuMemsetD32Async":           func(p *parts) error { return p.stream.Fill32(p.memory, 1, 4) },
		"cuModuleLoadDataEx":         func(p *parts) error { return second(p.context.LoadModule([]byte("\x7fELF"))) },
		"cuModuleUnload":             func(p *parts) error { return p.module.Close() },
		"cuModuleGetFunction":        func(p *parts) error { return second(p.module.Function("add")) },
		"cuFuncGetAttribute":         func(p *parts) error { return second(p.function.Info()) },
		"cuFuncSetAttribute":         func(p *parts) error { return p.function.SetMaxDynamicShared(99 << 10) },
		"cuFuncGetParamInfo":         func(p *parts) error { return paramInfo(p) },
		"cuStreamCreateWithPriority": func(p *parts) error { return second(p.context.NewStream(-1)) },
		"cuStreamDestroy_v2":         func(p *parts) error { return p.stream.Close() },
		"cuStreamSynchronize":        func(p *parts) error { return p.stream.Synchronize() },
		"cuStreamWaitEvent":          func(p *parts) error { return p.stream.Wait(p.end) },
		"cuEventCreate":              func(p *parts) error { return second(p.context.NewEvent(false)) },
		"cuEventDestroy_v2":          func(p *parts) error { return p.end.Close() },
		"cuEventRecord":              func(p *parts) error { return p.stream.Record(p.end) },
		"cuEventSynchronize":         func(p *parts) error { return p.end.Synchronize() },
		"cuEventQuery":               func(p *parts) error { return second(p.end.Query()) },
		"cuEventElapsedTime":         func(p *parts) error { return second(p.end.Since(p.start)) },
		"cuLaunchKernel":             func(p *parts) error { return p.stream.Launch(p.launch) },
		"cuStreamBeginCapture_v2":    func(p *parts) error { return second(p.stream.Capture(func() error { return nil })) },
		"cuStreamEndCapture":         func(p *parts) error { return second(p.stream.Capture(func() error { return nil })) },
		"cuGraphInstantiate_v2":      func(p *parts) error { return second(p.graph.Instantiate()) },
		"cuGraphLaunch":              func(p *parts) error { return p.exec.Launch(p.stream) },
		"cuGraphDestroy":             func(p *parts) error { return p.graph.Close() },
		"cuGraphExecDestroy":         func(p *parts) error { return p.exec.Close() },
		"cuTensorMapEncodeTiled":     func(p *parts) error { return second(p.context.EncodeTiled(tiled(p.memory))) },
		"cuTensorMapEncodeIm2col":    func(p *parts) error { return second(p.context.EncodeIm2col(convolved(p.memory))) },
	}
}

// paramInfo is a Prepare in which the question for a parameter's size fails. InvalidValue is its way to say that there is no such
// parameter, so it comes out as a count; for the table it is put back into the form of the others.
func paramInfo(p *parts) error {
	_, err := p.function.Prepare(shape, p.memory, int32(7))
	var e *driver.Error
	if err != nil && !errors.As(err, &e) {
		return &driver.Error{Call: "cuFuncGetParamInfo", Code: driver.InvalidValue}
	}
	return err
}

// convolved is two images of 3×5 pixels and 64 channels, as a convolution of 3×3 reads them.
func convolved(p driver.Ptr) driver.Im2col {
	return driver.Im2col{Type: driver.Float16, Address: p, Size: [4]int64{64, 5, 3, 2}, Stride: [3]int64{128, 640, 1920},
		Low: [2]int32{-1, -1}, High: [2]int32{-1, -1}, Step: 1, Channels: 64, Pixels: 128}
}

func tiled(p driver.Ptr) driver.Tiled {
	return driver.Tiled{Type: driver.Float16, Address: p, Size: []int64{64, 8}, Stride: []int64{128}, Box: []uint32{64, 8},
		Swizzle: driver.Swizzle128, Promotion: driver.Promotion128}
}
