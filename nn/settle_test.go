package nn

import (
	"context"
	"errors"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestEvaluateForgetsRunsBefore lets a run that was cancelled leave word of numbers that were not finite: the next
// evaluation, whose own are, is not computed a second time for it.
func TestEvaluateForgetsRunsBefore(t *testing.T) {
	m := newBlock()
	network, err := NewNetwork(&narrow{Device: device(t), async: true}, bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	network.OnOverflow(func(err error) { t.Errorf("computed again for %v", err) })
	p, err := network.Program("block", m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	before := p.Program.(*asyncSpoiling)
	before.spoiled = true
	in, out := blockInputs(), make([]float32, 2*5*7*8)
	err = network.Evaluate(context.Background(), "block", m.Forward, func(p *Program) error {
		var failed []error
		for name, data := range in {
			failed = append(failed, p.SetFloats(name, data...))
		}
		return errors.Join(failed...)
	}, func(p *Program) ([]float32, error) { return out, p.Floats(context.Background(), "y", out) })
	if err != nil || before.spoiled {
		t.Errorf("%v, spoiled: %v", err, before.spoiled)
	}
}
