package nn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

// block has every layer, fused in every way that models use.
type block struct {
	Norm     *GroupNorm `weight:"norm"`
	Conv     *Conv2d    `weight:"conv"`
	Shortcut *Conv2d    `weight:"shortcut"`
	Up       *Conv2d    `weight:"up.0"`
	Time     *Linear    `weight:"time"`
	LN       *LayerNorm `weight:"ln"`
	GEGLU    *Linear    `weight:"ff.geglu"`
	Out      *Linear    `weight:"ff.out"`
	Missing  *Linear    `weight:"missing"` // nil: this block has none
}

func newBlock() *block {
	up := NewConv2d(8, 8, 3)
	up.Stride = 2
	return &block{
		Norm: NewGroupNorm(4, 12, 1e-5), Conv: NewConv2d(12, 8, 3), Shortcut: NewConv2d(12, 8, 1), Up: up,
		Time: NewLinear(6, 8, true), LN: NewLayerNorm(8, 1e-5), GEGLU: NewLinear(8, 32, true), Out: NewLinear(16, 8, false),
	}
}

func (m *block) Forward(b *Builder) {
	x := b.Input("x", kernels.Step, kernels.F32, 2, 5, 7, 8)
	skip := b.Input("skip", kernels.Request, kernels.F32, 2, 5, 7, 4)
	emb := b.Activate(b.Input("emb", kernels.Request, kernels.F32, 2, 6), kernels.SiLU)
	h := m.Norm.Forward(b, x, skip, kernels.SiLU)
	h = m.Conv.Fused(b, Source{X: h}, Epilogue{BroadcastBias: m.Time.Forward(b, emb), Act: kernels.SiLU})
	h = b.Add(h, m.Shortcut.Fused(b, Source{X: x, Skip: skip}, Epilogue{Residual: x}))
	h = b.Add(b.Attention(m.LN.Forward(b, h), h, h, 2, false), h)
	g := m.GEGLU.Fused(b, m.LN.Forward(b, h), Epilogue{Act: kernels.GEGLU})
	h = m.Out.Fused(b, g, Epilogue{Residual: h})
	b.Output("y", m.Up.Fused(b, Source{X: h, Height: 9, Width: 13}, Epilogue{}))
}

