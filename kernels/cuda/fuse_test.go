package cuda

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	oracle "github.com/goxl/goxl/kernels/ref"
)

// planner builds a plan by hand.
type planner struct{ kernels.Plan }

func (p *planner) put(name string, role kernels.Role, shape ...int) kernels.Value {
	p.Tensors = append(p.Tensors, kernels.Tensor{Name: name, Role: role, DType: kernels.F32, Shape: shape})
	return kernels.Value(len(p.Tensors) - 1)
}

// do adds a node and returns its output.
func (p *planner) do(t *testing.T, path string, s kernels.Spec, in ...kernels.Value) kernels.Value {
	t.Helper()
	n := kernels.Node{Spec: s, Path: path, In: in}
	out, err := s.Infer(p.Inputs(n))
	if err != nil {
		t.Fatal(err)
	}
	n.Out = []kernels.Value{p.put(path, kernels.Temp, out[0].Shape...)}
	p.Nodes = append(p.Nodes, n)
	return n.Out[0]
}

func (p *planner) linear(t *testing.T, path string, x kernels.Value, out int, bias bool) kernels.Value {
	return p.layer(t, path, kernels.Linear{Bias: bias}, x, out, 0)
}

// layer is a linear layer with all its options.
func (p *planner) layer(t *testing.T, path string, s kernels.Linear, x kernels.Value, out int, residual kernels.Value) kernels.Value {
	t.Helper()
	shape := p.Tensors[x].Shape
	in := []kernels.Value{x, p.put(path+".weight", kernels.Weight, out, shape[len(shape)-1])}
	if s.Bias {
		in = append(in, p.put(path+".bias", kernels.Weight, out))
	}
	if s.Residual {
		in = append(in, residual)
	}
	return p.do(t, path, s, in...)
}

func (p *planner) norm(t *testing.T, path string, x kernels.Value) kernels.Value {
	t.Helper()
	shape := p.Tensors[x].Shape
	c := shape[len(shape)-1]
	return p.do(t, path, kernels.LayerNorm{Eps: 1e-5}, x, p.put(path+".weight", kernels.Weight, c), p.put(path+".bias", kernels.Weight, c))
}

// block is a plan for fuse and fuseNorms: a residual convolution with a time projection, self-attention,
// cross-attention and a GEGLU layer, each behind a norm, twice; and a layer whose weights cannot be concatenated.
func block(t *testing.T) (p *planner, inputs []kernels.Value, out kernels.Value) {
	p = &planner{}
	x, text, time := p.put("x", kernels.Step, 2, 7, 10, 128), p.put("text", kernels.Request, 2, 7, 48), p.put("time", kernels.Step, 2, 40)
	inputs = []kernels.Value{x, text, time}
	emb := p.do(t, "emb", kernels.Activate{Act: kernels.SiLU}, time)
	h := x
	for i, size := range []int{64, 32} {
		layer := fmt.Sprintf("layer %d ", i)
		h = p.do(t, layer+"conv", kernels.Conv2d{Stride: 1, BroadcastBias: true}, h, p.put(layer+"conv.weight", kernels.Weight, 128, 128, 1, 1),
			p.linear(t, layer+"time", emb, 128, true))
		heads := kernels.Attention{Heads: 128 / size}
		h = p.linear(t, layer+"in", h, 128, true)
		n := p.norm(t, layer+"norm1", h)
		y := p.do(t, layer+"self", heads, p.linear(t, layer+"q", n, 128, i == 0), p.linear(t, layer+"k", n, 128, i == 0), p.linear(t, layer+"v", n, 128, i == 0))
		h = p.layer(t, layer+"out", kernels.Linear{Bias: true, Residual: true}, y, 128, h)
		n = p.norm(t, layer+"norm2", h)
		y = p.do(t, layer+"cross", heads, p.linear(t, layer+"q2", n, 128, false), p.linear(t, layer+"k2", text, 128, false), p.linear(t, layer+"v2", text, 128, false))
		h = p.layer(t, layer+"out2", kernels.Linear{Bias: true, Residual: true}, y, 128, h)
		n = p.norm(t, layer+"norm3", h)
		y = p.layer(t, layer+"gate", kernels.Linear{Bias: true, Act: kernels.GEGLU}, n, 2*136, 0)
		h = p.layer(t, layer+"ff", kernels.Linear{Bias: true, Residual: true}, y, 128, h)
	}
	q := p.linear(t, "odd q", h, 18, false)
	h = p.do(t, "odd", kernels.Attention{Heads: 3}, q, p.linear(t, "odd k", h, 18, false), q)
	out = h
	p.Tensors[out].Role = kernels.Result
	return p, inputs, out
}

