package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/kernels/cuda/driver/drivertest"
)

// fakeDevice is a device on a fake libcuda that runs no kernels. When the test ends, it checks that everything was
// freed.
func fakeDevice(t *testing.T, o Options, memory int64) (*Device, *drivertest.Fake) {
	t.Helper()
	model := drivertest.RTX3060
	model.Memory = memory
	f := drivertest.New(model)
	m, err := readManifest()
	if err != nil {
		t.Fatal(err)
	}
	f.Kernels = map[string][]int{}
	for _, module := range m.Modules {
		for name := range module.Kernels {
			f.Kernels[name] = []int{int(parameterSize[kernelFamily(name)])}
		}
	}
	drv, err := driver.New(f)
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(drv, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if live := f.Live(); len(live) > 0 {
			t.Errorf("left behind: %v", live)
		}
		if problems := f.Problems(); len(problems) > 0 {
			t.Errorf("%d calls that no correct program makes, the first: %s", len(problems), problems[0])
		}
	})
	return d, f
}

// onHopper is a Hopper card that runs no kernels.
func onHopper(t *testing.T) *Device { return onModel(t, drivertest.H100, Options{}) }

// onModel is a device on a model of a card that runs no kernels.
func onModel(t *testing.T, model drivertest.Device, o Options) *Device {
	t.Helper()
	drv, err := driver.New(drivertest.New(model))
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(drv, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// zeros is a source with every tensor of a plan, all zero.
type zeros map[string]kernels.Tensor

func sourceOf(p *kernels.Plan) zeros {
	z := zeros{}
	for _, t := range p.Tensors {
		if t.Role == kernels.Weight {
			z[t.Name] = t
		}
	}
	return z
}

func (z zeros) Names() []string {
	var names []string
	for name := range z {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var nothing = make([]byte, 64<<20)

func (z zeros) Storage(string) kernels.Storage { return kernels.Made }

func (z zeros) Release() error { return nil }

func (z zeros) Describe(name string) (kernels.DType, []int, error) {
	t, ok := z[name]
	if !ok {
		return 0, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, t.Shape, nil
}

func (z zeros) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := z[name]
	if !ok {
		return 0, nil, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, t.Shape, nothing[:t.Bytes()], nil
}

// planOf is one case of the conformance table as a plan.
func planOf(t *testing.T, c cases.Case) *kernels.Plan {
	t.Helper()
	outs, err := c.Spec.Infer(c.In)
	if err != nil {
		t.Fatal(err)
	}
	p := &kernels.Plan{}
	n := kernels.Node{Spec: c.Spec, Path: c.Name}
	for k, in := range c.In {
		if in.Role == kernels.Weight {
			in.Name = fmt.Sprintf("%d.%s", k, in.Name)
		}
		p.Tensors = append(p.Tensors, in)
		n.In = append(n.In, kernels.Value(k))
	}
	for _, out := range outs {
		out.Role = kernels.Result
		p.Tensors = append(p.Tensors, out)
		n.Out = append(n.Out, kernels.Value(len(p.Tensors)-1))
	}
	p.Nodes = []kernels.Node{n}
	return p
}

// TestLaunches compiles and runs every case of modest size on a consumer card that executes nothing: the fake driver
// checks geometry, parameters, shared memory and lifetimes.
func TestLaunches(t *testing.T) {
	d, f := fakeDevice(t, Options{}, 4<<30)
	compiled := 0
	for _, c := range cases.All() {
		var bytes int64
		for _, in := range c.In {
			bytes += in.Bytes()
		}
		if bytes > 16<<20 {
			continue
		}
		compiled++
		if !d.Supports(c.Spec, c.In) {
			t.Errorf("%s is not supported", c.Name)
			continue
		}
		p := planOf(t, c)
		w, err := d.NewWeights(sourceOf(p))
		if err != nil {
			t.Fatal(err)
		}
		prog, err := d.Compile(p, w, kernels.Options{Precision: []kernels.DType{kernels.F16, kernels.BF16}[compiled%2]})
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		before := len(f.Launches())
		if err := prog.Run(context.Background()); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if len(f.Launches()) == before {
			t.Errorf("%s: nothing was launched", c.Name)
		}
		if err := errors.Join(prog.Close(), w.Close()); err != nil {
			t.Errorf("%s: close: %v", c.Name, err)
		}
	}
	for _, l := range f.Launches() {
		if l.DynamicShared > maxShared {
			t.Errorf("%s: %d bytes of shared memory", l.Kernel, l.DynamicShared)
		}
	}
	t.Logf("%d compiled, %d launches", compiled, len(f.Launches()))
}

// chain is a plan with a value of every role: y = linear(x + linear(request)) is the result, and the solver updates a
// state by it.
func chain() *kernels.Plan {
	f := func(name string, role kernels.Role, shape ...int) kernels.Tensor {
		return kernels.Tensor{Name: name, Role: role, DType: kernels.F32, Shape: shape}
	}
	return &kernels.Plan{
		Tensors: []kernels.Tensor{
			f("prompt", kernels.Request, 2, 24), f("w", kernels.Weight, 40, 24), f("context", kernels.Temp, 2, 40), // 0, 1, 2
			f("x", kernels.State, 2, 40), f("sum", kernels.Temp, 2, 40), f("v", kernels.Weight, 40, 40), f("y", kernels.Result, 2, 40), // 3 … 6
			f("coefficients", kernels.Step, 7), // 7
		},
		Nodes: []kernels.Node{
			{Spec: kernels.Linear{}, Path: "hoisted", In: []kernels.Value{0, 1}, Out: []kernels.Value{2}},
			{Spec: kernels.Add{}, Path: "sum", In: []kernels.Value{3, 2}, Out: []kernels.Value{4}},
			{Spec: kernels.Linear{}, Path: "out", In: []kernels.Value{4, 5}, Out: []kernels.Value{6}},
			{Spec: kernels.Solver{}, Path: "solver", In: []kernels.Value{3, 6, 6, 7}, Out: []kernels.Value{3}},
		},
	}
}

// compileChain compiles chain with zeros as weights.
func compileChain(t *testing.T, d *Device) (kernels.Program, kernels.Weights) {
	t.Helper()
	p := chain()
	w, err := d.NewWeights(sourceOf(p))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := d.Compile(p, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return prog, w
}
