package drivertest

import (
	"bytes"
	"unsafe"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// kind is what a handle stands for.
type kind string

const (
	contextKind kind = "context"
	memory      kind = "memory"
	host        kind = "host memory"
	module      kind = "module"
	function    kind = "function"
	stream      kind = "stream"
	event       kind = "event"
	graph       kind = "graph"
	graphExec   kind = "graph instance"
)

// object is what a handle stands for; which fields mean something depends on the kind.
type object struct {
	kind          kind
	parent        uintptr // context, or the module of a function
	fault         driver.Result
	device        int
	bytes         []byte
	name          string
	dynamicShared int
	recorded      bool
	capture       *object // graph that the stream records
	nodes         []node
}

// add makes an object of the current context and stores its handle.
func (f *Fake) add(i *invocation, at *uintptr, o *object) driver.Result {
	if at == nil {
		return f.problem(i.name, driver.InvalidValue, "no place for the handle")
	}
	f.next += 16
	if o.parent == 0 {
		o.parent = f.current[thread()]
	}
	f.objects[f.next] = o
	*at = f.next
	return driver.Success
}

// get returns the object of argument a, which must be of kind k and of the current context.
func (f *Fake) get(i *invocation, a int, k kind) (*object, driver.Result) {
	o := f.objects[i.args[a]]
	if o == nil || o.kind != k {
		return nil, f.problem(i.name, driver.InvalidHandle, "argument %d is %#x, want a %s", a, i.args[a], k)
	}
	owner := o.parent
	if k == function {
		owner = f.objects[owner].parent
	}
	if f.objects[owner] != i.context {
		return nil, f.problem(i.name, driver.InvalidHandle, "argument %d is a %s of another context", a, k)
	}
	return o, driver.Success
}

// destroys returns a function that ends the object of its only argument, and what belongs to it.
func destroys(k kind) func(*Fake, *invocation) driver.Result {
	return func(f *Fake, i *invocation) driver.Result {
		if _, r := f.get(i, 0, k); r != driver.Success {
			return r
		}
		f.drop(i.args[0])
		return driver.Success
	}
}

func (f *Fake) drop(h uintptr) {
	delete(f.objects, h)
	for child, o := range f.objects {
		if o.parent == h {
			f.drop(child)
		}
	}
}

func getDevice(f *Fake, i *invocation) driver.Result {
	n := int(int32(i.args[1]))
	if n < 0 || n >= len(f.Devices) {
		return driver.InvalidDevice
	}
	*at[int32](i.args[0]) = int32(n)
	return driver.Success
}

func deviceName(f *Fake, i *invocation) driver.Result {
	n := copy(unsafe.Slice(at[byte](i.args[0]), int(i.args[1])-1), f.Devices[i.args[2]].Name)
	*at[byte](i.args[0] + uintptr(n)) = 0
	return driver.Success
}

func deviceAttribute(f *Fake, i *invocation) driver.Result {
	d := f.Devices[i.args[2]]
	values := map[uintptr]int{16: d.Multiprocessors, 38: d.L2, 75: d.Capability.Major, 76: d.Capability.Minor,
		97: d.SharedPerBlock}
	v, ok := values[i.args[1]]
	if !ok {
		return f.problem(i.name, driver.InvalidValue, "attribute %d is unknown to the fake", i.args[1])
	}
	*at[int32](i.args[0]) = int32(v)
	return driver.Success
}

func createContext(f *Fake, i *invocation) driver.Result {
	if f.fault != driver.Success {
		return f.fault
	}
	o := &object{kind: contextKind, device: int(i.args[2])}
	r := f.add(i, at[uintptr](i.args[0]), o)
	o.parent = 0
	f.current[thread()] = f.next
	return r
}

func destroyContext(f *Fake, i *invocation) driver.Result {
	o := f.objects[i.args[0]]
	if o == nil || o.kind != contextKind {
		return f.problem(i.name, driver.InvalidContext, "argument 0 is %#x, want a context", i.args[0])
	}
	f.drop(i.args[0])
	return o.fault
}

func setCurrent(f *Fake, i *invocation) driver.Result {
	if o := f.objects[i.args[0]]; i.args[0] != 0 && (o == nil || o.kind != contextKind) {
		return f.problem(i.name, driver.InvalidContext, "argument 0 is %#x, want a context", i.args[0])
	}
	f.current[thread()] = i.args[0]
	return driver.Success
}

// free is what the context's device has left.
func (f *Fake) free(c *object) int64 {
	left := f.Devices[c.device].Memory
	for _, o := range f.objects {
		if p := f.objects[o.parent]; o.kind == memory && p != nil && p.device == c.device {
			left -= int64(len(o.bytes))
		}
	}
	return left
}

func memoryInfo(f *Fake, i *invocation) driver.Result {
	*at[uint64](i.args[0]), *at[uint64](i.args[1]) = uint64(f.free(i.context)), uint64(f.Devices[i.context.device].Memory)
	return driver.Success
}

func allocate(f *Fake, i *invocation) driver.Result {
	n := int64(i.args[1])
	if n > f.free(i.context) {
		return driver.OutOfMemory
	}
	p := f.address
	f.address += (uintptr(n) + 0x3ff) &^ 0xff // at least 768 bytes between allocations
	*at[uintptr](i.args[0]) = p
	f.objects[p] = &object{kind: memory, parent: f.current[thread()], bytes: make([]byte, n)}
	return driver.Success
}

func allocateHost(f *Fake, i *invocation) driver.Result {
	b := make([]byte, i.args[1])
	p := unsafe.Pointer(&b[0])
	*at[unsafe.Pointer](i.args[0]) = p
	f.objects[uintptr(p)] = &object{kind: host, parent: f.current[thread()], bytes: b}
	return driver.Success
}

// span is n bytes of device memory at p, or nil and a problem.
func (f *Fake) span(i *invocation, p, n uintptr) []byte {
	for base, o := range f.objects {
		if o.kind == memory && p >= base && p-base <= uintptr(len(o.bytes)) && n <= uintptr(len(o.bytes))-(p-base) {
			if f.objects[o.parent] != i.context {
				break
			}
			return o.bytes[p-base:][:n]
		}
	}
	f.problem(i.name, driver.InvalidValue, "%d bytes at %#x are in no allocation of the context", n, p)
	return nil
}

func loadModule(f *Fake, i *invocation) driver.Result {
	image := at[byte](i.args[1])
	if image == nil || *image == 0 {
		return driver.InvalidImage
	}
	// Text that does not name a version is none that the compiler takes; its log goes where option 5 says.
	if *image != 0x7f && *image != 0x50 && !bytes.Contains([]byte(text(i.args[1])), []byte(".version")) {
		values := at[[2]uintptr](i.args[4])
		copy(unsafe.Slice(at[byte](values[0]), values[1]), "ptxas fatal: Missing .version directive\x00")
		return driver.InvalidPTX
	}
	return f.add(i, at[uintptr](i.args[0]), &object{kind: module})
}

func moduleFunction(f *Fake, i *invocation) driver.Result {
	if _, r := f.get(i, 1, module); r != driver.Success {
		return r
	}
	name := text(i.args[2])
	if _, ok := f.Kernels[name]; f.Kernels != nil && !ok {
		return driver.NotFound
	}
	return f.add(i, at[uintptr](i.args[0]), &object{kind: function, parent: i.args[1], name: name, dynamicShared: 48 << 10})
}
