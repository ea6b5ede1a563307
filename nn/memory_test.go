package nn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// crowded is a device that refuses to compile so many times, for want of memory or for another reason.
type crowded struct {
	kernels.Device
	refuse int
	err    error
	asked  int
}

func (d *crowded) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	if d.asked++; d.refuse > 0 {
		d.refuse--
		return nil, d.err
	}
	return d.Device.Compile(p, w, o)
}

// roomMaker is a manager that notes what it is asked for.
type roomMaker struct {
	full   []*Network
	before []*Program
	err    error
}

func (m *roomMaker) Full(n *Network) error { m.full = append(m.full, n); return m.err }
func (m *roomMaker) Before(_ context.Context, _ *Network, p *Program) error {
	m.before = append(m.before, p)
	return nil
}

// TestCompileMakesRoom: a program for which there is no memory is compiled again, once, after all but the last used
// program of the network have closed and the manager has let others leave. Other errors, and a network without a
// manager, are not tried again.
func TestCompileMakesRoom(t *testing.T) {
	small := func(b *Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, 1, 4)
		b.Output("y", b.Add(x, x))
	}
	lacking := fmt.Errorf("arena: %w", &kernels.MemoryError{Needed: 9, Allowed: 5})
	other := errors.New("no kernel")
	for what, c := range map[string]struct {
		refuse    int
		err       error
		unmanaged bool
		full      error
		want      error // nil: compiled
		asked     int   // beyond the two of the programs before
		asksFull  int
	}{
		"room at once":       {want: nil, asked: 1},
		"room after others":  {refuse: 1, err: lacking, asked: 2, asksFull: 1},
		"no room":            {refuse: 2, err: lacking, want: kernels.ErrMemory, asked: 2, asksFull: 1},
		"another error":      {refuse: 1, err: other, want: other, asked: 1},
		"nobody makes room":  {refuse: 1, err: lacking, unmanaged: true, want: kernels.ErrMemory, asked: 1},
		"making room failed": {refuse: 1, err: lacking, full: other, want: other, asked: 1, asksFull: 1},
	} {
		d := &crowded{Device: device(t)}
		n, err := NewNetwork(d, bound(t, newBlock()), kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := &roomMaker{err: c.full}
		if !c.unmanaged {
			n.Manage(m)
		}
		var kept []*Program
		for _, key := range []string{"first", "second"} {
			p, err := n.Program(key, small)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, p)
		}
		d.asked, d.refuse, d.err = 0, c.refuse, c.err
		if spare := n.Spare(); spare != kept[0].Bytes() || spare == 0 {
			t.Errorf("%s: %d bytes to spare, want the first program's %d", what, spare, kept[0].Bytes())
		}
		p, err := n.Program("third", small)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if d.asked != c.asked || len(m.full) != c.asksFull || slices.ContainsFunc(m.full, func(f *Network) bool { return f != n }) {
			t.Errorf("%s: compiled %d times and asked for room %d times, want %d and %d", what, d.asked, len(m.full), c.asked, c.asksFull)
		}
		closed := kept[0].Run(t.Context()) != nil
		if closed != (c.asksFull > 0) {
			t.Errorf("%s: the first program is closed: %v", what, closed)
		}
		if err := kept[1].Run(t.Context()); err != nil {
			t.Errorf("%s: the last used program: %v", what, err)
		}
		if p != nil {
			if err := p.Run(t.Context()); err != nil || !c.unmanaged && m.before[len(m.before)-1] != p {
				t.Errorf("%s: %v, managed before the run: %v", what, err, m.before)
			}
			if err := p.Discard(); err != nil || slices.Contains(n.programs, p) || p.Run(t.Context()) == nil {
				t.Errorf("%s: a discarded program is still there, %v", what, err)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
