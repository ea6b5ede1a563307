package nn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// Network is the weights of one component on a device and the programs compiled for them.
type Network struct {
	dev     kernels.Device
	weights kernels.Weights
	options kernels.Options

	overflowed func(error) // see OnOverflow

	mu       sync.Mutex
	manager  Manager       // nil if nobody is
	programs []*Program    // the last used first
	packed   kernels.DType // the precision that the weights were last used in, 0 is the options'
}

// Manager makes room on a device whose memory does not hold everything at once.
type Manager interface {
	// Before is called before each run of a program.
	Before(ctx context.Context, n *Network, p *Program) error
	// Full is called when there was no memory to compile a program of n; compiling is tried again if it returns nil, once.
	Full(n *Network) error
}

// Manage puts the network's memory under a manager. It is called before the first program is.
func (n *Network) Manage(m Manager) { n.manager = m }

// keptPrograms bounds the cache: a server draws a few sizes again and again, and a program holds memory of its own.
const keptPrograms = 4

// NewNetwork puts a bound source on a device.
func NewNetwork(dev kernels.Device, src kernels.Source, o kernels.Options) (*Network, error) {
	w, err := dev.NewWeights(src)
	if err != nil {
		return nil, err
	}
	return &Network{dev: dev, weights: w, options: o}, nil
}

// Program returns the program for key, building and compiling it if it is not cached. The key must tell apart everything that build depends on.
// The program stays valid until keptPrograms other keys have been used, or Trim finds it not to be the last used one.
func (n *Network) Program(key string, build func(*Builder)) (*Program, error) {
	return n.ProgramIn(0, key, build)
}

// ProgramIn is Program in a precision of its own; 0 is the network's. Programs of another precision than the last that ran make the weights come to the device anew.
func (n *Network) ProgramIn(precision kernels.DType, key string, build func(*Builder)) (*Program, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	options := n.options
	if precision != 0 {
		options.Precision = precision
	}
	if i := slices.IndexFunc(n.programs, func(p *Program) bool { return p.key == key && p.precision == precision }); i >= 0 {
		return n.front(i), nil
	}
	g, err := Build(n.dev, build)
	if err != nil {
		return nil, err
	}
	compiled, err := n.dev.Compile(g.Plan, n.weights, options)
	if errors.Is(err, kernels.ErrMemory) && n.manager != nil {
		if err := errors.Join(n.trim(1), n.manager.Full(n)); err != nil {
			return nil, err
		}
		compiled, err = n.dev.Compile(g.Plan, n.weights, options)
	}
	if err != nil {
		return nil, err
	}
	p := &Program{Program: compiled, network: n, key: key, precision: precision, plan: g.Plan, named: g.Named}
	n.programs = append([]*Program{p}, n.programs...)
	if err := n.trim(keptPrograms); err != nil {
		return nil, fmt.Errorf("closing the program of another size: %w", err)
	}
	return p, nil
}

// front makes a cached program the last used one.
func (n *Network) front(i int) *Program {
	p := n.programs[i]
	copy(n.programs[1:i+1], n.programs[:i])
	n.programs[0] = p
	return p
}

// Discard closes a program and forgets it, as when there is no room to run it.
func (p *Program) Discard() error {
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.programs = slices.DeleteFunc(n.programs, func(q *Program) bool { return q == p })
	return p.Close()
}

// Trim closes the cached programs but the last used one, for the memory of their own that they hold.
func (n *Network) Trim() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trim(1)
}

// Spare is what Trim gives back of the device's memory.
func (n *Network) Spare() (bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.programs {
		if i > 0 {
			bytes += p.Bytes()
		}
	}
	return bytes
}

// trim closes all programs but the last used ones.
func (n *Network) trim(keep int) error {
	var failed []error
	for len(n.programs) > keep {
		last := len(n.programs) - 1
		failed = append(failed, n.programs[last].Close())
		n.programs = n.programs[:last]
	}
	return errors.Join(failed...)
}

// Bytes is what the weights take of the device's memory now.
func (n *Network) Bytes() int64 { return n.weights.Bytes() }

// SetResident gives the weights' memory back or takes it again; see kernels.Weights.
func (n *Network) SetResident(ctx context.Context, on bool) error {
	return n.weights.SetResident(ctx, on)
}

// Close frees programs and weights.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.trim(0), n.weights.Close())
}

// Program is a compiled graph whose inputs and outputs go by name.
type Program struct {
	kernels.Program
	network   *Network
	key       string
	precision kernels.DType // 0 is the network's
	plan      *kernels.Plan
	named     map[string]kernels.Value
}

// Run computes the program once; see kernels.Program. The network's manager, if there is one, makes room first.
func (p *Program) Run(ctx context.Context) error {
	if err := p.network.use(ctx, p); err != nil {
		return err
	}
	if m := p.network.manager; m != nil {
		if err := m.Before(ctx, p.network, p); err != nil {
			return err
		}
	}
	return p.Program.Run(ctx)
}

// use makes a program the last used one, and weights of another precision than its own leave: there may be no room for both.
func (n *Network) use(ctx context.Context, p *Program) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.programs, p); i > 0 {
		n.front(i)
	}
	if n.packed == p.precision {
		return nil
	}
	if err := n.weights.SetResident(ctx, false); err != nil {
		return err
	}
	n.packed = p.precision
	return nil
}

// Plan returns what the program was compiled from. The caller must not change it.
func (p *Program) Plan() *kernels.Plan { return p.plan }

// value looks up a name and checks type and length.
func (p *Program) value(name string, dtype kernels.DType, n int) (kernels.Value, error) {
	v, ok := p.named[name]
	if !ok {
		return 0, fmt.Errorf("program %s has no value %q", p.key, name)
	}
	if t := p.plan.Tensors[v]; t.DType != dtype || t.Len() != n {
		return 0, fmt.Errorf("program %s: %d values of %s for %v", p.key, n, dtype, t)
	}
	return v, nil
}

// SetFloats writes an input.
func (p *Program) SetFloats(name string, x ...float32) error {
	v, err := p.value(name, kernels.F32, len(x))
	if err != nil {
		return err
	}
	return p.Write(v, bytesOf(x))
}

// SetInts writes an input of ids or rows.
func (p *Program) SetInts(name string, x ...int32) error {
	v, err := p.value(name, kernels.I32, len(x))
	if err != nil {
		return err
	}
	return p.Write(v, bytesOf(x))
}

// SetPixels writes an input of pixels.
func (p *Program) SetPixels(name string, x ...uint8) error {
	v, err := p.value(name, kernels.U8, len(x))
	if err != nil {
		return err
	}
	return p.Write(v, x)
}

// Pixels reads an output of pixels.
func (p *Program) Pixels(ctx context.Context, name string, dst []uint8) error {
	v, err := p.value(name, kernels.U8, len(dst))
	if err != nil {
		return err
	}
	return p.Read(ctx, v, dst)
}

// Floats reads an output or a state.
func (p *Program) Floats(ctx context.Context, name string, dst []float32) error {
	v, err := p.value(name, kernels.F32, len(dst))
	if err != nil {
		return err
	}
	return p.Read(ctx, v, bytesOf(dst))
}

// bytesOf views numbers as the bytes that a device reads and writes in place. Every machine goxl builds for is little-endian.
func bytesOf[T float32 | int32](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*4)
}
