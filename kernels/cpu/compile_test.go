package cpu

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestWeightsThatDoNotFit(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 1})
	for name, c := range map[string]struct {
		change func(s *memorySource)
		want   string
	}{
		"missing": {func(s *memorySource) { delete(s.tensors, "w") }, "weight w can't be found: no tensor of that name"},
		"bytes":   {func(s *memorySource) { t := s.tensors["w"]; t.data = t.data[:10]; s.tensors["w"] = t }, "weight w has 10 bytes, want 12"},
		"misaligned": {func(s *memorySource) {
			t := s.tensors["w"]
			t.data = rawBytes(make([]uint16, 7))[1:13]
			s.tensors["w"] = t
		}, "want a multiple of 2"},
	} {
		var p planner
		x := p.value(kernels.Step, kernels.F32, "x", 1, 2)
		p.node(t, "proj", kernels.Linear{}, kernels.Result, x, p.weight("w", make([]float32, 6), kernels.F16, 3, 2))
		c.change(&p.source)
		w, err := d.NewWeights(&p.source)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Compile(&p.plan, w, kernels.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := w.SetResident(t.Context(), false); err != nil || p.source.released != 1 {
			t.Errorf("%s: SetResident(false): %v, released %d times", name, err, p.source.released)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, err := d.Compile(&p.plan, nil, kernels.Options{}); err == nil || !strings.Contains(err.Error(), "uses weight w, and there are no weights") {
			t.Errorf("no weights: %v", err)
		}
	}
}

// unknown is a spec that no device has heard of.
type unknown struct{ kernels.Add }

func TestUnknownSpec(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 1})
	var p planner
	x := p.value(kernels.Step, kernels.F32, "x", 1, 4)
	in := []kernels.Tensor{p.plan.Tensors[x], p.plan.Tensors[x]}
	p.node(t, "mystery", unknown{}, kernels.Result, x, x)
	if d.Supports(unknown{}, in) || !d.Supports(kernels.Add{}, in) || d.Supports(kernels.Add{}, in[:1]) {
		t.Error("Supports is wrong")
	}
	if _, err := d.Compile(&p.plan, nil, kernels.Options{}); err == nil || !strings.Contains(err.Error(), "node 0 (mystery): cpu: no kernel for cpu.unknown") {
		t.Errorf("error %v", err)
	}
}

// foreign is weights that no device of this package made.
type foreign struct{ kernels.Weights }

// TestWeightsOfAnotherDevice: a program is compiled with weights of its own device alone, whose turn and memory they
// share.
func TestWeightsOfAnotherDevice(t *testing.T) {
	d, other := newTestDevice(t, Options{Threads: 1}), newTestDevice(t, Options{Threads: 1})
	var p planner
	x := p.value(kernels.Step, kernels.F32, "x", 1, 2)
	p.node(t, "proj", kernels.Linear{}, kernels.Result, x, p.weight("w", make([]float32, 6), kernels.F16, 3, 2))
	w, err := other.NewWeights(&p.source)
	if err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]kernels.Weights{"of another device": w, "of another kind": foreign{w}} {
		if _, err := d.Compile(&p.plan, w, kernels.Options{}); err == nil || !strings.Contains(err.Error(), "the weights are another device's") {
			t.Errorf("weights %s: %v", what, err)
		}
	}
	q, err := other.Compile(&p.plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Compile(&p.plan, w, kernels.Options{}); err == nil || !strings.Contains(err.Error(), "the weights are closed") {
		t.Errorf("closed weights: %v", err)
	}
}
