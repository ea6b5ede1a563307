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
}

// Launch is a kernel with its shape and arguments, ready to be launched any number of times without an allocation. It is for one
// goroutine at a time.
type Launch struct {
	function  *Function
	config    Config
	arguments arguments
	frame     [11]uintptr // arguments of the call itself
}

// Prepare checks a launch and packs its arguments, which are values of the kernel's own parameter types: Ptr for a pointer, int32
// for an int, float32, uint16 for the bits of a half, TensorMap, structs of these. An int has no stated width and is refused.
func (f *Function) Prepare(config Config, args ...any) (*Launch, error) {
	l := &Launch{function: f, config: config}
	fail := func(err error) (*Launch, error) { return nil, fmt.Errorf("cuda: kernel %s: %w", f.name, err) }
	var err error
	if err = config.check(); err != nil {
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
	g, b := config.Grid, config.Block
	l.frame = [11]uintptr{f.handle, uintptr(g.X), uintptr(g.Y), uintptr(g.Z), uintptr(b.X), uintptr(b.Y), uintptr(b.Z),
		uintptr(config.DynamicShared)}
	return l, nil
}

// check reports what of the shape no device would take.
func (c *Config) check() error {
	const maxGridYZ, maxBlockZ = 65535, 64
	g, b := c.Grid, c.Block
	switch {
	case g.X < 1 || g.Y < 1 || g.Z < 1 || g.X > 1<<31-1 || g.Y > maxGridYZ || g.Z > maxGridYZ:
		return fmt.Errorf("grid is %v, want 1x1x1 to %dx%dx%d", g, 1<<31-1, maxGridYZ, maxGridYZ)
	case b.X < 1 || b.Y < 1 || b.Z < 1 || b.Z > maxBlockZ:
		return fmt.Errorf("block is %v, want every number at least 1 and z at most %d", b, maxBlockZ)
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
	l.frame[8], l.frame[9] = s.handle, values
	err := s.context.invoke(cuLaunchKernel, l.frame[:])
	runtime.KeepAlive(l)
	if err != nil {
		return fmt.Errorf("kernel %s, grid %v, block %v, dynamic shared memory %d: %w",
			l.function.name, l.config.Grid, l.config.Block, l.config.DynamicShared, err)
	}
	return nil
}
