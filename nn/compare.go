package nn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// Subject is what Compare computes.
type Subject struct {
	Source  kernels.Source  // bound to the modules that Build applies; see Bind
	Build   func(*Builder)  // states at least one output
	Inputs  map[string]any  // the []float32, []int32 or []uint8 of each input
	Options kernels.Options // for the device
	// Gorgonia makes gorgonia's machine the judge. It computes with kernels/ref, whose sums are float64, and keeps
	// every intermediate: it is for tiny sizes. Without it the unfused computation on the device judges the fused one.
	Gorgonia bool
}

// Comparison is what Compare found.
type Comparison struct {
	Modules int         // that were compared
	First   *Difference // the first, in the order of execution, that differs beyond its budget; nil if none does
	Worst   Difference  // the one that used the largest share of its budget
}

// Compare computes a graph on a device as models run, fused, and with every fusion undone, and if asked for on
// gorgonia's machine. It compares what every module gives, in the order of execution, and names the first that differs.
// That bisects a wrong image: a wrong kernel shows at the module that uses it.
//
// Where a layer is computed with what follows it, the result of both is compared. The budget is derived: the result of
// one operation is right to 4 units in the last place of float32, and to half a unit of the precision where that is
// narrower, relative to its root mean square; the errors of n operations, if independent, add up to √n times as much;
// and twice that is allowed. A single element may deviate 8 times as far, which a normal distribution does once in
// 10¹⁵. NaN and Inf are judged before anything else.
//
// After the modules come the outputs of the computation as models run it, without anything else being kept: what only
// differs there is a fusion across modules. Every module's output stays on the device until it is compared, so that the
// size has to leave room for them.
func Compare(ctx context.Context, dev kernels.Device, s Subject) (c *Comparison, err error) {
	w, err := dev.NewWeights(s.Source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return s.compare(ctx, dev, w)
}

// Compare is Compare of the network's own weights as the last update has them, on its device and with its options; inputs and gorgonia are as in
// Subject.
func (n *Network) Compare(ctx context.Context, build func(*Builder), inputs map[string]any, gorgonia bool) (*Comparison, error) {
	return n.CompareIn(ctx, 0, build, inputs, gorgonia)
}

// CompareIn is Compare in a precision of its own, as ProgramIn; 0 is the network's.
func (n *Network) CompareIn(
	ctx context.Context, precision kernels.DType, build func(*Builder), inputs map[string]any, gorgonia bool,
) (*Comparison, error) {
	s := Subject{Build: build, Inputs: inputs, Options: n.options, Gorgonia: gorgonia}
	if precision != 0 {
		s.Options.Precision = precision
	}
	n.mu.Lock()
	s.Source = ref.Updated(n.source, n.update)
	err := n.packIn(ctx, precision)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.compare(ctx, n.dev, n.weights)
}

func (s Subject) compare(ctx context.Context, dev kernels.Device, w kernels.Weights) (c *Comparison, err error) {
	plain, order, err := s.traced(isPlain)
	if err != nil {
		return nil, err
	}
	fused, _, err := s.traced(dev.Supports)
	if err != nil {
		return nil, err
	}
	whole, err := Build(dev, s.Build)
	if err != nil {
		return nil, err
	}
	if err := s.check(whole); err != nil {
		return nil, err
	}
	var truth map[string][]float32
	if s.Gorgonia {
		if truth, err = plain.RunOnGorgonia(s.Source, s.Inputs); err != nil {
			return nil, err
		}
	}
	var runs [3]run
	defer func() {
		for _, r := range runs {
			if r.Program != nil {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	for i, g := range []*Graph{plain, fused, whole} {
		if runs[i], err = s.run(ctx, dev, w, g); err != nil {
			return nil, err
		}
	}
	j := judge{floor: floor(s.precision(dev)), found: &Comparison{}}
	compare := func(path, name string, operations int, others ...run) error {
		unfused, err := runs[0].floats(ctx, name)
		if err != nil {
			return err
		}
		against, want := "unfused", unfused
		if s.Gorgonia {
			against, want = "gorgonia", truth[name]
			j.judge(path, "unfused", against, unfused, want, operations)
		}
		for _, r := range others {
			got, err := r.floats(ctx, name)
			if err != nil {
				return err
			}
			j.judge(path, "fused", against, got, want, operations)
		}
		return nil
	}
	for _, m := range order {
		if err := compare(m.path, "module "+m.path, m.operations, runs[1]); err != nil {
			return nil, err
		}
	}
	j.found.Modules = len(order)
	for _, name := range slices.Sorted(maps.Keys(whole.Named)) {
		if t := whole.Plan.Tensors[whole.Named[name]]; t.Role == kernels.Result && t.DType == kernels.F32 {
			if err := compare("output "+name, name, len(plain.Plan.Nodes), runs[2]); err != nil {
				return nil, err
			}
		}
	}
	return j.found, nil
}

// precision is the one that the device computes in.
func (s Subject) precision(dev kernels.Device) kernels.DType {
	if s.Options.Precision != 0 {
		return s.Options.Precision
	}
	return dev.Info().Precisions[0]
}

// check refuses inputs that the graph does not have, and those that do not fit.
func (s Subject) check(g *Graph) error {
	for name, v := range g.Named {
		t := g.Plan.Tensors[v]
		if given, ok := s.Inputs[name]; t.Role != kernels.Result && (!ok || !fits(given, t)) {
			return fmt.Errorf("input %q is %T: must be %s %v", name, given, t.DType, t.Shape)
		}
	}
	for name := range s.Inputs {
		if v, ok := g.Named[name]; !ok || g.Plan.Tensors[v].Role == kernels.Result {
			return fmt.Errorf("the graph has no input %q", name)
		}
	}
	return nil
}

// traced is a module as a traced build met it.
type traced struct {
	path       string
	operations int // of the graph up to its output
}

// traced builds the graph with the output of every module named "module " and its path.
func (s Subject) traced(supports func(kernels.Spec, []kernels.Tensor) bool) (*Graph, []traced, error) {
	var order []traced
	b := newBuilder(supports)
	applied := newTapping(nil, lastStage)
	b.trace = func(module any, v *Value) {
		at := b.modulePath(module)
		if role := b.plan.Tensors[v.id].Role; at == "" || role != kernels.Temp && role != kernels.Result {
			return
		}
		path := applied.apply(at, "module")
		b.Output("module "+path, v)
		order = append(order, traced{path, len(b.plan.Nodes)})
	}
	g, err := b.build(s.Build)
	return g, order, err
}

// run is a program after its run.
type run struct {
	kernels.Program
	graph *Graph
}

// run computes a graph.
func (s Subject) run(ctx context.Context, dev kernels.Device, w kernels.Weights, g *Graph) (run, error) {
	p, err := dev.Compile(g.Plan, w, s.Options)
	if err != nil {
		return run{}, err
	}
	r := run{p, g}
	for name, given := range s.Inputs {
		var data []byte
		switch given := given.(type) {
		case []float32:
			data = bytesOf(given)
		case []int32:
			data = bytesOf(given)
		case []uint8:
			data = given
		}
		if err := p.Write(g.Named[name], data); err != nil {
			return r, err
		}
	}
	return r, p.Run(ctx)
}

func (r run) floats(ctx context.Context, name string) ([]float32, error) {
	v, ok := r.graph.Named[name]
	if !ok {
		return nil, fmt.Errorf("%s is there in one computation, and not in another", name)
	}
	x := make([]float32, r.graph.Plan.Tensors[v].Len())
	return x, r.Read(ctx, v, bytesOf(x))
}