// TestFuse counts the operations of the fused plan and validates it.
func TestFuse(t *testing.T) {
	p, _, _ := block(t)
	fused := fuse(&p.Plan)
	if err := fused.Validate(); err != nil {
		t.Fatal(err)
	}
	parts := map[int]int{}
	linear, attention := 0, 0
	for _, n := range fused.Nodes {
		switch s := n.Spec.(type) {
		case joinedLinear:
			parts[s.parts]++
		case kernels.Linear:
			linear++
		case sliced:
			if _, ok := s.Spec.(kernels.Attention); ok {
				attention++
			}
		}
	}
	// Joined: q, k and v of two layers; the text's keys and values of both; both time projections. By themselves: in,
	// out, q2, out2, gate and ff twice, odd q and odd k.
	if parts[3] != 2 || parts[4] != 1 || parts[2] != 1 || len(parts) != 3 || linear != 14 || attention != 4 {
		t.Errorf("products of %v layers, %d layers by themselves, %d attentions read parts; want 2 of 3, 1 of 4, 1 of 2, 14 and 4", parts, linear, attention)
	}
	if got, want := fused.FLOPs(), p.FLOPs(); got != want {
		t.Errorf("the fused plan has %d FLOPs, want %d as before", got, want)
	}
	without := fuseNorms(fused)
	if err := without.Validate(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, n := range without.Nodes {
		count[fmt.Sprintf("%T", n.Spec)]++
	}
	if count["kernels.LayerNorm"] != 2 || count["cuda.withRowMoments"] != 4 || count["cuda.foldedLayerNorm"] != 4 {
		t.Errorf("%v, want 4 GEMMs with row moments, 4 with a folded LayerNorm, and the 2 norms in front of GEGLU", count)
	}
}

// TestJoinedWeights swaps weights out and in: those of one GEMM are contiguous each time.
func TestJoinedWeights(t *testing.T) {
	d, _ := fakeDevice(t, Options{}, 1<<30)
	p, _, _ := block(t)
	w, err := d.NewWeights(sourceOf(&p.Plan))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := d.Compile(&p.Plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := prog.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		next, joined := map[weightKey]driver.Ptr{}, 0
		for _, one := range w.(*weights).order {
			if one.packing.join == "" {
				continue
			}
			key := weightKey{packing: one.packing}
			if at, ok := next[key]; ok && at != one.at {
				t.Errorf("%s is at %#x, want %#x, where the one before it ends", one.name, one.at, at)
			}
			next[key] = one.at + driver.Ptr(one.bytes())
			joined++
		}
		if joined != 6+3+4+2*2 {
			t.Errorf("%d weights and biases are joined, want 17", joined)
		}
		if err := w.SetResident(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(prog.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestJoinedNorms joins queries, keys and values behind a norm. Where the norm is folded into them, weight sums and
// biases are contiguous as the weights are.
func TestJoinedNorms(t *testing.T) {
	d := onHopper(t)
	for width, folded := range map[int]int{96: 0, 128: 3, 160: 0, 320: 3} {
		p := &planner{}
		h := p.linear(t, "in", p.put("x", kernels.Step, 2, 100, 64), width, true)
		n := p.norm(t, "norm", h)
		y := p.do(t, "self", kernels.Attention{Heads: width / 32}, p.linear(t, "q", n, width, false), p.linear(t, "k", n, width, false), p.linear(t, "v", n, width, false))
		p.Tensors[y].Role = kernels.Result
		count := map[packKind]int{}
		for _, one := range (modelPlan{&p.Plan, sourceOf(&p.Plan)}).program(t, d).uses {
			if one.packing.join == "" {
				continue
			}
			count[one.packing.kind]++
			if n := one.bytes(); n != align(n) {
				t.Errorf("width %d: %s of kind %d takes %d bytes and leaves a gap behind it", width, one.name, one.packing.kind, n)
			}
		}
		if count[packMatrix] != 3 || count[packWeightSums] != folded || count[packFoldedBias] != folded {
			t.Errorf("width %d: joined weights by kind %v, want 3 matrices and %d of either vector", width, count, folded)
		}
	}
}

// checkFused compares the fused and the unfused plan with the reference.
func checkFused(t *testing.T, d *Device) {
	for name, plan := range map[string]func(*testing.T) (*planner, []kernels.Value, kernels.Value){"block": block, "residuals": residuals} {
		t.Run(name, func(t *testing.T) {
			p, inputs, out := plan(t)
			checkFusedPlan(t, d, p, inputs, out)
		})
	}
}

func checkFusedPlan(t *testing.T, d *Device, p *planner, inputs []kernels.Value, out kernels.Value) {
	source := waves{sourceOf(&p.Plan)}
	values := make([]oracle.Tensor, len(p.Tensors))
	for i, v := range inputs {
		values[v] = oracle.Tensor{Shape: p.Tensors[v].Shape, F: wave(p.Tensors[v].Len(), i, 1)}
	}
	for v, x := range p.Tensors {
		if x.Role != kernels.Weight {
			continue
		}
		_, _, data, err := source.Tensor(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		values[v] = oracle.Tensor{Shape: x.Shape, F: floats(data)}
	}
	for _, n := range p.Nodes {
		var in []oracle.Tensor
		for _, v := range n.In {
			in = append(in, values[v])
		}
		y, err := oracle.Run(n.Spec, in)
		if err != nil {
			t.Fatal(err)
		}
		values[n.Out[0]] = y[0]
	}
	var most [2]float64
	for i, unfused := range []bool{true, false} {
		d.unfused = unfused
		w, err := d.NewWeights(source)
		if err != nil {
			t.Fatal(err)
		}
		prog, err := d.Compile(&p.Plan, w, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range inputs {
			if err := prog.Write(v, floatBytes(values[v].F)); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, p.Tensors[out].Bytes())
		for range 2 { // the second time without what runs once a request
			if err := errors.Join(prog.Run(context.Background()), prog.Read(context.Background(), out, got)); err != nil {
				t.Fatal(err)
			}
			for k, x := range floats(got) {
				e := math.Abs(float64(x - values[out].F[k]))
				if !(e <= math.MaxFloat32) {
					t.Fatalf("unfused %t: element %d is %g", unfused, k, x)
				}
				most[i] = max(most[i], e)
			}
		}
		if err := errors.Join(prog.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	}
	d.unfused = false
	// The same sums, perhaps in another order: at most twice the error of the unfused plan.
	if most[1] > 2*most[0] {
		t.Errorf("the greatest error is %g fused and %g with every operation by itself", most[1], most[0])
	}
	t.Logf("greatest error %g fused, %g by itself", most[1], most[0])
}

func TestFused(t *testing.T) {
	first := card(t, Options{})
	for _, precision := range []kernels.DType{kernels.F16, kernels.BF16} {
		for _, variant := range first.Info().Variants {
			checkFused(t, card(t, Options{Precision: precision, Variant: variant}))
		}
	}
}
