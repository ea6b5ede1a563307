//go:build emulate

package cuda

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// The emulator is a libcuda whose memory is the host's and whose kernels are src/ compiled for the CPU by
// emulate/build.sh:
//
//	kernels/cuda/emulate/build.sh DIR && GOXL_EMULATE=DIR go test -tags emulate ./kernels/cuda -run Emulated
//
// It finds wrong indices, races across barriers and missing waits, but not wrong instructions.

type emulator struct {
	mu      sync.Mutex
	names   []string
	objects map[uintptr]any
	next    uintptr
	record  *[]func() driver.Result // of the stream that captures
	kernels [2]struct{ handle, run uintptr }
	spent   map[string]time.Duration
}

// emulatedKernel is a kernel and the shared memory that it may use.
type emulatedKernel struct {
	name   string
	fn     uintptr
	run    uintptr
	shared int32
}

func newEmulator(t testing.TB) *emulator {
	dir := os.Getenv("GOXL_EMULATE")
	if dir == "" {
		t.Fatal("GOXL_EMULATE must name the folder that emulate/build.sh wrote")
	}
	e := &emulator{objects: map[uintptr]any{}, next: 16, spent: map[string]time.Duration{}}
	for i, name := range []string{"kernels.f16.so", "kernels.bf16.so"} {
		h, err := purego.Dlopen(filepath.Join(dir, name), purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			t.Fatal(err)
		}
		e.kernels[i].handle = h
		if e.kernels[i].run, err = purego.Dlsym(h, "emulate"); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (e *emulator) Lookup(name string) (uintptr, bool) {
	if name == "cuFuncGetParamInfo" {
		return 0, false
	}
	e.names = append(e.names, name)
	return uintptr(len(e.names)), true
}

func set[T any](at uintptr, v T) { *(*T)(*(*unsafe.Pointer)(unsafe.Pointer(&at))) = v }

func get[T any](at uintptr) T { return *(*T)(*(*unsafe.Pointer)(unsafe.Pointer(&at))) }

func bytesAt(at, n uintptr) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n)
}

func (e *emulator) add(at uintptr, o any) driver.Result {
	e.next += 16
	e.objects[e.next] = o
	set(at, e.next)
	return driver.Success
}

func (e *emulator) give(do func() driver.Result) driver.Result {
	if e.record != nil {
		*e.record = append(*e.record, do)
		return driver.Success
	}
	return do()
}

// emulatedTypes maps the PTX of every kernel, as library loads it, to its type: 0 for float16, 1 for bfloat16.
var emulatedTypes = sync.OnceValue(func() map[string]int {
	m, err := readManifest()
	if err != nil {
		panic(err)
	}
	types := map[string]int{}
	for path, module := range m.Modules {
		for name := range module.Kernels {
			text, err := readKernel(path, name)
			if err != nil {
				panic(err)
			}
			if types[string(text)] = 0; strings.Contains(path, ".bf16.") {
				types[string(text)] = 1
			}
		}
	}
	return types
})

// page is the size of the guard pages around every allocation.
const page = 4096

