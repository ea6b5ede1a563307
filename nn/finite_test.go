package nn

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// narrow is a device that says it computes in fp16 or bf16. It computes in float32, and gives NaN in the precisions of
// spoils.
type narrow struct {
	kernels.Device
	spoils  []kernels.DType
	async   bool
	evicted int // times that weights left the device
}

func (d *narrow) Info() kernels.Info {
	info := d.Device.Info()
	info.Precisions = []kernels.DType{kernels.F16, kernels.BF16}
	return info
}

func (d *narrow) NewWeights(src kernels.Source) (kernels.Weights, error) {
	w, err := d.Device.NewWeights(src)
	return &narrowWeights{w, d}, err
}

type narrowWeights struct {
	kernels.Weights
	device *narrow
}

func (w *narrowWeights) SetResident(ctx context.Context, on bool) error {
	if !on {
		w.device.evicted++
	}
	return w.Weights.SetResident(ctx, on)
}

func (d *narrow) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	if o.Precision == 0 {
		o.Precision = kernels.F16
	}
	compiled, err := d.Device.Compile(plan, w.(*narrowWeights).Weights, kernels.Options{Precision: kernels.F32})
	p := &spoiling{Program: compiled, precision: o.Precision, on: slices.Contains(d.spoils, o.Precision)}
	if d.async {
		return &asyncSpoiling{spoiling: p}, err
	}
	return p, err
}

type spoiling struct {
	kernels.Program
	precision kernels.DType
	on        bool
}

func (p *spoiling) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	if err := p.Program.Read(ctx, v, dst); err != nil || !p.on {
		return err
	}
	copy(dst[4:], []byte{0, 0, 0xc0, 0x7f}) // NaN
	return nil
}

func (p *spoiling) Finite(context.Context) error {
	if p.on {
		return kernels.NotFinitef("a.node: NaN in %v", p.precision)
	}
	return nil
}

// asyncSpoiling looks for NaN by itself.
type asyncSpoiling struct {
	*spoiling
	spoiled bool
}

func (p *asyncSpoiling) Run(ctx context.Context) error {
	p.spoiled = p.spoiled || p.on
	return p.Program.Run(ctx)
}

func (p *asyncSpoiling) AsyncFinite() bool { return true }

func (p *asyncSpoiling) NonFinite() bool { return p.spoiled }

func (p *asyncSpoiling) Sync(context.Context) (bool, error) {
	was := p.spoiled
	p.spoiled = false
	return was, nil
}

// TestEvaluate computes what overflows in fp16 in bf16, warns once, and says where what overflows there too went
// wrong.
func TestEvaluate(t *testing.T) {
	m := newBlock()
	src := bound(t, m)
	for _, async := range []bool{false, true} {
		for _, c := range []struct {
			spoils  []kernels.DType
			warned  []string
			evicted int
			err     string
		}{
			{nil, nil, 0, ""},
			{[]kernels.DType{kernels.F16}, []string{"a.node: NaN in fp16"}, 1, ""},
			{[]kernels.DType{kernels.F16, kernels.BF16}, []string{"a.node: NaN in fp16"}, 1, "a.node: NaN in bf16"},
		} {
			d := &narrow{Device: device(t), spoils: c.spoils, async: async}
			network, err := NewNetwork(d, src, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var warned []string
			network.OnOverflow(func(err error) { warned = append(warned, err.Error()) })
			in := blockInputs()
			out := make([]float32, 2*5*7*8)
			err = network.Evaluate(context.Background(), "block", m.Forward, func(p *Program) error {
				var failed []error
				for name, data := range in {
					failed = append(failed, p.SetFloats(name, data...))
				}
				return errors.Join(failed...)
			}, func(p *Program) ([]float32, error) { return out, p.Floats(context.Background(), "y", out) })
			if (err == nil) != (c.err == "") || err != nil && (!errors.Is(err, kernels.ErrNotFinite) || !strings.HasPrefix(err.Error(), c.err)) {
				t.Errorf("async %v, %v spoil: error %v, want %q", async, c.spoils, err, c.err)
			}
			if err == nil && slices.ContainsFunc(out, func(v float32) bool { return math.IsNaN(float64(v)) }) {
				t.Errorf("async %v, %v spoil: NaN", async, c.spoils)
			}
			if !slices.Equal(warned, c.warned) || d.evicted != c.evicted {
				t.Errorf("async %v, %v spoil: warned %q, weights evicted %d times; want %q, %d", async, c.spoils, warned, d.evicted, c.warned, c.evicted)
			}
			if err := network.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
