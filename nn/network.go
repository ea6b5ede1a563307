package nn

import (
	"context"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// Network is the weights of one component on a device and the programs compiled for them.
type Network struct {
	dev     kernels.Device
	weights kernels.Weights
	options kernels.Options

	mu       sync.Mutex
	programs []*Program // the last used first
}

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
// The program stays valid until keptPrograms other keys have been used.
func (n *Network) Program(key string, build func(*Builder)) (*Program, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.programs {
		if p.key == key {
			copy(n.programs[1:i+1], n.programs[:i])
			n.programs[0] = p
			return p, nil
		}
	}
	g, err := Build(n.dev, build)
	if err != nil {
		return nil, err
	}
	compiled, err := n.dev.Compile(g.Plan, n.weights, n.options)
	if err != nil {
		return nil, err
	}
	p := &Program{Program: compiled, key: key, plan: g.Plan, named: g.Named}
	n.programs = append([]*Program{p}, n.programs...)
	if len(n.programs) > keptPrograms {
		last := n.programs[keptPrograms]
		n.programs = n.programs[:keptPrograms]
		if err := last.Close(); err != nil {
			return nil, fmt.Errorf("closing the program of %s: %w", last.key, err)
		}
	}
	return p, nil
}

// SetResident gives the weights' memory back or takes it again; see kernels.Weights.
func (n *Network) SetResident(ctx context.Context, on bool) error {
	return n.weights.SetResident(ctx, on)
}

// Close frees programs and weights.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var first error
	for _, p := range n.programs {
		if err := p.Close(); err != nil && first == nil {
			first = err
		}
	}
	n.programs = nil
	if err := n.weights.Close(); err != nil && first == nil {
		first = err
	}
	return first
}

// Program is a compiled graph whose inputs and outputs go by name.
type Program struct {
	kernels.Program
	key   string
	plan  *kernels.Plan
	named map[string]kernels.Value
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

// Floats reads an output or a state.
func (p *Program) Floats(ctx context.Context, name string, dst []float32) error {
	v, err := p.value(name, kernels.F32, len(dst))
	if err != nil {
		return err
	}
	return p.Read(ctx, v, bytesOf(dst))
}

// Check returns an error that names the first node whose output was not finite in the last run, if x, which it computed, is not.
func (p *Program) Check(ctx context.Context, x []float32) error {
	for _, f := range x {
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			if err := p.Finite(ctx); err != nil {
				return err
			}
			return fmt.Errorf("program %s: a result is not finite", p.key)
		}
	}
	return nil
}

// bytesOf views numbers as the bytes that a device reads and writes in place. Every machine goxl builds for is little-endian.
func bytesOf[T float32 | int32](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*4)
}
