// Package drivertest has a fake libcuda for tests without a device: it implements the driver's own function set, checks
// arguments, handles, threads and lifetimes, records calls and injects errors. It executes no kernels; copies and fills
// it does. What lies above the driver runs under test as it does on hardware.
package drivertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// Device is what the fake says of one device. Sizes in bytes.
type Device struct {
	Name            string
	Capability      driver.Capability
	Memory          int64
	Multiprocessors int
	SharedPerBlock  int
	L2              int
}

// H100 is a device like the card of that name, with 1 GiB of memory.
var H100 = Device{Name: "Fake H100", Capability: driver.Capability{Major: 9}, Memory: 1 << 30, Multiprocessors: 132,
	SharedPerBlock: 232448, L2: 50 << 20}

// RTX3060 is a device like the card of that name, with 1 GiB of memory.
var RTX3060 = Device{Name: "Fake RTX 3060", Capability: driver.Capability{Major: 8, Minor: 6}, Memory: 1 << 30, Multiprocessors: 28,
	SharedPerBlock: 101376, L2: 3 << 20}

// Call is a recorded call.
type Call struct {
	Name string
	Args []uintptr
}

// Launch is a recorded launch of a kernel, by itself or as part of a graph.
type Launch struct {
	Kernel        string
	Grid, Block   driver.Dim
	DynamicShared int
	Stream        uintptr
	Arguments     [][]byte // if Kernels tells their sizes
}

// Fake is a libcuda. Its fields are set before driver.New; its methods are safe for concurrent use.
type Fake struct {
	Version driver.Version
	Devices []Device
	Missing []string         // functions that the library lacks
	Kernels map[string][]int // the kernels that every module has, with the sizes of their parameters; nil: any kernel, sizes unknown
	Quiet   bool             // record nothing, so that a call allocates nothing

	mu       sync.Mutex
	calls    []Call
	launches []Launch
	problems []string
	faults   []fault
	current  map[int]uintptr // context by thread
	objects  map[uintptr]*object
	fault    driver.Result // of any context; the process makes no more
	next     uintptr
	address  uintptr

	invocation invocation // here so that a call allocates nothing
}

type fault struct {
	call string
	left int // calls until it strikes
	code driver.Result
}

// New returns the fake of a current driver with the given devices.
func New(devices ...Device) *Fake {
	return &Fake{Version: 13000, Devices: devices, current: map[int]uintptr{}, objects: map[uintptr]*object{}, next: 0x1000,
		address: 0x7f0000000000}
}

// Fail makes the nth call of a function from now on (1 is the next) return code without doing anything. A code that
// driver.IsLost knows also ends the context that is current, which returns that code until it is destroyed, and no other can be made, as
// with the real driver.
func (f *Fake) Fail(call string, nth int, code driver.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fault{call, nth, code})
}

// Calls returns the calls made so far, the arguments as they were passed.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Count is how many calls of a function were recorded.
func (f *Fake) Count(call string) int {
	n := 0
	for _, c := range f.Calls() {
		if c.Name == call {
			n++
		}
	}
	return n
}

// Launches returns the kernels that were launched so far, those of launched graphs included.
func (f *Fake) Launches() []Launch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.launches)
}

// Problems returns what no correct program does: wrong handles, copies outside of an allocation, no current context.
func (f *Fake) Problems() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.problems)
}

// Live returns what was made and not destroyed, sorted: "3 memory", "1 stream".
func (f *Fake) Live() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := map[kind]int{}
	for _, o := range f.objects {
		if o.kind != function { // ends with its module
			count[o.kind]++
		}
	}
	var live []string
	for k, n := range count {
		live = append(live, fmt.Sprintf("%d %s", n, k))
	}
	slices.Sort(live)
	return live
}

// Lookup is of driver.Library.
func (f *Fake) Lookup(name string) (uintptr, bool) {
	i := slices.IndexFunc(functions, func(fn entry) bool { return fn.name == name })
	unknown := name == "cuFuncGetParamInfo" && f.Kernels == nil // nothing to answer from
	return uintptr(i + 1), i >= 0 && !unknown && !slices.Contains(f.Missing, name)
}

// Call is of driver.Library.
func (f *Fake) Call(fn uintptr, args []uintptr) driver.Result {
	e := functions[fn-1]
	if !f.Quiet {
		runtime.Gosched() // lets a goroutine that is not locked to its thread change it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.Quiet {
		f.calls = append(f.calls, Call{e.name, slices.Clone(args)})
	}
	if len(args) != e.arguments {
		return f.problem(e.name, driver.InvalidValue, "%d arguments, want %d", len(args), e.arguments)
	}
	var c *object
	if e.inContext {
		c = f.objects[f.current[thread()]]
		if c == nil || c.kind != contextKind {
			return f.problem(e.name, driver.InvalidContext, "no context is current on this thread")
		}
	}
	for i := range f.faults {
		x := &f.faults[i]
		if x.call != e.name || x.left <= 0 {
			continue
		}
		if x.left--; x.left == 0 {
			if c != nil && driver.IsLost(&driver.Error{Code: x.code}) {
				c.fault, f.fault = x.code, x.code
			}
			return x.code
		}
	}
	if c != nil && c.fault != driver.Success {
		return c.fault
	}
	f.invocation = invocation{name: e.name, context: c, args: args}
	return e.do(f, &f.invocation)
}

// invocation is what a function of the fake works on.
type invocation struct {
	name    string
	context *object // the current one, nil for functions that need none
	args    []uintptr
}

// problem notes a mistake of the program and returns the code that the driver would.
func (f *Fake) problem(call string, code driver.Result, format string, args ...any) driver.Result {
	f.problems = append(f.problems, call+": "+fmt.Sprintf(format, args...))
	return code
}

// at is what an argument points to; nil for 0.
func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// text is the zero-terminated string that an argument points to.
func text(p uintptr) string {
	var b []byte
	for q := at[byte](p); q != nil && *q != 0; q = (*byte)(unsafe.Add(unsafe.Pointer(q), 1)) {
		b = append(b, *q)
	}
	return string(b)
}
