package sdxl

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/lora"
)

// adapterFile writes a file of factors of rank 3 for every attention of a model, as kohya's scripts name them, with whole
// differences of norms where whole says so.
func adapterFile(t *testing.T, m *Model, name string, seed uint64, whole bool) LoRA {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	var tensors []weights.Tensor
	add := func(name string, shape ...int) {
		data := make([]byte, 4*kernels.Elements(shape))
		for i := range len(data) / 4 {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(0.2*random.NormFloat64())))
		}
		tensors = append(tensors, weights.NewTensor(name, kernels.F32, shape, data))
	}
	for component, prefix := range map[string]string{"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"} {
		n := m.adaptable()[component]
		if n == nil {
			continue
		}
		for _, full := range n.Source().Names() {
			_, shape, err := n.Source().Describe(full)
			if err != nil {
				t.Fatal(err)
			}
			module, isWeight := strings.CutSuffix(full, ".weight")
			stem := prefix + strings.ReplaceAll(module, ".", "_")
			switch {
			case isWeight && strings.Contains(full, "attn") && len(shape) == 2:
				add(stem+".lora_down.weight", 3, shape[1])
				add(stem+".lora_up.weight", shape[0], 3)
			case isWeight && whole && strings.Contains(module, ".norm1") && len(shape) == 1:
				add(stem+".w_norm", shape...)
			}
		}
	}
	file := filepath.Join(t.TempDir(), name+".safetensors")
	if err := weights.Write(file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return LoRA{file, lora.Strength(1)}
}

// adapted is small with adapters.
func adapted(list ...LoRA) Request {
	return with(func(r *Request) { r.LoRAs = list })
}

