package sdxl

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/tokenizer"
)

// TestSynthesisedVocabulary writes the tokenizers of the full models, whose configurations have no vocabulary: the
// folder is complete, as another program needs it, and gives the ids that the synthetic model gives.
func TestSynthesisedVocabulary(t *testing.T) {
	for _, model := range []string{"base", "refiner"} {
		files, err := openSynthetic("synth:"+model, model)
		if err != nil {
			t.Fatal(err)
		}
		small := fstest.MapFS{} // without the components, which take gigabytes
		folders := []string{}
		for _, folder := range []string{"tokenizer", "tokenizer_2"} {
			if !files.has(folder) {
				continue
			}
			folders = append(folders, folder)
			for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
				data, err := files.read(folder + "/" + name)
				if err != nil {
					t.Fatal(err)
				}
				small[folder+"/"+name] = &fstest.MapFile{Data: data}
			}
		}
		dir := filepath.Join(t.TempDir(), "model")
		if err := synthesise(t.Context(), small, kernels.F16, dir, func(c string) string { return c }); err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			for _, name := range []string{"vocab.json", "merges.txt"} {
				if _, err := os.Stat(filepath.Join(dir, folder, name)); err != nil {
					t.Error(err)
				}
			}
			want, err := files.tokenizer(folder)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tokenizer.Load(os.DirFS(dir), folder)
			if err != nil {
				t.Errorf("%s: %v", folder, err)
				continue
			}
			if got.Pad() != want.Pad() || got.VocabSize() != want.VocabSize() {
				t.Errorf("%s: padding %d of %d ids, want %d of %d", folder, got.Pad(), got.VocabSize(), want.Pad(), want.VocabSize())
			}
			for _, text := range []string{"a lighthouse at dusk!", "Stop!! 日本 café — 100% <|endoftext|> it's HERE", "<|ENDOFTEXT|> <|startoftext|>!", ""} {
				a, err := got.Tokenize(text)
				if err != nil {
					t.Fatal(err)
				}
				b, err := want.Tokenize(text)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(a, b) {
					t.Errorf("%s: %q gives %v, want %v", folder, text, a, b)
				}
			}
		}
	}
	// A folder with a vocabulary of its own keeps it.
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer", "vocab.json")); !os.IsNotExist(err) {
		t.Errorf("tiny has another vocabulary beside its own: %v", err)
	}
}