func (e *emulator) Call(fn uintptr, a []uintptr) driver.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	copyNow := func() driver.Result {
		dst, src, n := a[0], a[1], a[2]
		return e.give(func() driver.Result { copy(bytesAt(dst, n), bytesAt(src, n)); return driver.Success })
	}
	switch name := e.names[fn-1]; name {
	case "cuDriverGetVersion":
		set(a[0], int32(12000))
	case "cuDeviceGetCount":
		set(a[0], int32(1))
	case "cuDeviceGet":
		set(a[0], int32(0))
	case "cuDeviceGetName":
		copy(bytesAt(a[0], a[1]), "emulated\x00")
	case "cuDeviceGetAttribute":
		set(a[0], map[uintptr]int32{16: 4, 38: 1 << 20, 75: 9, 76: 0, 97: 232448, 113: 0}[a[1]])
	case "cuDeviceTotalMem_v2":
		set(a[0], int64(8<<30))
	case "cuCtxCreate_v2", "cuStreamCreateWithPriority", "cuEventCreate":
		return e.add(a[0], name)
	case "cuMemGetInfo_v2":
		set(a[0], int64(4<<30))
		set(a[1], int64(8<<30))
	case "cuMemAlloc_v2", "cuMemHostAlloc":
		n := (a[1] + page - 1) / page * page
		m, err := syscall.Mmap(-1, 0, int(n+2*page), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return driver.OutOfMemory
		}
		syscall.Mprotect(m[:page], syscall.PROT_NONE)
		syscall.Mprotect(m[page+n:], syscall.PROT_NONE)
		body := m[page : page+n]
		for i := range body[:min(len(body), 1<<20)] {
			body[i] = 0xff // NaN
		}
		at := uintptr(unsafe.Pointer(&body[n-a[1]/256*256]))
		if a[1]%256 != 0 {
			at = uintptr(unsafe.Pointer(&body[0]))
		}
		e.objects[at] = m
		set(a[0], at)
	case "cuMemFree_v2", "cuMemFreeHost":
		m, ok := e.objects[a[0]].([]byte)
		if !ok {
			return driver.InvalidValue
		}
		delete(e.objects, a[0])
		syscall.Munmap(m)
	case "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2":
		return copyNow()
	case "cuMemsetD8Async", "cuMemsetD32Async":
		dst, v, n := a[0], a[1], a[2]
		if name == "cuMemsetD32Async" {
			n *= 4
		}
		if v != 0 {
			return driver.InvalidValue
		}
		return e.give(func() driver.Result { clear(bytesAt(dst, n)); return driver.Success })
	case "cuModuleLoadDataEx":
		return e.add(a[0], emulatedTypes()[cString(a[1])])
	case "cuModuleGetFunction":
		which := e.objects[a[1]].(int)
		kernel := cString(a[2])
		fn, err := purego.Dlsym(e.kernels[which].handle, kernel)
		if err != nil {
			return driver.NotFound
		}
		return e.add(a[0], &emulatedKernel{name: kernel, fn: fn, run: e.kernels[which].run, shared: 48 << 10})
	case "cuFuncGetAttribute":
		k := e.objects[a[2]].(*emulatedKernel)
		set(a[0], map[uintptr]int32{0: 1024, 8: k.shared}[a[1]])
	case "cuFuncSetAttribute":
		if a[1] == 8 {
			e.objects[a[0]].(*emulatedKernel).shared = int32(a[2])
		}
	case "cuLaunchKernel":
		k := e.objects[a[0]].(*emulatedKernel)
		grid, block := [3]int32{int32(a[1]), int32(a[2]), int32(a[3])}, a[4]
		size := parameterSize[kernelFamily(k.name)]
		params := append([]byte(nil), bytesAt(*(*uintptr)(*(*unsafe.Pointer)(unsafe.Pointer(&a[9]))), size)...)
		return e.give(func() driver.Result {
			start := time.Now()
			r, _, _ := purego.SyscallN(k.run, k.fn, uintptr(unsafe.Pointer(&grid)), block, uintptr(unsafe.Pointer(&params[0])), size)
			e.spent[k.name] += time.Since(start)
			if r != 0 {
				return driver.LaunchFailed
			}
			return driver.Success
		})
	case "cuTensorMapEncodeTiled":
		set(a[0], emulatedMap(a))
	case "cuTensorMapEncodeIm2col":
		set(a[0], emulatedPixels(a))
	case "cuStreamBeginCapture_v2":
		e.record = new([]func() driver.Result)
	case "cuStreamEndCapture":
		work := *e.record
		e.record = nil
		return e.add(a[1], work)
	case "cuGraphInstantiate_v2":
		return e.add(a[0], e.objects[a[1]])
	case "cuGraphLaunch":
		for _, do := range e.objects[a[0]].([]func() driver.Result) {
			if r := do(); r != driver.Success {
				return r
			}
		}
	}
	return driver.Success
}

// emulatedMap is a tensor map as emulate/pipeline.cpp reads it.
func emulatedMap(a []uintptr) driver.TensorMap {
	m := driver.TensorMap{uint64(a[3]), 1, 1, 1, 0, 0, 1, 1, 1, uint64(a[9])}
	for i := range a[2] {
		m[1+i], m[6+i] = get[uint64](a[4]+8*i), uint64(get[uint32](a[6]+4*i))
		if i > 0 {
			m[3+i] = get[uint64](a[5] + 8*(i-1))
		}
	}
	return m
}

// emulatedPixels is the same in im2col mode.
func emulatedPixels(a []uintptr) driver.TensorMap {
	m := driver.TensorMap{uint64(a[3])}
	for i := range uintptr(4) {
		m[1+i] = get[uint64](a[4] + 8*i)
	}
	for i := range uintptr(3) {
		m[5+i] = get[uint64](a[5] + 8*i)
	}
	two := func(x, y int64) uint64 { return uint64(uint32(x)) | uint64(uint32(y))<<32 }
	low := [2]int64{int64(get[int32](a[6])), int64(get[int32](a[6] + 4))}
	m[8] = two(low[0], low[1])
	m[9] = two(int64(m[2])-1+int64(get[int32](a[7])), int64(m[3])-1+int64(get[int32](a[7]+4)))
	m[10], m[11], m[12] = uint64(a[8]), uint64(a[9]), uint64(get[uint32](a[10]+4))
	return m
}

func cString(at uintptr) string {
	var b []byte
	for i := uintptr(0); ; i++ {
		c := bytesAt(at+i, 1)[0]
		if c == 0 {
			return string(b)
		}
		b = append(b, c)
	}
}
