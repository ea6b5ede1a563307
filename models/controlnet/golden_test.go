package controlnet_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn/weights"
)

// reference is the golden file with what it says of itself.
type reference struct {
	*golden.File
	nets map[string]struct {
		Config    json.RawMessage
		Component string
	}
	calls map[string]struct {
		Kinds []int
		Scale []float64
	}
	hint float32
}

func openReference(t *testing.T) *reference {
	t.Helper()
	r := &reference{File: golden.Open(t, "../../testdata/goldens/controlnet.safetensors")}
	for key, to := range map[string]any{"nets": &r.nets, "calls": &r.calls, "hint": &r.hint} {
		if err := json.Unmarshal([]byte(r.Metadata[key]), to); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	return r
}

// config is a net's configuration.
func (r *reference) config(t *testing.T, name string) controlnet.Config {
	t.Helper()
	c, err := controlnet.ParseConfig(r.nets[name].Config, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// louder is a source whose hints are multiplied.
type louder struct {
	kernels.Source
	by float32
}

func (l louder) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := l.Source.Tensor(name)
	if err != nil || name != "controlnet_cond_embedding.conv_out.weight" {
		return dtype, shape, data, err
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i += 4 {
		v := l.by * math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return dtype, shape, out, nil
}

func (r *reference) open(t *testing.T, dev kernels.Device, name string) *controlnet.Network {
	t.Helper()
	c := r.config(t, name)
	src := louder{weights.Synthetic(r.nets[name].Component, controlnet.Shapes(c), kernels.F32), r.hint}
	if err := c.Fits(src, name); err != nil {
		t.Fatal(err)
	}
	n, err := controlnet.Open(dev, src, c, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if len(n.Unclaimed) > 0 {
		t.Errorf("%s: unclaimed %v", name, n.Unclaimed)
	}
	return n
}

// TestGoldens compares one call of each kind of net with diffusers, plain, in guess mode and, of unions, with several
// control images, alone and beside other nets.
func TestGoldens(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	r := openReference(t)
	if len(r.calls) != 20 {
		t.Errorf("%d calls, want 20", len(r.calls))
	}
	for _, name := range slices.Sorted(maps.Keys(r.calls)) {
		netName, kind, _ := strings.Cut(name, ".")
		n := r.open(t, dev, netName)
		shape := controlnet.Shape{
			Batch: 1, Height: 5, Width: 6, Tokens: 7, Text: 80, Pooled: 48, TimeIDs: 6,
			Guided: false, Guess: kind == "guess", Hints: len(r.calls[name].Kinds), HintScales: kind == "several",
		}
		shape.Batch = 2
		for i, got := range call(t, r, n, shape, r.calls[name].Kinds, r.calls[name].Scale) {
			want, s := r.Floats(fmt.Sprintf("call.%s.%d", name, i))
			if s[2] == 1 && s[3] == 1 && len(got) > len(want) { // of a net that pools
				got = first(got, s)
			}
			golden.Near(t, fmt.Sprintf("%s %d", name, i), got, golden.ChannelsLast(want, s), 1e-5)
		}
	}
}

// first is the first position of each row of an image.
func first(x []float32, s []int) (out []float32) {
	row := len(x) / s[0]
	for i := range s[0] {
		out = append(out, x[i*row:][:s[1]]...)
	}
	return out
}

// call runs a net once, and returns its residuals [B, H, W, C].
func call(t *testing.T, r *reference, n *controlnet.Network, s controlnet.Shape, kinds []int, scales []float64) (out [][]float32) {
	t.Helper()
	p, err := n.Program(0, s, "test")
	if err != nil {
		t.Fatal(err)
	}
	var hints []controlnet.Hint
	for i := range s.Hints {
		values, shape := r.Floats(fmt.Sprintf("call.hint.%d", i))
		hints = append(hints, controlnet.Hint{Values: golden.ChannelsLast(values, shape), Type: kinds[i]})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(n.Prepare(p, s, hints))
	must(n.SetScales(p, s, scales))
	sample, shape := r.Floats("call.sample")
	must(p.SetFloats("x", golden.ChannelsLast(sample, shape)...))
	must(p.SetFloats("input scale", 1))
	must(p.SetFloats("timestep", 37.5, 37.5))
	for name, tensor := range map[string]string{"text": "call.text", "pooled": "call.pooled", "time ids": "call.time_ids"} {
		data, _ := r.Floats(tensor)
		must(p.SetFloats(name, data...))
	}
	must(p.Run(context.Background()))
	for i, shape := range n.Config.UNet.Residuals(s.Height, s.Width) {
		x := make([]float32, s.Batch*kernels.Elements(shape))
		must(p.Floats(context.Background(), controlnet.ResidualName(i), x))
		out = append(out, x)
	}
	return out
}
