package clip_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// opened is the tiny model's second encoder on a CPU.
func opened(t *testing.T) *clip.Encoder {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	const file = "../sdxl/synthetic/tiny/text_encoder_2/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clip.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	src := weights.Synthetic("text_encoder_2", nn.Shapes(clip.New(config)), kernels.F32)
	e, err := clip.Open(dev, src, config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestNoTokens: a batch without sequences, or without tokens, is an error.
func TestNoTokens(t *testing.T) {
	e := opened(t)
	for _, none := range [][][]int32{nil, {{}}} {
		if _, _, err := e.Encode(t.Context(), none, 0); err == nil || !strings.Contains(err.Error(), "no tokens") {
			t.Errorf("%v: error %v", none, err)
		}
	}
}

// TestTaps reads the layers of an encoder, and replaces embeddings: rows of another prompt's give its states.
func TestTaps(t *testing.T) {
	e := opened(t)
	one, other := [][]int32{{1, 5, 9, 2}}, [][]int32{{1, 7, 3, 2}}
	var embeddings *nn.Tensor
	var paths []string
	want, _, err := e.Encode(t.Context(), other, 0,
		nn.Tap{Path: "text_model.embeddings", Read: func(_ string, x *nn.Tensor) { embeddings = x }},
		nn.Tap{Path: "text_model.encoder.layers.*", Read: func(path string, _ *nn.Tensor) { paths = append(paths, path) }},
		nn.Tap{Path: "**.self_attn", Probabilities: func(path string, p *nn.Tensor) {
			if err := p.Check(path, 1, e.Config.Heads, 4, 4); err != nil {
				t.Error(err)
			}
			if first := p.At(0, 0, 0, 0); first != 1 {
				t.Errorf("%s: the first token sees itself with %v, want 1", path, first)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != e.Config.Layers || paths[0] != "text_model.encoder.layers.0" {
		t.Errorf("read %q of %d layers", paths, e.Config.Layers)
	}
	got, _, err := e.Encode(t.Context(), one, 0, nn.Tap{
		Path: "text_model.embeddings", Replace: func(string, *nn.Tensor) *nn.Tensor { return embeddings },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("another prompt's embeddings do not give its states")
	}
}

// TestCompare: every module of an encoder is what gorgonia's machine gives.
func TestCompare(t *testing.T) {
	e := opened(t)
	inputs := map[string]any{"ids": []int32{1, 5, 9, 2, 1, 7, 2, 2}, "eos": []int32{3, 2}}
	found, err := e.Compare(t.Context(), e.Graph(2, 4, 0), inputs, true)
	if err != nil {
		t.Fatal(err)
	}
	if found.First != nil || found.Modules < 10*e.Config.Layers {
		t.Errorf("of %d modules, %v", found.Modules, found.First)
	}
	t.Logf("the worst of %d is %v", found.Modules, found.Worst)
}