func bound(t *testing.T, module any) kernels.Source {
	t.Helper()
	src, err := Bind(module, weights.Synthetic("test", Shapes(module), kernels.F32))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func device(t *testing.T) kernels.Device {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

func blockInputs() map[string][]float32 {
	r := rand.New(rand.NewPCG(1, 2))
	in := map[string][]float32{"x": make([]float32, 2*5*7*8), "skip": make([]float32, 2*5*7*4), "emb": make([]float32, 12)}
	for _, data := range in {
		for i := range data {
			data[i] = float32(r.NormFloat64())
		}
	}
	return in
}

func runProgram(t *testing.T, p *Program, in map[string][]float32, n int) []float32 {
	t.Helper()
	for name, data := range in {
		if err := p.SetFloats(name, data...); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, n)
	if err := p.Floats(context.Background(), "y", out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFusedPlainAndGorgonia computes a block fused, decomposed, and on gorgonia's own machine through kernels/ref.
func TestFusedPlainAndGorgonia(t *testing.T) {
	m := newBlock()
	src := bound(t, m)
	dev := device(t)
	network, err := NewNetwork(dev, src, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	in := blockInputs()
	const n = 2 * 5 * 7 * 8
	p, err := network.Program("fused", m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	fused := runProgram(t, p, in, n)

	g, err := newBuilder(isPlain).build(m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := len(p.Plan().Nodes), len(g.Plan.Nodes); b <= a+5 {
		t.Errorf("%d operations fused, %d plain: nothing was decomposed", a, b)
	}
	w, err := dev.NewWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	compiled, err := dev.Compile(g.Plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close()
	golden.Near(t, "decomposed", runProgram(t, &Program{Program: compiled, network: &Network{}, plan: g.Plan, named: g.Named}, in, n), fused, 1e-6)

	whole, err := Build(nil, m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{}
	for name, data := range in {
		given[name] = data
	}
	out, err := whole.RunOnGorgonia(src, given)
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "on gorgonia", out["y"], fused, 1e-6)
	delete(given, "emb")
	if _, err := whole.RunOnGorgonia(src, given); err == nil || !strings.Contains(err.Error(), `input "emb" is missing`) {
		t.Errorf("without an input: %v", err)
	}
}

func TestBindIsStrictBothWays(t *testing.T) {
	m := newBlock()
	tensors := map[string]weights.Tensor{}
	all, err := weights.Tensors(weights.Synthetic("test", Shapes(m), kernels.F16))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range all {
		tensors[tt.Name] = tt
	}
	if _, err := Bind(newBlock(), weights.FromMap(tensors)); err != nil {
		t.Fatal(err)
	}
	delete(tensors, "conv.bias")
	wrong := tensors["ff.out.weight"]
	wrong.Shape = []int{16, 8}
	tensors["ff.out.weight"] = wrong
	extra := tensors["time.bias"]
	extra.Name = "time.bia"
	tensors["time.bia"] = extra
	_, err = Bind(newBlock(), weights.FromMap(tensors))
	for _, want := range []string{"1 missing tensors: conv.bias [8]", "1 wrong tensors: ff.out.weight [16 8], want [8 16]", "1 unknown tensors: time.bia"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
	delete(tensors, "time.bia")
	if _, err := Bind(newBlock(), weights.FromMap(tensors), "conv.bias"); err == nil {
		t.Error("a missing tensor was ignored")
	}
}

func TestBuildErrors(t *testing.T) {
	for name, c := range map[string]struct {
		build func(*Builder)
		want  string
	}{
		"shapes": {func(b *Builder) {
			x := b.Input("x", kernels.Step, kernels.F32, 2, 3)
			y := b.Input("y", kernels.Step, kernels.F32, 2, 4)
			b.Output("z", b.Add(x, y))
		}, "Add: y is [2 4], want [2 3]"},
		"two inputs of a name": {func(b *Builder) {
			b.Input("x", kernels.Step, kernels.F32, 2)
			b.Input("x", kernels.Step, kernels.F32, 2)
		}, `input "x" is declared twice`},
		"unbound weight": {func(b *Builder) {
			NewLinear(3, 3, false).Forward(b, b.Input("x", kernels.Step, kernels.F32, 2, 3))
		}, "before its module was bound"},
		"output of an input": {func(b *Builder) {
			b.Output("y", b.Input("x", kernels.Step, kernels.F32, 2))
		}, `output "y" is a step`},
		"state read after it is written": {func(b *Builder) {
			x := b.Input("x", kernels.State, kernels.F32, 2, 3)
			b.Assign(x, b.Add(x, x))
			b.Output("y", b.Activate(x, kernels.SiLU))
		}, "after it was written"},
	} {
		_, err := Build(nil, c.build)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestBuildPassesOtherPanicsOn(t *testing.T) {
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	_, _ = Build(nil, func(*Builder) { panic("mine") })
}

func TestProgramsAreCached(t *testing.T) {
	m := newBlock()
	network, err := NewNetwork(device(t), bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	first, err := network.Program("0", m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	for i := range keptPrograms {
		if again, err := network.Program("0", m.Forward); err != nil || again != first {
			t.Fatalf("program 0 was compiled again: %v", err)
		}
		if _, err := network.Program(fmt.Sprint(i), m.Forward); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(network.programs); got != keptPrograms {
		t.Errorf("%d programs kept, want %d", got, keptPrograms)
	}
	last, err := network.Program("0", m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Program("1", m.Forward); err != nil {
		t.Fatal(err)
	}
	if err := last.Run(t.Context()); err != nil { // it is the last used one now
		t.Fatal(err)
	}
	if err := network.Trim(); err != nil {
		t.Fatal(err)
	}
	if len(network.programs) != 1 || network.programs[0] != last {
		t.Errorf("%d programs are left, want the one that ran last", len(network.programs))
	}
	if err := first.SetFloats("x", 1); err == nil || !strings.Contains(err.Error(), "1 values of fp32") {
		t.Errorf("wrong length: %v", err)
	}
	if err := first.SetFloats("z", 1); err == nil || !strings.Contains(err.Error(), `no value "z"`) {
		t.Errorf("wrong name: %v", err)
	}
}
