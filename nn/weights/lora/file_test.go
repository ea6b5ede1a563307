package lora

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestBundled leaves textual inversions that a file brings along out of its modules, and says so of one that has only
// those.
func TestBundled(t *testing.T) {
	embeddings := tensors{"bundle_emb.style.clip_l": ramp(2, 32), "bundle_emb.old.string_to_param.*": ramp(1, 32)}
	if _, report, err := open(t, with(pair(kohyaQ, 32, 32), embeddings), nil).Match(targets(t, "tiny")); err != nil || report.String() != "1 of 1 modules" {
		t.Errorf("%v, %v", report, err)
	}
	if _, _, err := open(t, embeddings, nil).Match(targets(t, "tiny")); err == nil || !strings.Contains(err.Error(), "it holds embeddings only") {
		t.Errorf("embeddings alone: %v", err)
	}
}

// TestOpenErrors wants files that are none named.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "hello", "pickle": "\x80\x02}q\x00.", "short": "\xff\x00\x00\x00\x00\x00\x00\x00{"} {
		path := filepath.Join(dir, name+".safetensors")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		var damaged *weights.FileError
		if _, err := Open(path); !errors.As(err, &damaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none.safetensors")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestClosed wants a closed file to be an error, not a fault.
func TestClosed(t *testing.T) {
	f := open(t, pair(kohyaQ, 32, 32), nil)
	f.Close()
	if _, _, err := f.Match(targets(t, "tiny")); !errors.Is(err, weights.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// TestMetadata wants a damaged configuration of PEFT named, and what it does not know passed over.
func TestMetadata(t *testing.T) {
	file := pair("unet."+pathQ, 32, 32)
	for text, want := range map[string]string{
		`{"unet.lora_alpha": 4}`:                          "",
		`{"unet.lora_alpha": 4, "unet.r": null, "x": []}`: "",
		`{`:                                 "lora_adapter_metadata",
		`[]`:                                "lora_adapter_metadata",
		`{"unet.lora_alpha": "4"}`:          "unet.lora_alpha",
		`{"unet.use_rslora": 1}`:            "unet.use_rslora",
		`{"unet.alpha_pattern": []}`:        "unet.alpha_pattern",
		`{"unet.alpha_pattern": {"a": {}}}`: "unet.alpha_pattern",
	} {
		f := open(t, file, map[string]string{"lora_adapter_metadata": text})
		a, _, err := f.Match(targets(t, "tiny"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "":
			if c := a.Changes(unet, pathQ+".weight")[0].(*LowRank); c.Scale != 2 {
				t.Errorf("%s: scale %v", text, c.Scale)
			}
		case err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), f.Path()):
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// TestPatterns finds alpha by the end of a module's name, the first pattern that fits.
func TestPatterns(t *testing.T) {
	configs, err := readPEFT("f", map[string]string{"lora_adapter_metadata": `{"unet.lora_alpha": 8, "unet.use_rslora": true,
		"unet.alpha_pattern": {"attn1.to_q": 2, ".*to_q": 3, "down_blocks\\.0.*": 4, "(": 5}, "text_encoder.lora_alpha": 1}`})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]float32{
		"a.attn1.to_q": 1, "a.attn2.to_q": 1.5, "down_blocks.0.x": 2, "down_blocks.1.x": 4, "a.xattn1.to_q": 1.5, "a.(": 2.5,
	} {
		if got := configs[unet].factor(path, 4); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if got := configs[textEncoder].factor("x", 4); got != 0.25 {
		t.Errorf("the text encoder's: %v", got)
	}
}

// FuzzMatch reads damaged files: an error or an adapter that can be applied, never a panic.
func FuzzMatch(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(root, "testdata/lora/*.safetensors"))
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 8<<10 {
			f.Add(data)
		}
	}
	model := targets(f, "tiny")
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := weights.Parse("fuzz", data)
		if err != nil {
			return
		}
		file := New(w)
		a, report, err := file.Match(model)
		if err != nil {
			return
		}
		if report.Matched == 0 || report.Matched > report.Modules {
			t.Fatal(report)
		}
		for component, shapes := range model {
			for _, name := range a.Names(component) {
				shape := shapes[name]
				x := make([]float32, kernels.Elements(shape))
				for _, c := range a.Changes(component, name) {
					if err := c.Apply(x, shape, 0.5); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// FuzzParseKey wants a key to be its module and its part.
func FuzzParseKey(f *testing.F) {
	n := newNames(Targets{unet: {"conv_in.weight": {1}}, textEncoder2: {"text_projection.weight": {1}}})
	for _, key := range []string{"lora_unet_conv_in.lora_down.weight", "unet.a.lora_A.default.weight", "a.processor.to_q_lora.up.weight", "x.alpha"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		stem, p, ok := parseKey(key)
		if ok && (stem == "" || p == "" || !strings.HasPrefix(key, stem)) || !ok && (stem != "" || p != "") {
			t.Fatalf("%q is %q, %q, %v", key, stem, p, ok)
		}
		n.find(stem)
		n.find(key)
	})
}
