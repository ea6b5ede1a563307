package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// ErrClosed is what errors.Is finds in the errors of a program that is closed.
var ErrClosed = errors.New("the program is closed")

// Program is what a program of any device knows of its values: which of them callers may write and read, and whether
// the next run computes the hoisted nodes. Like a kernels.Program it is not for concurrent use.
type Program struct {
	device  *Device
	plan    *kernels.Plan
	hoist   bool
	weights uint64 // revision that the hoisted nodes were computed with
	closed  bool
}

// NewProgram returns the state of a program of the plan, which has not run.
func NewProgram(d *Device, plan *kernels.Plan) Program {
	return Program{device: d, plan: plan, hoist: true}
}

// Open returns an ErrClosed once the program is closed.
func (p *Program) Open() error {
	if p.closed {
		return fmt.Errorf("%s: %w", p.device.kind, ErrClosed)
	}
	return nil
}

// MarkClosed closes the program, and reports whether it was open.
func (p *Program) MarkClosed() bool {
	was := !p.closed
	p.closed = true
	return was
}

// CheckWrite returns an error unless callers may write so many bytes to a value.
func (p *Program) CheckWrite(v kernels.Value, bytes int) error {
	t, err := p.writable(v)
	if err == nil && int64(bytes) != t.Bytes() {
		err = fmt.Errorf("%s: writing %v: %d bytes, want %d", p.device.kind, t, bytes, t.Bytes())
	}
	return err
}

// CheckRead returns an error unless callers may read a value into so many bytes.
func (p *Program) CheckRead(v kernels.Value, bytes int) error {
	t, err := p.readable(v)
	if err == nil && int64(bytes) != t.Bytes() {
		err = fmt.Errorf("%s: reading %v into %d bytes, want %d", p.device.kind, t, bytes, t.Bytes())
	}
	return err
}

// CheckCopy returns an error unless a value can be filled from one of another program, which is nil if that is not of
// the same kind of device.
func (p *Program) CheckCopy(v kernels.Value, from *Program, src kernels.Value) error {
	to, err := p.writable(v)
	if err != nil {
		return err
	}
	if from == nil || from.device != p.device {
		return fmt.Errorf("%s: writing %v from a program of another device", p.device.kind, to)
	}
	t, err := from.readable(src)
	if err == nil && (t.Len() != to.Len() || t.DType != to.DType) {
		err = fmt.Errorf("%s: writing %v from %v: type or size differs", p.device.kind, to, t)
	}
	return err
}

func (p *Program) writable(v kernels.Value) (kernels.Tensor, error) {
	return p.value(v, "written", kernels.Request, kernels.Step, kernels.State)
}

func (p *Program) readable(v kernels.Value) (kernels.Tensor, error) {
	return p.value(v, "read", kernels.State, kernels.Result)
}

// value is the tensor of a value that has one of the roles.
func (p *Program) value(v kernels.Value, how string, roles ...kernels.Role) (kernels.Tensor, error) {
	if err := p.Open(); err != nil {
		return kernels.Tensor{}, err
	}
	if v < 0 || int(v) >= len(p.plan.Tensors) {
		return kernels.Tensor{}, fmt.Errorf("%s: value %d of a plan that has %d", p.device.kind, v, len(p.plan.Tensors))
	}
	t := p.plan.Tensors[v]
	if !slices.Contains(roles, t.Role) {
		return t, fmt.Errorf("%s: value %v is a %s and cannot be %s", p.device.kind, t, t.Role, how)
	}
	return t, nil
}

// Wrote notes that a caller has written a value, and reports whether that is a request, which hoisted nodes are to be
// computed from.
func (p *Program) Wrote(v kernels.Value) (request bool) {
	request = p.plan.Tensors[v].Role == kernels.Request
	p.hoist = p.hoist || request
	return request
}

// Hoist reports whether the next run is to compute the hoisted nodes: none has since a request was written, or since
// weights of another revision, which devices count.
func (p *Program) Hoist(weights uint64) bool { return p.hoist || p.weights != weights }

// Hoisted notes that a run has computed the hoisted nodes with weights of a revision.
func (p *Program) Hoisted(weights uint64) { p.hoist, p.weights = false, weights }
