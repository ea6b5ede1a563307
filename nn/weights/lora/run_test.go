package lora_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/lora"
)

// TestRuns computes latents of the tiny model with the merged weights of every file, and compares with diffusers': with
// the adapter loaded where diffusers can, else with the weights that the kind's own library merged.
func TestRuns(t *testing.T) {
	const root = "../../.."
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := sdxl.Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	folder, err := weights.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := map[string]kernels.Source{}
	for _, name := range []string{"unet", "text_encoder", "text_encoder_2"} {
		c, err := folder.Component(name, weights.Variant{Precision: kernels.F32})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		base[name] = c
	}
	targets, err := lora.TargetsOf(base)
	if err != nil {
		t.Fatal(err)
	}
	tree := inMemory(t, os.DirFS(dir))
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := golden.Open(t, filepath.Join(root, "testdata/goldens/lora.safetensors"))
	var call struct {
		Prompt   string
		Negative string `json:"negative_prompt"`
		Width    int
		Height   int
		Steps    int `json:"num_inference_steps"`
	}
	if err := json.Unmarshal([]byte(g.Metadata["call"]), &call); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "testdata/lora/*.safetensors"))
	if err != nil || len(paths) < 30 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".safetensors")
		t.Run(name, func(t *testing.T) {
			f, err := lora.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			adapter, _, err := f.Match(targets)
			if err != nil {
				t.Fatal(err)
			}
			files := maps.Clone(tree)
			for component, src := range base {
				if len(adapter.Names(component)) == 0 {
					continue
				}
				merged := lora.Merge(src, component, []lora.Selected{{Adapter: adapter, Strengths: lora.Strength(1)}})
				files[weightFile(t, tree, component)] = &fstest.MapFile{Data: encoded(t, merged), Mode: 0o644}
			}
			m, err := sdxl.OpenFS(t.Context(), files, name, sdxl.Options{Host: host})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			r := sdxl.Request{Prompt: call.Prompt}
			r.NegativePrompt, r.Width, r.Height, r.Steps, r.Seed = &call.Negative, call.Width, call.Height, call.Steps, new(uint64(0))
			result, err := m.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := g.Floats(name + "/latents")
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
		})
	}
}

// inMemory copies files.
func inMemory(t *testing.T, files fs.FS) fstest.MapFS {
	t.Helper()
	all := fstest.MapFS{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		all[name] = &fstest.MapFile{Data: data, Mode: 0o644}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// weightFile is the name of a component's only weight file.
func weightFile(t *testing.T, files fstest.MapFS, component string) string {
	t.Helper()
	for name := range files {
		if strings.HasPrefix(name, component+"/") && strings.HasSuffix(name, ".safetensors") {
			return name
		}
	}
	t.Fatalf("no weights of %s", component)
	return ""
}

// encoded writes a source into memory.
func encoded(t *testing.T, src kernels.Source) []byte {
	t.Helper()
	all, err := weights.Tensors(src)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := weights.Encode(&b, all, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
