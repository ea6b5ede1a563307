package drivertest

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/goxl/goxl/kernels/cuda/driver"
)

// node is work that a stream was given: it runs at once, or as part of a graph.
type node struct {
	launch *Launch
	run    func()
}

// give runs work, or records it if the stream captures.
func (f *Fake) give(i *invocation, s uintptr, n node) driver.Result {
	o := f.objects[s]
	if o == nil || o.kind != stream || f.objects[o.parent] != i.context {
		return f.problem(i.name, driver.InvalidHandle, "%#x is no stream of the context", s)
	}
	if o.capture != nil {
		o.capture.nodes = append(o.capture.nodes, n)
		return driver.Success
	}
	f.run(n)
	return driver.Success
}

func (f *Fake) run(n node) {
	if n.run != nil {
		n.run()
	}
	if n.launch != nil {
		f.launches = append(f.launches, *n.launch)
	}
}

// transfer returns a copy whose destination, source or both are device memory.
func transfer(toDevice, fromDevice bool) func(*Fake, *invocation) driver.Result {
	return func(f *Fake, i *invocation) driver.Result {
		side := func(a int, device bool) []byte {
			if device {
				return f.span(i, i.args[a], i.args[2])
			}
			return unsafe.Slice(at[byte](i.args[a]), int(i.args[2]))
		}
		dst, src := side(0, toDevice), side(1, fromDevice)
		if dst == nil || src == nil {
			return driver.InvalidValue
		}
		return f.give(i, i.args[3], node{run: func() { copy(dst, src) }})
	}
}

// fill returns a memset of elements of width bytes.
func fill(width int) func(*Fake, *invocation) driver.Result {
	return func(f *Fake, i *invocation) driver.Result {
		if i.args[0]%uintptr(width) != 0 {
			return f.problem(i.name, driver.InvalidValue, "address %#x is no multiple of %d", i.args[0], width)
		}
		dst := f.span(i, i.args[0], i.args[2]*uintptr(width))
		if dst == nil {
			return driver.InvalidValue
		}
		element := binary.LittleEndian.AppendUint32(nil, uint32(i.args[1]))[:width]
		return f.give(i, i.args[3], node{run: func() { copy(dst, bytes.Repeat(element, len(dst)/width)) }})
	}
}

func synchronizeStream(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 0, stream)
	if r == driver.Success && o.capture != nil {
		return f.problem(i.name, driver.CaptureUnsupported, "the stream is capturing")
	}
	return r
}

func waitEvent(f *Fake, i *invocation) driver.Result {
	if _, r := f.get(i, 1, event); r != driver.Success {
		return r
	}
	_, r := f.get(i, 0, stream)
	return r
}

func recordEvent(f *Fake, i *invocation) driver.Result {
	e, r := f.get(i, 0, event)
	if r != driver.Success {
		return r
	}
	return f.give(i, i.args[1], node{run: func() { e.recorded = true }})
}

func useEvent(f *Fake, i *invocation) driver.Result {
	_, r := f.get(i, 0, event)
	return r
}

// elapsed is one millisecond between any two recorded events.
func elapsed(f *Fake, i *invocation) driver.Result {
	for a := 1; a <= 2; a++ {
		e, r := f.get(i, a, event)
		if r != driver.Success {
			return r
		}
		if !e.recorded {
			return f.problem(i.name, driver.InvalidHandle, "argument %d was never recorded", a)
		}
	}
	*at[float32](i.args[0]) = 1
	return driver.Success
}

func launchKernel(f *Fake, i *invocation) driver.Result {
	dim := func(a int) driver.Dim {
		return driver.Dim{X: uint32(i.args[a]), Y: uint32(i.args[a+1]), Z: uint32(i.args[a+2])}
	}
	return f.launch(i, i.args[9], Launch{Grid: dim(1), Block: dim(4), DynamicShared: int(i.args[7]), Stream: i.args[8]})
}

// launch gives a kernel to its stream. The driver copies the arguments now, and so does the fake.
func (f *Fake) launch(i *invocation, arguments uintptr, l Launch) driver.Result {
	o, r := f.get(i, 0, function)
	if r != driver.Success {
		return r
	}
	if l.DynamicShared > o.dynamicShared {
		return f.problem(i.name, driver.InvalidValue, "%d bytes of dynamic shared memory, the kernel has %d", l.DynamicShared, o.dynamicShared)
	}
	if f.Quiet {
		return driver.Success
	}
	l.Kernel = o.name
	for n, size := range f.Kernels[o.name] {
		p := *at[uintptr](arguments + 8*uintptr(n))
		l.Arguments = append(l.Arguments, bytes.Clone(unsafe.Slice(at[byte](p), size)))
	}
	kept := l
	return f.give(i, l.Stream, node{launch: &kept})
}

func beginCapture(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 0, stream)
	if r != driver.Success {
		return r
	}
	if o.capture != nil {
		return f.problem(i.name, driver.InvalidValue, "the stream is capturing")
	}
	o.capture = &object{kind: graph}
	return driver.Success
}

func endCapture(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 0, stream)
	if r != driver.Success {
		return r
	}
	if o.capture == nil {
		return f.problem(i.name, driver.InvalidValue, "the stream is not capturing")
	}
	g := o.capture
	o.capture = nil
	return f.add(i, at[uintptr](i.args[1]), g)
}

func instantiate(f *Fake, i *invocation) driver.Result {
	g, r := f.get(i, 1, graph)
	if r != driver.Success {
		return r
	}
	return f.add(i, at[uintptr](i.args[0]), &object{kind: graphExec, nodes: g.nodes})
}

func launchGraph(f *Fake, i *invocation) driver.Result {
	x, r := f.get(i, 0, graphExec)
	if r != driver.Success {
		return r
	}
	for _, n := range x.nodes {
		if r := f.give(i, i.args[1], n); r != driver.Success {
			return r
		}
	}
	return driver.Success
}
