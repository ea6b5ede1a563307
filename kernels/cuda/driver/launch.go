package driver

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Dim is a size in x, y and z.
type Dim struct{ X, Y, Z uint32 }

func (d Dim) String() string { return fmt.Sprintf("%dx%dx%d", d.X, d.Y, d.Z) }

// Config is the shape of a launch. In Grid and Block every number is at least 1.
type Config struct {
	Grid          Dim // blocks
	Block         Dim // threads
	DynamicShared int // bytes a block, beyond 48 KB only after Function.SetMaxDynamicShared
	// Cluster is blocks in a cluster, each number a divisor of the grid's; the zero value is no cluster. Capability 9.0, CUDA 11.8.
	Cluster Dim
	// Programmatic lets the kernel start before the one ahead of it in the stream has ended: it must wait by itself
	// (griddepcontrol.wait) before it touches what that one writes. Capability 9.0, CUDA 11.8.
	Programmatic bool
}

// launchConfig is CUlaunchConfig.
type launchConfig struct {
	grid, block   Dim
	dynamicShared uint32
	stream        uintptr
	attributes    *launchAttribute
	count         uint32
}

// launchAttribute is CUlaunchAttribute.
type launchAttribute struct {
	id    uint32
	_     uint32
	value [16]uint32
}

// CUlaunchAttributeID of cuda.h.
const (
	attributeCluster      = 4
	attributeProgrammatic = 6
)

// Launch is a kernel with its shape and arguments, ready to be launched any number of times without an allocation. It is for one
// goroutine at a time.
type Launch struct {
	function   *Function
	config     Config
	arguments  arguments
	symbol     symbol
	extended   launchConfig // for cuLaunchKernelEx
	attributes [2]launchAttribute
	frame      [11]uintptr // arguments of the call itself
	length     int
}

// Prepare checks a launch and packs its arguments, which are values of the kernel's own parameter types: Ptr for a pointer, int32
// for an int, float32, uint16 for the bits of a half, TensorMap, structs of these. An int has no stated width and is refused.
func (f *Function) Prepare(config Config, args ...any) (*Launch, error) {
	l := &Launch{function: f, config: config}
	fail := func(err error) (*Launch, error) { return nil, fmt.Errorf("cuda: kernel %s: %w", f.name, err) }
	var err error
	if err = config.check(f.context.device.Capability); err != nil {
		return fail(err)
	}
	info, err := f.Info()
	if err != nil {
		return nil, err
	}
	if n := int64(config.Block.X) * int64(config.Block.Y) * int64(config.Block.Z); n > int64(info.MaxThreads) {
		return fail(fmt.Errorf("block is %v, %d threads, want at most %d", config.Block, n, info.MaxThreads))
	}
	if config.DynamicShared < 0 || config.DynamicShared > info.MaxDynamicShared {
		return fail(fmt.Errorf("dynamic shared memory is %d bytes, want 0 to %d; SetMaxDynamicShared raises that",
			config.DynamicShared, info.MaxDynamicShared))
	}
	if l.arguments, err = pack(args); err != nil {
		return fail(err)
	}
	if err = l.arguments.check(f); err != nil {
		return fail(err)
	}
	if config.Cluster == (Dim{}) && !config.Programmatic {
		l.symbol, l.length = cuLaunchKernel, 11
		g, b := config.Grid, config.Block
		l.frame = [11]uintptr{f.handle, uintptr(g.X), uintptr(g.Y), uintptr(g.Z), uintptr(b.X), uintptr(b.Y), uintptr(b.Z),
			uintptr(config.DynamicShared)}
		return l, nil
	}
	if err = f.context.driver.need(cuLaunchKernelEx); err != nil {
		return fail(err)
	}
	l.symbol, l.length = cuLaunchKernelEx, 4
	l.extended = launchConfig{grid: config.Grid, block: config.Block, dynamicShared: uint32(config.DynamicShared)}
	if c := config.Cluster; c != (Dim{}) {
		l.attribute(attributeCluster, c.X, c.Y, c.Z)
	}
	if config.Programmatic {
		l.attribute(attributeProgrammatic, 1)
	}
	return l, nil
}

func (l *Launch) attribute(id uint32, value ...uint32) {
	a := &l.attributes[l.extended.count]
	a.id = id
	copy(a.value[:], value)
	l.extended.count++
	l.extended.attributes = &l.attributes[0]
}

// check reports what of the shape no device would take, and what this one would not.
func (c *Config) check(have Capability) error {
	const maxGridYZ, maxBlockZ = 65535, 64
	g, b, k := c.Grid, c.Block, c.Cluster
	switch {
	case g.X < 1 || g.Y < 1 || g.Z < 1 || g.X > 1<<31-1 || g.Y > maxGridYZ || g.Z > maxGridYZ:
		return fmt.Errorf("grid is %v, want 1x1x1 to %dx%dx%d", g, 1<<31-1, maxGridYZ, maxGridYZ)
	case b.X < 1 || b.Y < 1 || b.Z < 1 || b.Z > maxBlockZ:
		return fmt.Errorf("block is %v, want every number at least 1 and z at most %d", b, maxBlockZ)
	case (k != Dim{} || c.Programmatic) && !have.AtLeast(9, 0):
		return fmt.Errorf("clusters and programmatic launches need compute capability 9.0, the device has %v", have)
	case k == Dim{}:
		return nil
	case k.X < 1 || k.Y < 1 || k.Z < 1 || g.X%k.X != 0 || g.Y%k.Y != 0 || g.Z%k.Z != 0:
		return fmt.Errorf("cluster is %v, want numbers that divide the grid's, %v", k, g)
	}
	return nil
}

// Launch queues the kernel. That it failed while running comes out of a later call.
func (s *Stream) Launch(l *Launch) error {
	if s.context != l.function.context {
		return fmt.Errorf("cuda: kernel %s belongs to another context than the stream", l.function.name)
	}
	// The addresses are taken anew for each launch, from objects that l keeps alive until the call has returned.
	var values uintptr
	if len(l.arguments.values) > 0 {
		values = uintptr(unsafe.Pointer(&l.arguments.values[0]))
	}
	if l.symbol == cuLaunchKernel {
		l.frame[8], l.frame[9] = s.handle, values
	} else {
		l.extended.stream = s.handle
		l.frame[0], l.frame[1], l.frame[2] = uintptr(unsafe.Pointer(&l.extended)), l.function.handle, values
	}
	err := s.context.invoke(l.symbol, l.frame[:l.length])
	runtime.KeepAlive(l)
	if err != nil {
		return fmt.Errorf("kernel %s, grid %v, block %v, dynamic shared memory %d: %w",
			l.function.name, l.config.Grid, l.config.Block, l.config.DynamicShared, err)
	}
	return nil
}
