package nn

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// net is a block with states, an attention and a layer that is used twice.
type net struct {
	In    *Linear    `weight:"in"`
	Block *attention `weight:"block"`
	Norm  *LayerNorm `weight:"norm"`
	Out   *Linear    `weight:"out.0"`
}

type attention struct {
	Q *Linear `weight:"q"`
	K *Linear `weight:"k"`
	V *Linear `weight:"v"`
	O *Linear `weight:"o"`
}

const (
	netBatch, netTokens, netWidth = 2, 5, 8
	netSize                       = netBatch * netTokens * netWidth
)

func newNet() *net {
	linear := func() *Linear { return NewLinear(netWidth, netWidth, true) }
	return &net{In: linear(), Block: &attention{linear(), linear(), linear(), linear()}, Norm: NewLayerNorm(netWidth, 1e-5), Out: linear()}
}

func (a *attention) Forward(b *Builder, x *Value) *Value {
	q, k := a.Q.Forward(b, x), a.K.Forward(b, x)
	b.TapAttention(a, q, k, 2, true)
	y := b.Attention(q, k, a.V.Forward(b, x), 2, true)
	return a.O.Fused(b, y, Epilogue{Residual: x, Ends: a})
}

// Forward advances the state x by what the net makes of it.
func (m *net) Forward(b *Builder) {
	x := b.Input("x", kernels.State, kernels.F32, netBatch, netTokens, netWidth)
	gain := b.Input("gain", kernels.Request, kernels.F32, netBatch, netTokens, netWidth)
	h := m.In.Fused(b, x, Epilogue{Act: kernels.SiLU, Residual: gain})
	h = m.Norm.Forward(b, h)
	h = m.Block.Forward(b, h)
	h = m.Norm.Forward(b, h)
	h = m.Out.Forward(b, h)
	b.Output("y", h)
	b.Assign(x, b.Add(h, x))
}

