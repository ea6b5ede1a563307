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
	source  kernels.Source
	weights kernels.Weights
	options kernels.Options

	overflowed func(error) // see OnOverflow

	mu       sync.Mutex
	manager  Manager // nil without
	update   *kernels.Update
	programs []*Program    // the last used first
	packed   kernels.DType // the precision that the weights were last used in, 0 is the options'
	numbered []any         // see Number
}

// Manager makes room on a device whose memory does not hold everything at once.
type Manager interface {
	// Before is called before each run of a program.
	Before(ctx context.Context, n *Network, p *Program) error
	// Full is called when there was no memory to compile a program of n; compiling is tried again if it returns nil,
	// once.
	Full(n *Network) error
}

// Manage puts the network's memory under a manager. It is called before the first program is.
func (n *Network) Manage(m Manager) { n.manager = m }

// NewNetwork puts a bound source on a device.
func NewNetwork(dev kernels.Device, src kernels.Source, o kernels.Options) (*Network, error) {
	w, err := dev.NewWeights(src)
	if err != nil {
		return nil, err
	}
	return &Network{dev: dev, source: src, weights: w, options: o}, nil
}

// Program returns the program for key, building and compiling it if it is not cached. The key must tell apart
// everything that build depends on; taps need not be in it. The program stays valid until keptPrograms other keys have
// been used, or Trim finds it not to be the last used one.
func (n *Network) Program(key string, build func(*Builder), taps ...Tap) (*Program, error) {
	return n.ProgramIn(0, key, build, taps...)
}

// ProgramIn is Program in a precision of its own; 0 is the network's. Programs of another precision than the last that
// ran make the weights come to the device anew.
func (n *Network) ProgramIn(precision kernels.DType, key string, build func(*Builder), taps ...Tap) (*Program, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key += tapKey(taps)
	options := n.options
	if precision != 0 {
		options.Precision = precision
	}
	if i := slices.IndexFunc(n.programs, func(p *Program) bool { return p.key == key && p.precision == precision }); i >= 0 {
		return n.front(i).with(taps), nil
	}
	p := &Program{network: n, key: key, precision: precision}
	if err := n.compileProgram(p, build, taps, options); err != nil {
		return nil, err
	}
	n.programs = append([]*Program{p}, n.programs...)
	if err := n.trim(keptPrograms); err != nil {
		return nil, fmt.Errorf("closing the program of another size: %w", err)
	}
	return p.with(taps), nil
}

// compile compiles a plan; where there is no memory for it, other programs close and the manager makes room.
func (n *Network) compile(plan *kernels.Plan, o kernels.Options) (kernels.Program, error) {
	compiled, err := n.dev.Compile(plan, n.weights, o)
	if errors.Is(err, kernels.ErrMemory) && n.manager != nil {
		if err := errors.Join(n.trim(1), n.manager.Full(n)); err != nil {
			return nil, err
		}
		compiled, err = n.dev.Compile(plan, n.weights, o)
	}
	return compiled, err
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
	n.programs = slices.DeleteFunc(n.programs, func(q *Program) bool { return q == p.cached() })
	return p.Close()
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

	tapped  *tapped            // nil without taps
	aliases map[string]string  // see Builder
	origin  *Program           // the cached program that this one is, with other functions; nil if it is cached itself
	taps    []Tap              // whose functions Run calls
	given   map[string]*Tensor // what the last run went on with, by replaced path
}

// with is the program with the functions of these taps.
func (p *Program) with(taps []Tap) *Program {
	if len(taps) == 0 {
		return p
	}
	q := *p
	q.origin, q.taps = p, slices.Clone(taps)
	return &q
}

// cached is the program that the network knows.
func (p *Program) cached() *Program {
	if p.origin != nil {
		return p.origin
	}
	return p
}

// Close frees the program's memory.
func (p *Program) Close() error {
	return errors.Join(p.tapped.close(), p.Program.Close())
}

// Bytes is the memory of this program alone; see kernels.Program.
func (p *Program) Bytes() int64 {
	n := p.Program.Bytes()
	for s := range p.tapped.programs() {
		n += s.Bytes()
	}
	return n
}

// Run computes the program once and calls the functions of its taps; see kernels.Program. The network's manager, if
// there is one, makes room first.
func (p *Program) Run(ctx context.Context) error {
	if err := p.network.use(ctx, p); err != nil {
		return err
	}
	if m := p.network.manager; m != nil {
		if err := m.Before(ctx, p.network, p); err != nil {
			return err
		}
	}
	if p.tapped != nil {
		return p.runTapped(ctx)
	}
	return p.Program.Run(ctx)
}

// use makes a program the last used one, and evicts weights of another precision than its own: there may be no room for
// both.
func (n *Network) use(ctx context.Context, p *Program) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.programs, p.cached()); i > 0 {
		n.front(i)
	}
	return n.packIn(ctx, p.precision)
}

// packIn evicts weights of another precision than the one that they are used in next; 0 is the network's.
func (n *Network) packIn(ctx context.Context, precision kernels.DType) error {
	if n.packed == precision {
		return nil
	}
	if err := n.weights.SetResident(ctx, false); err != nil {
		return err
	}
	n.packed = precision
	return nil
}

// Footprint is what the program takes of the device's memory to run, zero on a device that has none of its own.
func (p *Program) Footprint() kernels.Footprint {
	all := p.Program.Footprint()
	for s := range p.tapped.programs() {
		f := s.Footprint()
		all.Weights, all.Missing = max(all.Weights, f.Weights), max(all.Missing, f.Missing)
		all.Arena = max(all.Arena, f.Arena)
	}
	return all
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
	return p.set(name, kernels.F32, len(x), bytesOf(x))
}

// SetInts writes an input of ids or rows.
func (p *Program) SetInts(name string, x ...int32) error {
	return p.set(name, kernels.I32, len(x), bytesOf(x))
}

// SetPixels writes an input of pixels.
func (p *Program) SetPixels(name string, x ...uint8) error { return p.set(name, kernels.U8, len(x), x) }

func (p *Program) set(name string, dtype kernels.DType, n int, data []byte) error {
	v, err := p.value(name, dtype, n)
	if err != nil {
		return err
	}
	if err := p.Write(v, data); err != nil {
		return err
	}
	return p.tapped.write(name, data)
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
	if path, ok := p.aliases[name]; ok {
		return p.readGiven(name, path, dst)
	}
	v, err := p.value(name, kernels.F32, len(dst))
	if err != nil {
		return err
	}
	return p.Read(ctx, v, bytesOf(dst))
}

// bytesOf views numbers as the bytes that a device reads and writes in place. Every machine goxl builds for is
// little-endian.
func bytesOf[T float32 | int32](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*4)
}