// TestLoRAMerges: a request's adapters give what a model of the merged weights gives.
func TestLoRAMerges(t *testing.T) {
	m := newModels(t).open("tiny")
	one, two := adapterFile(t, m, "one", 1, false), adapterFile(t, m, "two", 2, true)
	two.Strengths = lora.Strength(-0.5)
	result, err := m.Generate(t.Context(), adapted(one, two))
	if err != nil {
		t.Fatal(err)
	}
	p := result.Parameters.LoRAs
	if len(p) != 2 || p[0].Name != "one" || p[0].Strength != "1" || p[1].Strength != "-0.5" || len(p[0].Hash) != 64 || p[0].Hash == p[1].Hash ||
		len(p[0].ShortHash) != 12 || p[0].ShortHash == p[1].ShortHash || p[0].ShortHash == p[0].Hash[:12] {
		t.Errorf("parameters %+v", p)
	}
	plain := latentsAlone(t, m, adapted())[0]

	var selected []lora.Selected
	targets := map[string]kernels.Source{}
	for name, n := range m.adaptable() {
		targets[name] = n.Source()
	}
	shapes, err := lora.TargetsOf(targets)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []LoRA{one, two} {
		f, err := lora.Open(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		a, report, err := f.Match(shapes)
		if err != nil || report.Matched != report.Modules {
			t.Fatal(report, err)
		}
		selected = append(selected, lora.Selected{Adapter: a, Strengths: l.Strengths})
	}
	merged := func(component string) kernels.Source { return lora.Merge(targets[component], component, selected) }
	dev, options := m.host.device, m.kernelOptions()
	u, err := unet.Open(dev, merged("unet"), m.UNet.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	first, err := clip.Open(dev, merged("text_encoder"), m.TextEncoder.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	second, err := clip.Open(dev, merged("text_encoder_2"), m.TextEncoder2.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	m.host.Manage("merged", u.Network)
	m.host.Manage("merged", first.Network)
	m.host.Manage("merged", second.Network)
	own := *m
	m.UNet, m.TextEncoder, m.TextEncoder2 = u, first, second
	want := latentsAlone(t, m, adapted())[0]
	m.UNet, m.TextEncoder, m.TextEncoder2 = own.UNet, own.TextEncoder, own.TextEncoder2
	for _, n := range []interface{ Close() error }{managed{m.host, u.Network}, managed{m.host, first.Network}, managed{m.host, second.Network}} {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	golden.Near(t, "latents", result.Latents.Data, want.Data, 5e-5)
	if slices.Equal(plain.Data, want.Data) {
		t.Error("the adapters change nothing")
	}
}

// TestLoRAStrengthZero: it is bit-equal to no adapter, for all or for a part.
func TestLoRAStrengthZero(t *testing.T) {
	m := newModels(t).open("tiny")
	l := adapterFile(t, m, "zero", 3, true)
	want := latentsAlone(t, m, adapted(), adapted(l))
	l.Strengths = lora.Strengths{}
	if got := latentsAlone(t, m, adapted(l))[0]; !slices.Equal(got.Data, want[0].Data) {
		t.Error("strength 0 gives other latents than no adapter")
	}
	l.Strengths = lora.Strength(1)
	if got := latentsAlone(t, m, adapted(l))[0]; !slices.Equal(got.Data, want[1].Data) {
		t.Error("the adapter gives other latents the second time")
	}
}

// TestLoRATurns steps runs of different adapters in turns.
func TestLoRATurns(t *testing.T) {
	m := newModels(t).open("tiny")
	a, b := adapterFile(t, m, "a", 6, false), adapterFile(t, m, "b", 7, true)
	requests := []Request{adapted(a), adapted(), adapted(b, a)}
	want := latentsAlone(t, m, requests...)
	var runs []*Run
	for _, r := range requests {
		runs = append(runs, started(t, m, r))
	}
	for runs[0].Next() {
		for _, r := range runs {
			steps(t, r, 1)
		}
	}
	for i, r := range runs {
		finished(t, "run", r, want[i])
	}
}

// TestLoRACacheOfWhole: sets of adapters that are no products of low rank have a size, too.
func TestLoRACacheOfWhole(t *testing.T) {
	m := newModels(t).open("tiny")
	m.adapters = newAdapters(1)
	for i := range uint64(3) {
		latentsAlone(t, m, adapted(normsOf(t, adapterFile(t, m, "norms", 30+i, true))))
	}
	if n, bytes := m.adapters.sets.Len(), m.adapters.bytes; n != 1 || bytes <= 1 {
		t.Errorf("%d sets of %d bytes, want the last one alone, which is beyond the budget", n, bytes)
	}
}

// TestLoRAOfReplacedUNet: a set that was built for one UNet is not put on another that takes its place.
func TestLoRAOfReplacedUNet(t *testing.T) {
	m := newModels(t).open("tiny")
	l := adapterFile(t, m, "set", 40, true)
	first := latentsAlone(t, m, adapted(l))[0]
	own, source := m.UNet, m.UNet.Source()
	shapes, err := lora.TargetsOf(map[string]kernels.Source{"unet": source})
	if err != nil {
		t.Fatal(err)
	}
	f, err := lora.Open(adapterFile(t, m, "tuning", 41, true).Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tuning, _, err := f.Match(shapes)
	if err != nil {
		t.Fatal(err)
	}
	other, err := unet.Open(m.host.device, lora.Merge(source, "unet", []lora.Selected{{Adapter: tuning, Strengths: lora.Strength(1)}}), own.Config, m.kernelOptions())
	if err != nil {
		t.Fatal(err)
	}
	m.host.Manage("other", other.Network)
	m.UNet = other
	got := latentsAlone(t, m, adapted(l))[0]
	m.adapters = newAdapters(0)
	want := latentsAlone(t, m, adapted(), adapted(l))[1]
	if !slices.Equal(got.Data, want.Data) {
		t.Error("another UNet has the weights of a set that was built for the model's own")
	}
	m.UNet = own
	if again := latentsAlone(t, m, adapted(l))[0]; !slices.Equal(again.Data, first.Data) {
		t.Error("other latents when the model has its own UNet again")
	}
	if err := errors.Join((managed{m.host, other.Network}).Close(), m.adapters.close()); err != nil {
		t.Error(err)
	}
}

// TestLoRARefused: what is wrong with an adapter is the request's error, and the model goes on.
func TestLoRARefused(t *testing.T) {
	m := newModels(t).open("tiny")
	want := latentsAlone(t, m, adapted())[0]
	good := adapterFile(t, m, "good", 8, false)
	data, err := os.ReadFile(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) LoRA {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return LoRA{path, lora.Strength(1)}
	}
	broken := slices.Clone(data)
	for i := range 4 {
		broken[len(broken)-1-i] = 0xff
	}
	vae := filepath.Join(t.TempDir(), "other.safetensors")
	if err := weights.Write(vae, []weights.Tensor{weights.NewTensor("lora_unet_nowhere.lora_up.weight", kernels.F32, []int{1, 1}, make([]byte, 4))}, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lora LoRA
		want string
	}{
		"absent": {LoRA{"no such file", lora.Strength(1)}, "no such file"}, "no name": {LoRA{}, "paths of files"},
		"cut": {file("cut.safetensors", data[:len(data)-9]), "incomplete"}, "text": {file("text.safetensors", []byte("<html>not found</html>")), "text"},
		"NaN": {file("nan.safetensors", broken), "NaN"}, "nothing fits": {LoRA{vae, lora.Strength(1)}, "0 of 1"},
	} {
		_, err := m.Generate(t.Context(), adapted(good, c.lora))
		var e *RequestError
		if !errors.As(err, &e) || e.Field != "loras" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if got := latentsAlone(t, m, adapted())[0]; !slices.Equal(got.Data, want.Data) {
			t.Errorf("%s: the model gives other latents afterwards", name)
		}
	}
}