// open puts a net on a device and returns what runs it once with taps: outputs, and the state afterwards.
func openNet(t *testing.T) func(taps ...Tap) (y, x []float32) {
	m := newNet()
	network, err := NewNetwork(device(t), bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	start, gain := make([]float32, netSize), make([]float32, netSize)
	for i := range start {
		start[i], gain[i] = float32(math.Sin(float64(i))), float32(math.Cos(float64(3*i)))
	}
	return func(taps ...Tap) (y, x []float32) {
		t.Helper()
		p, err := network.Program("net", m.Forward, taps...)
		if err != nil {
			t.Fatal(err)
		}
		y, x = make([]float32, netSize), make([]float32, netSize)
		for _, err := range []error{
			p.SetFloats("x", start...), p.SetFloats("gain", gain...), p.Run(t.Context()), p.Run(t.Context()),
			p.Floats(t.Context(), "y", y), p.Floats(t.Context(), "x", x),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return y, x
	}
}

// TestTapReads runs a net twice from a state, and reads every module each time.
func TestTapReads(t *testing.T) {
	run := openNet(t)
	y, x := run()
	var paths []string
	seen := map[string]*Tensor{}
	tappedY, tappedX := run(Tap{Path: "**", Read: func(path string, x *Tensor) {
		paths = append(paths, path)
		seen[path] = x
		if err := x.Check(path, netBatch, netTokens, netWidth); err != nil {
			t.Error(err)
		}
	}})
	once := []string{"in", "norm", "block.q", "block.k", "block.v", "block.o", "block", "norm#2", "out.0"}
	if want := slices.Concat(once, once); !slices.Equal(paths, want) {
		t.Errorf("read %q, want %q", paths, want)
	}
	near(t, "y", tappedY, y, 1e-6)
	near(t, "x", tappedX, x, 1e-6)
	if !slices.Equal(seen["out.0"].Data, tappedY) {
		t.Error("out.0 is not the output that it is")
	}
	if !slices.Equal(seen["block"].Data, seen["block.o"].Data) {
		t.Error("what ends a block is not its output")
	}
	modules, err := Modules(newNetBound(t).Forward)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range modules {
		listed = append(listed, m.Path)
	}
	if !slices.Equal(listed, once) {
		t.Errorf("the modules are %q, want %q", listed, once)
	}
}

func newNetBound(t *testing.T) *net {
	m := newNet()
	bound(t, m)
	return m
}

// near compares with a tolerance relative to want's norm.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	diff, norm := 0.0, 0.0
	for i := range want {
		diff += math.Pow(float64(got[i])-float64(want[i]), 2)
		norm += math.Pow(float64(want[i]), 2)
	}
	if d := math.Sqrt(diff / norm); !(d <= tolerance) || len(got) != len(want) {
		t.Errorf("%s: relative error %.3g, allowed %.3g", what, d, tolerance)
	}
}

// TestTapReplaces: what gives its own input back changes nothing; what changes a module is what the rest computes with,
// in the order of execution, also where a later module is replaced, and where the output itself is.
func TestTapReplaces(t *testing.T) {
	run := openNet(t)
	y, x := run()
	same := func(string, *Tensor) *Tensor { return nil }
	gotY, gotX := run(Tap{Path: "**", Replace: same})
	near(t, "y, replaced by itself", gotY, y, 1e-6)
	near(t, "x, replaced by itself", gotX, x, 1e-6)

	// Without its block, the net is norm(norm(h)): the values that come in are added to nothing.
	var order []string
	zero := func(path string, x *Tensor) *Tensor {
		order = append(order, path)
		clear(x.Data)
		return x
	}
	var read *Tensor
	y0, _ := run(Tap{Path: "block", Replace: zero}, Tap{Path: "block", Read: func(_ string, x *Tensor) { read = x }})
	if slices.Equal(y0, y) || read == nil || read.Data[0] != 0 || read.Data[netSize-1] != 0 {
		t.Error("a block that gives zeros changes nothing, or is read as if it had not")
	}
	y1, _ := run(Tap{Path: "block.o", Replace: zero})
	if !slices.Equal(y0, y1) {
		t.Error("zeros of a block and of the layer that ends it differ")
	}
	order = nil
	var later *Tensor
	run(Tap{Path: "norm", Replace: func(path string, x *Tensor) *Tensor {
		order = append(order, path)
		if path == "norm#2" {
			later = x.Clone()
			return nil
		}
		for i := range x.Data {
			x.Data[i] *= 2
		}
		return x
	}}, Tap{Path: "block", Replace: zero})
	if want := []string{"norm", "block", "norm#2"}; !slices.Equal(order, slices.Concat(want, want)) {
		t.Errorf("replaced in the order %q", order)
	}
	if later == nil || slices.Max(later.Data) == 0 {
		t.Fatal("the second norm saw nothing")
	}

	ones := func(_ string, x *Tensor) *Tensor {
		y := NewTensor(x.Shape...)
		for i := range y.Data {
			y.Data[i] = 1
		}
		return y
	}
	gotY, gotX = run(Tap{Path: "out.*", Replace: ones})
	for i := range gotY {
		if want := float32(math.Sin(float64(i))) + 2; gotY[i] != 1 || math.Abs(float64(gotX[i]-want)) > 1e-6 {
			t.Fatalf("output %v, state %v; want 1 and, after two steps, %v", gotY[i], gotX[i], want)
		}
	}
}

func TestTapErrors(t *testing.T) {
	m := newNet()
	network, err := NewNetwork(device(t), bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	read := func(string, *Tensor) {}
	for _, c := range []struct {
		tap  Tap
		want string
	}{
		{Tap{Path: "blok", Read: read}, `tap "blok" matches none of the 9 modules: in, norm, block.q`},
		{Tap{Path: "in", Probabilities: read}, `tap "in" asks for probabilities of modules that are not an attention`},
		{Tap{Path: "in"}, `tap "in" has no function`},
		{Tap{Path: "in.[", Read: read}, `tap path "in.["`},
	} {
		if _, err := network.Program("net", m.Forward, c.tap); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.tap.Path, err, c.want)
		}
	}
	small := func(string, *Tensor) *Tensor { return NewTensor(1, 2) }
	p, err := network.Program("net", m.Forward, Tap{Path: "norm", Replace: small})
	if err != nil {
		t.Fatal(err)
	}
	want := `what tap "norm" gives for norm has shape [1 2]: must be [2 5 8]`
	if err := p.Run(context.Background()); err == nil || err.Error() != want {
		t.Errorf("a replacement of another shape: %v, want %q", err, want)
	}
	if got := len(network.programs); got != 1 {
		t.Errorf("%d programs are kept, want 1", got)
	}
}

// TestTapsShareAProgram: programs with the same paths are compiled once, and each calls its own functions.
func TestTapsShareAProgram(t *testing.T) {
	m := newNet()
	network, err := NewNetwork(device(t), bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	calls := [2]int{}
	var programs [2]*Program
	for i := range programs {
		programs[i], err = network.Program("net", m.Forward, Tap{Path: "in", Read: func(string, *Tensor) { calls[i]++ }})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(network.programs) != 1 {
		t.Errorf("%d programs compiled, want 1", len(network.programs))
	}
	for _, i := range []int{0, 1, 0} {
		if err := programs[i].Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if calls != [2]int{2, 1} {
		t.Errorf("calls %v, want 2 and 1", calls)
	}
	if err := programs[1].Discard(); err != nil || len(network.programs) != 0 {
		t.Errorf("discarding: %v, %d programs left", err, len(network.programs))
	}
}

// TestWithoutTaps: a program without taps has nothing of theirs, so that running it allocates nothing of its own.
func TestWithoutTaps(t *testing.T) {
	m := newNet()
	network, err := NewNetwork(device(t), bound(t, m), kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	p, err := network.Program("net", m.Forward)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil || p.tapped != nil || p.given != nil || p.origin != nil {
		t.Errorf("%v; a program without taps has %+v", err, p)
	}
}
