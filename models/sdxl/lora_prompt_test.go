package sdxl

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// TestLoRAOfPrompt: what a prompt names is what the request could list, in every style; the tag is no text.
func TestLoRAOfPrompt(t *testing.T) {
	m := newModels(t).open("tiny")
	a, b := adapterFile(t, m, "a", 20, false), adapterFile(t, m, "b", 21, true)
	dir := t.TempDir()
	for name, l := range map[string]LoRA{"a": a, "b": b} {
		data, err := os.ReadFile(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".safetensors"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.Strengths = lora.Strength(-0.5)
	of := func(style prompt.Style, text string) Request {
		return with(func(r *Request) { r.PromptStyle, r.Prompt, r.LoRADir = style, text, dir })
	}
	for _, style := range prompt.Styles() {
		listed := of(style, "a lighthouse")
		listed.LoRAs = []LoRA{a, b}
		named := of(style, "a lighthouse<lora:a:1><lora:b:-0.5>")
		half := of(style, "a lighthouse<lora:b:-0.5>")
		half.LoRAs = []LoRA{a}
		got := latentsAlone(t, m, listed, named, half)
		for i, x := range got[1:] {
			if !slices.Equal(x.Data, got[0].Data) {
				t.Errorf("%s: other latents with a prompt's adapters, %d", style, i)
			}
		}
	}
	result, err := m.Generate(t.Context(), of(prompt.A1111, "x <lora:a:0.5:1> <hypernet:h:1>"))
	if err != nil {
		t.Fatal(err)
	}
	if p := result.Parameters; len(p.LoRAs) != 1 || p.LoRAs[0].Strength != "te1=0.5:te2=0.5:unet=1" || p.Prompts[0].Prompt != "x <lora:a:0.5:1> <hypernet:h:1>" ||
		!strings.Contains(strings.Join(result.Warnings, " "), "<hypernet:h:1> is left out") {
		t.Errorf("%+v, %q", p.LoRAs, result.Warnings)
	}
	none := of(prompt.A1111, "x <lora:a:1>")
	none.LoRADir = ""
	if p, err := m.Generate(t.Context(), none); err != nil || !strings.Contains(strings.Join(p.Warnings, " "), "no folder of adapters") {
		t.Errorf("without a folder: %v", err)
	}
	none.PromptStyle = prompt.Plain
	if p, err := m.Generate(t.Context(), none); err != nil || !slices.Contains(p.Warnings, "<lora:a:1> is read as text: no folder of adapters is given (-lora-dir)") {
		t.Errorf("as text: %v, %v", p, err)
	}
	two := of(prompt.A1111, "")
	two.Prompts = []Prompt{{Prompt: "x <lora:a:1>"}, {Prompt: "y"}}
	for text, c := range map[string]struct {
		r    Request
		want string
	}{
		"unknown": {of(prompt.A1111, "<lora:c:1>"), "there are: a, b"}, "outside": {of(prompt.A1111, "<lora:../../x:1>"), "there are: a, b"},
		"strength": {of(prompt.A1111, "<lora:a:much>"), "allowed: numbers"}, "two": {two, "one set of weights"},
	} {
		_, err := m.Resolve(c.r)
		var e *RequestError
		if !errors.As(err, &e) || e.Field != "prompt" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q", text, err, c.want)
		}
	}
}

// TestLoRAWithEmbedding: an embedding in an adapter's file is a word of the prompt while the adapter is in use.
func TestLoRAWithEmbedding(t *testing.T) {
	m := newModels(t).open("tiny")
	l := adapterFile(t, m, "with", 22, false)
	f, err := weights.Open(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	vectors := TextualInversion{Name: "thing"}
	for i, e := range []struct {
		name string
		to   **Tensor
	}{{"clip_l", &vectors.L}, {"clip_g", &vectors.G}} {
		*e.to = nn.NewTensor(2, m.encoders()[i].Config.HiddenSize)
		data := make([]byte, 4*len((*e.to).Data))
		for k := range (*e.to).Data {
			(*e.to).Data[k] = float32(k%7) * 0.01
			binary.LittleEndian.PutUint32(data[4*k:], math.Float32bits((*e.to).Data[k]))
		}
		tensors = append(tensors, weights.NewTensor("bundle_emb.thing."+e.name, kernels.F32, (*e.to).Shape, data))
	}
	file := filepath.Join(t.TempDir(), "with.safetensors")
	if err := weights.Write(file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	bundled, listed := adapted(LoRA{file, lora.Strength(1)}), adapted(l)
	bundled.Prompt, listed.Prompt = "a thing", "a thing"
	plain := listed
	listed.TextualInversions = []TextualInversion{vectors}
	got := latentsAlone(t, m, bundled, listed, plain)
	if !slices.Equal(got[0].Data, got[1].Data) || slices.Equal(got[0].Data, got[2].Data) {
		t.Error("the bundled embedding is not what it is by itself")
	}
	both := bundled
	both.TextualInversions = []TextualInversion{vectors}
	if _, err := m.Generate(t.Context(), both); err == nil || !strings.Contains(err.Error(), `two named "thing"`) {
		t.Errorf("two embeddings of one name: %v", err)
	}
}

// TestLoRAOfEnsemble: a base's refiner gets neither its adapters nor their tags.
func TestLoRAOfEnsemble(t *testing.T) {
	models := newModels(t)
	base, refiner := models.open("tiny"), models.open("tiny-refiner")
	l := adapterFile(t, base, "of-base", 23, false)
	run := func(text string, list ...LoRA) *Result {
		r := with(func(r *Request) { r.Prompt, r.LoRAs, r.LoRADir, r.Steps = text, list, filepath.Dir(l.Path), 6 })
		result, err := Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{refiner, 0})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	listed, named, plain := run("a", l), run("a<lora:of-base:1>"), run("a")
	if !slices.Equal(listed.Latents.Data, named.Latents.Data) || slices.Equal(listed.Latents.Data, plain.Latents.Data) {
		t.Error("an ensemble's adapter by name is not the listed one, or changes nothing")
	}
	if p := named.Parameters; len(p.LoRAs) != 1 || p.LoRAs[0].Hash == "" || p.Prompts[0].Prompt != "a<lora:of-base:1>" || len(named.Warnings) > 0 {
		t.Errorf("%+v, %q", p, named.Warnings)
	}
}

// ofSecondEncoder writes those tensors of an adapter's file that are of text_encoder_2.
func ofSecondEncoder(t *testing.T, l LoRA) LoRA {
	t.Helper()
	f, err := weights.Open(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	tensors = slices.DeleteFunc(tensors, func(x weights.Tensor) bool { return !strings.HasPrefix(x.Name, "lora_te2_") })
	file := filepath.Join(t.TempDir(), "encoder.safetensors")
	if err := weights.Write(file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return LoRA{file, l.Strengths}
}

// TestLoRAOfSharedEncoder: a text encoder that a refiner shares with its base keeps the base's adapters, and is not
// swapped from request to request.
func TestLoRAOfSharedEncoder(t *testing.T) {
	base := newModels(t).open("tiny")
	refiner, err := refinerOf(t, base, "synth:tiny-refiner")
	if err != nil {
		t.Fatal(err)
	}
	defer refiner.Close()
	shared := refiner.TextEncoder2.Network
	if shared != base.TextEncoder2.Network {
		t.Fatal("the refiner has an encoder of its own")
	}
	l := ofSecondEncoder(t, adapterFile(t, base, "of-base", 24, false))
	r := with(func(r *Request) { r.Prompt, r.LoRAs, r.Steps = "a", []LoRA{l}, 6 })
	updates := map[*kernels.Update]bool{}
	var result *Result
	for range 3 {
		if result, err = Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{refiner, 0}); err != nil {
			t.Fatal(err)
		}
		updates[base.host.adapted[shared].update] = true
	}
	if len(updates) != 1 || updates[nil] {
		t.Errorf("the shared encoder was swapped: %d updates", len(updates))
	}

	// By hand: the adapter is of the encoder alone, so that the refiner may have it too.
	first := r
	first.DenoisingEnd, first.LatentsOnly = 0.5, true
	draft, err := base.Generate(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	second := r
	second.DenoisingStart, second.ImageLatents = 0.5, draft.Latents
	want, err := refiner.Generate(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(result.Latents.Data, want.Latents.Data) {
		t.Error("the ensemble's latents are not those of a refiner with the base's encoder")
	}
	second.LoRAs = nil
	alone, err := refiner.Generate(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(alone.Latents.Data, want.Latents.Data) || base.host.adapted[shared].update != nil {
		t.Error("a request without adapters has the base's")
	}
}
